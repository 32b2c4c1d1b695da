"""Whether an uploaded bundle is exactly what its lease asked for. Nothing is trusted before this said yes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from pathlib import Path

import numpy as np

from rrm.domain.tiling import TileGrid
from rrm.errors import BadBundle
from rrm.results import arrays, png, strips
from rrm.results.bundle import Bundle
from rrm.results.header import KINDS, MAX_HEADER_BYTES, Header

# what one tile's entry may take in the header, generously
_ENTRY_BYTES = 1024
_WORTH_A_THREAD = 4


@dataclass(frozen=True)
class Expected:
    """What a lease asked for. Tiles `start` up to, not including, `stop`; `outputs` of png, counts, smooth."""

    lease: str
    start: int
    stop: int
    grid: TileGrid
    outputs: frozenset[str]
    preview_scale: int
    max_iter: int

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """What every tile must carry. Pictures come even unasked when no preview stands in for them."""
        wanted = set(self.outputs) | {"preview" if self.preview_scale > 1 else "png"}
        return tuple(kind for kind in KINDS if kind in wanted)

    @cached_property
    def strip_rows(self) -> range:
        """The rows of tiles whose picture must come as strips: whole rows, where pages show previews."""
        if self.preview_scale == 1 or "png" not in self.outputs:
            return range(0)
        return self.grid.whole_rows(self.start, self.stop)

    def carries(self, tile: int, kind: str) -> bool:
        """Whether a tile must have such a part of its own."""
        return kind in self.kinds and not (kind == "png" and tile // self.grid.cols in self.strip_rows)


def check(path: Path, expected: Expected, threads: int = 2) -> Bundle:
    """The bundle, every byte of it looked at; BadBundle names the tile and the problem. Runs without the GIL mostly."""
    bundle = Bundle.read(path, min(MAX_HEADER_BYTES, _ENTRY_BYTES * (4 + expected.stop - expected.start)))
    _check_header(bundle.header, expected)
    _check_places(bundle, expected)
    tiles, rows = range(expected.start, expected.stop), expected.strip_rows
    threads = max(1, min(threads, len(tiles) // _WORTH_A_THREAD))
    with ThreadPoolExecutor(threads) as pool:
        parts = [pool.submit(_check_strips, bundle, expected, row) for row in rows]
        parts += [pool.submit(_check_tiles, bundle, expected, tiles[number::threads]) for number in range(threads)]
        for part in parts:
            part.result()
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
    if (found := [entry.row for entry in bundle.header.rows]) != (wanted := list(expected.strip_rows)):
        raise BadBundle(f"there are strips for the rows {found!r:.80} instead of {wanted!r:.80}")
    position = 0
    for kind in KINDS:
        position = _check_run(bundle.header, expected, kind, position)
        if kind == expected.kinds[0] and bundle.header.display_bytes != position:
            raise BadBundle(f"display_bytes is {bundle.header.display_bytes} instead of {position}")
        if kind == "png":
            position = _check_strip_run(bundle.header, expected, position)
    if (found_bytes := bundle.file_bytes) != (wanted_bytes := bundle.blob_start + position):
        raise BadBundle(f"the bundle is {found_bytes} bytes long where its header announces {wanted_bytes}")


def _check_run(header: Header, expected: Expected, kind: str, position: int) -> int:
    """Where the parts of one kind end, which must begin at `position` and follow each other."""
    for entry in header.tiles:
        part = entry.parts.get(kind)
        if not expected.carries(entry.tile, kind):
            if part is not None:
                raise BadBundle(f"tile {entry.tile}: {kind} was not asked for")
            continue
        if part is None:
            raise BadBundle(f"tile {entry.tile}: {kind} is missing")
        if part.offset != position:
            raise BadBundle(f"tile {entry.tile}: {kind} starts at {part.offset} instead of {position}")
        position = part.end
    return position


def _check_strip_run(header: Header, expected: Expected, position: int) -> int:
    grid = expected.grid
    for entry in header.rows:
        wanted = ceil(grid.box(entry.row * grid.cols).rows / grid.strip_lines)
        if len(entry.strips) != wanted:
            raise BadBundle(f"row {entry.row}: there are {len(entry.strips)} strips instead of {wanted}")
        for strip in entry.strips:
            if strip.offset != position:
                raise BadBundle(f"row {entry.row}: a strip starts at {strip.offset} instead of {position}")
            position = strip.end
    return position


def _check_strips(bundle: Bundle, expected: Expected, row: int) -> None:
    for number, strip in enumerate(bundle.strips(row, expected.grid)):
        try:
            strips.scanlines(strip, expected.grid.width)
        except BadBundle as error:
            raise BadBundle(f"row {row}: strip {number} {error.detail}") from None


def _check_tiles(bundle: Bundle, expected: Expected, tiles: range) -> None:
    for kind in expected.kinds:
        for tile, data in bundle.parts((tile for tile in tiles if expected.carries(tile, kind)), kind):
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
