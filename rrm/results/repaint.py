"""Painting a whole picture from kept values: slab by slab, into one bundle of strips for each row of tiles."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from rrm.domain.tiling import TileGrid
from rrm.results import histogram
from rrm.results.colors import Values, painter
from rrm.results.header import MAGIC, PREFIX_BYTES, VERSION
from rrm.results.layout import JobFiles, drafted
from rrm.results.picture import in_order
from rrm.results.shelf import RangeFile, Shelf, Slab, slabs
from rrm.results.strips import Strip, strips_of

_WORK_BYTES = 40  # for each pixel being painted: the value, its place, the colour, the scanline
_STRIP_ENTRY_BYTES = 48  # of a header at most

Step = Callable[[], None]
Painted = tuple[Slab, list[Strip]]


@dataclass(frozen=True, slots=True)
class Repaint:
    """What to paint: the ranges that hold the values, which kinds those are, and the colouring as nodes get it."""

    grid: TileGrid
    ranges: tuple[RangeFile, ...]
    kept: frozenset[str]
    look: Mapping[str, Any]
    max_iter: int

    @property
    def kind(self) -> str:
        """The kind of values that colours follow."""
        return "counts" if self.look["method"] == "bands" else "smooth"


def repaint(
    files: JobFiles, plan: Repaint, *, threads: int = 3, progress: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Write the pictures. NotReady if a tile is missing; CorruptRange names a range file that cannot be used.

    Nothing is left behind by a failure, and running twice or twice at once is safe. Memory: about threads + 2 slabs.
    """
    shelf, cuts = Shelf(plan.grid, plan.ranges), _cuts(plan.grid)
    step = _steps(len(cuts) * (2 if plan.look["method"] == "histogram" else 1), progress)
    with ThreadPoolExecutor(threads) as pool:
        shares = None
        if plan.look["method"] == "histogram":
            whole = histogram.Histogram()
            for part in in_order(pool, lambda slab: _counted(shelf, plan, slab), cuts, ahead=threads):
                whole.add(part)
                step()
            shares = whole.shares()
        paint = painter(plan.look, shares)

        def make(slab: Slab) -> Painted:
            pixels = paint(*_values(shelf, plan, slab))
            return slab, list(strips_of(pixels, plan.grid.strip_lines))

        with drafted(files.painted) as folder:
            folder.mkdir()
            _write_rows(folder, plan.grid, in_order(pool, make, cuts, ahead=threads), step)


def painted_ranges(files: JobFiles, grid: TileGrid) -> tuple[RangeFile, ...]:
    """The painted rows of tiles, as ranges. They need not be there."""
    rows = range(grid.rows)
    return tuple(RangeFile(row * grid.cols, (row + 1) * grid.cols, files.painted_row(row)) for row in rows)


def _cuts(grid: TileGrid) -> list[Slab]:
    """The rows of tiles in slabs of whole strips, each row from its top."""
    return [slab for row in range(grid.rows) for slab in slabs(grid, row, _WORK_BYTES, grid.strip_lines)]


def _steps(total: int, progress: Callable[[int, int], None]) -> Step:
    done = iter(range(1, total + 1))
    return lambda: progress(next(done), total)


def _values(shelf: Shelf, plan: Repaint, slab: Slab) -> tuple[Values, Values]:
    """The values of a slab of the picture, its top line first, and which of them are inside."""
    values = _assembled(shelf, slab, plan.kind)
    if plan.kind == "counts" or "counts" not in plan.kept:
        return values, values == plan.max_iter  # the smooth value of an inside point is the limit too
    return values, _assembled(shelf, slab, "counts") == plan.max_iter


def _assembled(shelf: Shelf, slab: Slab, kind: str) -> Values:
    grid = shelf.grid
    height = grid.box(slab.row * grid.cols).rows
    from_bottom = Slab(slab.row, height - slab.stop, height - slab.first)  # arrays have the lowest line first
    values = np.empty((slab.lines, grid.width), np.float32 if kind == "smooth" else np.uint32)
    for columns, block in shelf.values(from_bottom, kind):
        values[:, columns] = block[::-1]
    return values


def _counted(shelf: Shelf, plan: Repaint, slab: Slab) -> Any:
    values, inside = _values(shelf, plan, slab)
    return histogram.counted(values[~inside])


def _write_rows(folder: Path, grid: TileGrid, painted: Iterable[Painted], step: Step) -> None:
    for row, parts in groupby(painted, key=lambda part: part[0].row):
        with _RowFile(folder / f"{row}.rrmb", grid, row) as file:
            for _, strips in parts:
                file.add(strips)
                step()


class _RowFile:
    """A bundle of one row of tiles. Room is kept for its header, which says what follows and so is written last."""

    def __init__(self, path: Path, grid: TileGrid, row: int) -> None:
        self._row, self._tiles = row, range(row * grid.cols, (row + 1) * grid.cols)
        strips = -(-grid.box(self._tiles.start).rows // grid.strip_lines)
        self._room = len(self._header([])) + _STRIP_ENTRY_BYTES * strips
        self._file = path.open("xb")
        self._file.seek(PREFIX_BYTES + self._room)
        self._entries: list[list[int]] = []
        self._end = 0

    def __enter__(self) -> _RowFile:
        return self

    def add(self, strips: Iterable[Strip]) -> None:
        for strip in strips:
            self._file.write(strip.chunk)
            self._entries.append([self._end, len(strip.chunk), strip.adler])
            self._end += len(strip.chunk)

    def __exit__(self, *exc_info: object) -> None:
        with self._file as file:
            header = self._header(self._entries).ljust(self._room)
            file.seek(0, os.SEEK_SET)
            file.write(struct.pack("<4sI", MAGIC, len(header)) + header)

    def _header(self, entries: list[list[int]]) -> bytes:
        found = {
            "version": VERSION,
            "lease": f"row {self._row}",
            "start": self._tiles.start,
            "stop": self._tiles.stop,
            "preview_scale": 1,
            "display_bytes": 0,
            "counts": None,
            "smooth": None,
            "tiles": [{"tile": tile, "render_ms": 0} for tile in self._tiles],
            "rows": [{"row": self._row, "strips": entries}],
        }
        return json.dumps(found, separators=(",", ":")).encode()
