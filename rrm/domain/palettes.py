"""The palettes that ship with RRM: two families from earlier systems, which keep what belongs to them.

Four have even stops and linear interpolation, seven have stops on whole hundredths and cosine interpolation. Perceptual
colour maps come from a library (`rrm.farm.colormaps`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

Stop = tuple[float, str]

INTERPOLATIONS = ("linear", "cosine")


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours at positions that never descend, within 0 to 1; two stops at one position make a hard edge.

    One that is not `returns_home` ends far from where it began: it is run through forth and back where values cycle.
    """

    name: str
    stops: tuple[Stop, ...]
    interpolation: str
    origin: str = ""
    license: str = ""
    returns_home: bool = True


_TILES, _ROWS = "an earlier renderer of tiles", "an earlier renderer of rows"
_LINEAR = {
    "electric": "000000 000764 206bcb edffff ffaa00 000200",
    "fire": "000000 19071a 6d011f bd1502 ee7100 ffff00",
    "ocean": "000000 001432 004878 0096b4 48d2d2 c8ffff",
    "cosmic": "000000 140028 500078 a01ec8 dc64ff ffdcff",
}
_COSINE = {
    "Biochemist": "519925 50a61c 4bb80b 4dcd00 53df00",
    "Fiesta": "0367a6 04adbf 93a603 e5ce1b c83f2a",
    "Hippi": (
        "00040f 032628 073e1e 185508 5f6e0f 845019 9b3022 b4922f 94ca3d 4fd551 66ffb3 82c9e5 9da3eb "
        "d7b5f3 fdd6f6 fff0f2"
    ),
    "Vivid": (
        "023b2b 363448 048b64 816a6e 8d5e67 985260 a44659 d3173d e10834 de1730 dc262d d9362a d74527 "
        "d55524 d26421 d0741e ce831b cb9218 c9a215 110312 330835 f5caf7"
    ),
    "Plan9": (
        "000000 000044 000088 0000cc 004400 004444 004488 0044cc 008800 008844 008888 0088cc 00cc00 "
        "00cc44 00cc88 00cccc 00dddd 111111 000055 000099 0000dd 005500 005555 004c99 0049dd 009900 "
        "00994c 009999 0093dd 00dd00 00dd49 00dd93 00ee9e 00eeee 222222 000066 0000aa 0000ee 006600 "
        "006666 0055aa 004fee 00aa00 00aa55 00aaaa 009eee 00ee00 00ee4f 00ff55 00ffaa 00ffff 333333 "
        "000077 0000bb 0000ff 007700 007777 005dbb 0055ff 00bb00 00bb5d 00bbbb 00aaff 00ff00 440044 "
        "440088 4400cc 444400 444444 444488 4444cc 448800 448844 448888 4488cc 44cc00 44cc44 44cc88 "
        "44cccc 440000 550000 550055 4c0099 4900dd 555500 555555 4c4c99 4949dd 4c9900 4c994c 4c9999 "
        "4993dd 49dd00 49dd49 49dd93 49dddd 4feeee 660000 660066 5500aa 4f00ee 666600 666666 5555aa "
        "4f4fee 55aa00 55aa55 55aaaa 4f9eee 4fee00 4fee4f 4fee9e 55ffaa 55ffff 770000 770077 5d00bb "
        "5500ff 777700 777777 5d5dbb 5555ff 5dbb00 5dbb5d 5dbbbb 55aaff 55ff00 55ff55 880088 8800cc "
        "884400 884444 884488 8844cc 888800 888844 888888 8888cc 88cc00 88cc44 88cc88 88cccc 880000 "
        "880044 99004c 990099 9300dd 994c00 994c4c 994c99 9349dd 999900 99994c 999999 9393dd 93dd00 "
        "93dd49 93dd93 93dddd 990000 aa0000 aa0055 aa00aa 9e00ee aa5500 aa5555 aa55aa 9e4fee aaaa00 "
        "aaaa55 aaaaaa 9e9eee 9eee00 9eee4f 9eee9e 9eeeee aaffff bb0000 bb005d bb00bb aa00ff bb5d00 "
        "bb5d5d bb5dbb aa55ff bbbb00 bbbb5d bbbbbb aaaaff aaff00 aaff55 aaffaa cc00cc cc4400 cc4444 "
        "cc4488 cc44cc cc8800 cc8844 cc8888 cc88cc cccc00 cccc44 cccc88 cccccc cc0000 cc0044 cc0088 "
        "dd0093 dd00dd dd4900 dd4949 dd4993 dd49dd dd9300 dd9349 dd9393 dd93dd dddd00 dddd49 dddd93 "
        "dddddd dd0000 dd0049 ee004f ee009e ee00ee ee4f00 ee4f4f ee4f9e ee4fee ee9e00 ee9e4f ee9e9e "
        "ee9eee eeee00 eeee4f eeee9e eeeeee ee0000 ff0000 ff0055 ff00aa ff00ff ff5500 ff5555 ff55aa "
        "ff55ff ffaa00 ffaa55 ffaaaa ffaaff ffff00 ffff55 ffffaa ffffff"
    ),
}
_PLACED: dict[str, tuple[Stop, ...]] = {
    "AfternoonBlue": ((0.0, "#93d2ca"), (0.2, "#6c98b8"), (0.5, "#386885"), (0.8, "#174f72"), (1.0, "#082a4f")),
    "SummerBeach": ((0.0, "#fff094"), (0.3, "#ffb72d"), (0.6, "#ff8d00"), (0.8, "#2d69ae"), (1.0, "#1e2c60")),
}


def _even(name: str, colors: str) -> Palette:
    """Stop k of n at k / (n - 1)."""
    words = colors.split()
    last = len(words) - 1
    return Palette(name, tuple((k / last, f"#{word}") for k, word in enumerate(words)), "linear", _TILES)


def _hundredths(name: str, colors: str) -> Palette:
    """Stop k of n at floor(100 (k + 1) / n) / 100 and the first at 0.

    Of several stops at one position only the outer two can be seen, as the two sides of a hard edge.
    """
    words = colors.split()
    placed = [(0 if k == 0 else 100 * (k + 1) // len(words), f"#{word}") for k, word in enumerate(words)]
    edges = [list(group) for _, group in groupby(placed, key=lambda stop: stop[0])]
    seen = [stop for group in edges for stop in ([group[0], group[-1]] if len(group) > 1 else group)]
    return Palette(name, tuple((position / 100, color) for position, color in seen), "cosine", _ROWS)


PALETTES: dict[str, Palette] = {
    palette.name: palette
    for palette in (
        *(_even(name, colors) for name, colors in _LINEAR.items()),
        *(Palette(name, stops, "cosine", _ROWS) for name, stops in _PLACED.items()),
        *(_hundredths(name, colors) for name, colors in _COSINE.items()),
    )
}
