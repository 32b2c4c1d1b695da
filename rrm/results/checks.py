"""Whether an uploaded bundle is exactly what its lease asked for. Nothing is trusted before this said yes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np

from rrm.domain.tiling import TileGrid
from rrm.errors import BadBundle
from rrm.results import arrays, png
from rrm.results.bundle import Bundle
from rrm.results.header import KINDS, MAX_HEADER_BYTES, Header

# what one tile's entry may take in the header, generously
_ENTRY_BYTES = 1024
_WORTH_A_THREAD = 4


@dataclass(frozen=True, slots=True)
class Expected:
    """What a lease asked for. Tiles `start` up to, not including, `stop`; `outputs` of png, counts, smooth."""

    lease: str
    start: int
    stop: int
    grid: TileGrid
    outputs: frozenset[str]
    preview_scale: int
    max_iter: int

    @property
    def kinds(self) -> tuple[str, ...]:
        """What every tile must carry. Pictures come even unasked when no preview stands in for them."""
        wanted = set(self.outputs) | {"preview" if self.preview_scale > 1 else "png"}
        return tuple(kind for kind in KINDS if kind in wanted)


def check(path: Path, expected: Expected, threads: int = 2) -> Bundle:
    """The bundle, every byte of it looked at; BadBundle names the tile and the problem. Runs without the GIL mostly."""
    bundle = Bundle.read(path, min(MAX_HEADER_BYTES, _ENTRY_BYTES * (4 + expected.stop - expected.start)))
    _check_header(bundle.header, expected)
    _check_places(bundle, expected)
    tiles = range(expected.start, expected.stop)
    threads = max(1, min(threads, len(tiles) // _WORTH_A_THREAD))
    slices = [tiles[number::threads] for number in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda chosen: _check_tiles(bundle, expected, chosen), slices):
            pass
    return bundle


def _check_header(header: Header, expected: Expected) -> None:
    for name in ("lease", "start", "stop", "preview_scale"):
        if (found := getattr(header, name)) != (wanted := getattr(expected, name)):
            raise BadBundle(f"the header says {name} {found!r:.80} where the lease has {wanted!r}")
    if (found := len(header.tiles)) != (wanted := expected.stop - expected.start):
        raise BadBundle(f"there are {found} tiles instead of {wanted}")
    for kind in arrays.COMPOSED:
        if (kind in header.codings) != (kind in expected.outputs):
            raise BadBundle(f"the header's {kind} is there unasked, or missing")
    if header.codings.get("counts") and header.codings["counts"].dtype == "<u2" and expected.max_iter > 0xFFFF:
        raise BadBundle(f"counts up to {expected.max_iter} do not fit in <u2")


def _check_places(bundle: Bundle, expected: Expected) -> None:
    """The parts must fill the blob: in the announced order, each where the one before it ends."""
    for entry in bundle.header.tiles:
        if unasked := entry.parts.keys() - set(expected.kinds):
            raise BadBundle(f"tile {entry.tile}: {', '.join(sorted(unasked))} was not asked for")
    display = position = _check_run(bundle.header, expected.kinds[0], 0)
    for kind in expected.kinds[1:]:
        position = _check_run(bundle.header, kind, position)
    if bundle.header.display_bytes != display:
        raise BadBundle(f"display_bytes is {bundle.header.display_bytes} instead of {display}")
    if (found := bundle.file_bytes) != (wanted := bundle.blob_start + position):
        raise BadBundle(f"the bundle is {found} bytes long where its header announces {wanted}")


def _check_run(header: Header, kind: str, position: int) -> int:
    """Where the parts of one kind end, which must begin at `position` and follow each other."""
    for entry in header.tiles:
        if (part := entry.parts.get(kind)) is None:
            raise BadBundle(f"tile {entry.tile}: {kind} is missing")
        if part.offset != position:
            raise BadBundle(f"tile {entry.tile}: {kind} starts at {part.offset} instead of {position}")
        position = part.end
    return position


def _check_tiles(bundle: Bundle, expected: Expected, tiles: range) -> None:
    for kind in expected.kinds:
        for tile, data in bundle.parts(tiles, kind):
            try:
                _CHECKS[kind](data, bundle.header, expected, tile)
            except BadBundle as error:
                raise BadBundle(f"tile {tile}: {kind} {error.detail}") from None


def _check_preview(data: bytes, _: Header, expected: Expected, tile: int) -> None:
    box, scale = expected.grid.box(tile), expected.preview_scale
    png.check_any_filter(data, ceil(box.cols / scale), ceil(box.rows / scale))


def _check_png(data: bytes, _: Header, expected: Expected, tile: int) -> None:
    box = expected.grid.box(tile)
    png.scanlines(data, box.cols, box.rows)


def _check_counts(data: bytes, header: Header, expected: Expected, tile: int) -> None:
    values = arrays.decode(data, header.codings["counts"], expected.grid.box(tile).pixels)
    if (highest := int(values.max())) > expected.max_iter:
        raise BadBundle(f"reach {highest}, beyond max_iter {expected.max_iter}")


def _check_smooth(data: bytes, header: Header, expected: Expected, tile: int) -> None:
    values = arrays.decode(data, header.codings["smooth"], expected.grid.box(tile).pixels)
    if not np.isfinite(values).all():
        raise BadBundle("holds a value that is not finite")


_CHECKS = {"preview": _check_preview, "png": _check_png, "counts": _check_counts, "smooth": _check_smooth}
