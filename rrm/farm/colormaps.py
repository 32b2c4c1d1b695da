"""Every palette that has a name: those that ship with RRM, and perceptual colour maps from the library cmap."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from rrm.domain.palettes import PALETTES, Palette, Stop

# Maps with a name of their own, by the library's name for them.
_MAPS = {
    **{name: f"bids:{name}" for name in ("viridis", "magma", "inferno", "plasma")},
    "cividis": "cividis:cividis",
    "turbo": "google:turbo",
    **{name: f"matplotlib:{name}" for name in ("twilight", "twilight_shifted")},
    **{name: f"crameri:{name.lower()}" for name in ("batlow", "oslo", "lajolla", "lipari", "roma", "romaO", "vikO")},
    **{name: f"cmocean:{name}" for name in ("thermal", "haline", "ice", "phase")},
}
_STOPS = 65


@functools.cache
def palettes() -> Mapping[str, Palette]:
    """By name, in the order in which they are offered."""
    return {**PALETTES, **{name: _perceptual(name, known) for name, known in _MAPS.items()}}


def _perceptual(name: str, known: str) -> Palette:
    """_STOPS of the map's colours, evenly: what lies between them is off by one level in 255, in cividis by three."""
    from cmap import Colormap  # 50 ms, which programs that name no palette need not wait for

    colormap = Colormap(known)
    colors = [color.color.hex[:7].lower() for color in colormap.color_stops]
    last = len(colors) - 1
    chosen = [round(last * k / (_STOPS - 1)) for k in range(_STOPS)]
    stops: tuple[Stop, ...] = tuple((k / last, colors[k]) for k in chosen)
    info = colormap.info
    authors = ", ".join(info.authors) if info and info.authors else ""
    origin = f"{authors}: {info.source}" if info else ""
    return Palette(name, stops, "linear", origin, info.license if info else "", colormap.category == "cyclic")
