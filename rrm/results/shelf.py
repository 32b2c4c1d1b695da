"""The uploaded ranges of one job as one set of tiles: which file holds each, read and decoded with blame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrm.domain.tiling import Box, TileGrid
from rrm.errors import BadBundle, NotReady
from rrm.results import arrays, png
from rrm.results.bundle import Bundle

# a row of tiles that takes more memory than this is read in several slabs
SLAB_BYTES = 2**26

Decode = Callable[[Bundle, Box, bytes], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class RangeFile:
    """A bundle that was accepted: tiles `start` up to, not including, `stop`."""

    start: int
    stop: int
    path: Path


class CorruptRange(BadBundle):
    """A kept range is no longer what was accepted; its tiles must be rendered again. `range_file` is the culprit."""

    def __init__(self, range_file: RangeFile, problem: str) -> None:
        super().__init__(f"{range_file.path.name} (tiles {range_file.start} to {range_file.stop - 1}): {problem}")
        self.range_file = range_file


@dataclass(frozen=True, slots=True)
class Slab:
    """Lines `first` up to, not including, `stop` of every tile in one row of tiles, counted as the parts have them."""

    row: int
    first: int
    stop: int

    @property
    def lines(self) -> int:
        return self.stop - self.first


def slabs(grid: TileGrid, row: int, pixel_bytes: int) -> list[Slab]:
    """One row of tiles cut so that each slab, as a whole-width array, takes at most about SLAB_BYTES.

    The tiles of a cut row are inflated again for each of its slabs: slower, but wide pictures fit in memory.
    """
    lines = grid.box(row * grid.cols).rows
    step = max(1, SLAB_BYTES // (grid.width * pixel_bytes))
    return [Slab(row, first, min(first + step, lines)) for first in range(0, lines, step)]


class Shelf:
    """All tiles of a grid. NotReady at once if a tile is in no range; where ranges overlap the first one serves."""

    def __init__(self, grid: TileGrid, ranges: Sequence[RangeFile]) -> None:
        self.grid = grid
        self._ranges = ranges
        self._owners = _owners(grid.tiles, ranges)
        self._bundles: dict[int, Bundle] = {}

    def holds(self, kind: str) -> bool:
        """Whether all tiles have this kind of part."""
        return all(self._bundle(int(number)).header.holds(kind) for number in np.unique(self._owners))

    def scanlines(self, slab: Slab) -> Iterator[tuple[slice, png.Bytes]]:
        """(columns, Sub-filtered scanlines) of each tile's picture. CorruptRange names a file that cannot be used."""

        def decode(_: Bundle, box: Box, data: bytes) -> png.Bytes:
            return png.scanlines(data, box.cols, box.rows)

        return self._decoded(slab, "png", decode)

    def values(self, slab: Slab, kind: str) -> Iterator[tuple[slice, NDArray[Any]]]:
        """(columns, values) of each tile, in the dtype that was uploaded. Kind is counts or smooth."""

        def decode(bundle: Bundle, box: Box, data: bytes) -> NDArray[Any]:
            return arrays.decode(data, bundle.header.codings[kind], box.pixels).reshape(box.rows, box.cols)

        return self._decoded(slab, kind, decode)

    def _decoded(self, slab: Slab, kind: str, decode: Decode) -> Iterator[tuple[slice, NDArray[Any]]]:
        tiles = range(slab.row * self.grid.cols, (slab.row + 1) * self.grid.cols)
        for number, group in groupby(tiles, key=lambda tile: int(self._owners[tile])):
            bundle = self._bundle(number)
            try:
                for tile, data in bundle.parts(group, kind):
                    box = self.grid.box(tile)
                    yield slice(box.col0, box.col0 + box.cols), decode(bundle, box, data)[slab.first : slab.stop]
            except (BadBundle, NotReady, FileNotFoundError) as error:
                raise CorruptRange(self._ranges[number], f"{kind} {error}") from error

    def _bundle(self, number: int) -> Bundle:
        # two threads may both read a header the first time; either result serves
        if (bundle := self._bundles.get(number)) is None:
            bundle = self._bundles[number] = _read(self._ranges[number])
        return bundle


def _owners(tiles: int, ranges: Sequence[RangeFile]) -> NDArray[np.int32]:
    """For each tile the number of the range that holds it."""
    owners = np.full(tiles, -1, np.int32)
    for number in reversed(range(len(ranges))):
        owners[ranges[number].start : ranges[number].stop] = number
    if (owners < 0).any():
        raise NotReady(f"tile {int((owners < 0).argmax())} has not been rendered yet")
    return owners


def _read(item: RangeFile) -> Bundle:
    try:
        bundle = Bundle.read(item.path)
    except (BadBundle, FileNotFoundError) as error:
        raise CorruptRange(item, str(error)) from error
    if (bundle.header.start, bundle.header.stop) != (item.start, item.stop):
        raise CorruptRange(item, f"holds tiles {bundle.header.start} to {bundle.header.stop - 1}")
    return bundle
