"""The uploaded ranges of one job as one set of tiles: which file holds each, read and decoded with blame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrm.domain.tiling import TileGrid
from rrm.errors import BadBundle, NotReady
from rrm.results import png
from rrm.results.bundle import Bundle
from rrm.results.strips import Strip, check_chunk, place_strips

# a row of tiles that takes more memory than this is read in several slabs
SLAB_BYTES = 2**26

Decode = Callable[[Bundle, int], NDArray[Any]]


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


def slabs(grid: TileGrid, row: int, pixel_bytes: int, multiple: int = 1) -> list[Slab]:
    """One row of tiles cut so that each slab, as a whole-width array, takes at most about SLAB_BYTES.

    All but the last have a `multiple` of lines. The tiles of a cut row are inflated again for each of its slabs:
    slower, but wide pictures fit in memory.
    """
    lines = grid.box(row * grid.cols).rows
    step = max(1, SLAB_BYTES // (grid.width * pixel_bytes) // multiple) * multiple
    return [Slab(row, first, min(first + step, lines)) for first in range(0, lines, step)]


class Shelf:
    """All tiles of a grid. NotReady at once if a tile is in no range; where ranges overlap the first one serves."""

    def __init__(self, grid: TileGrid, ranges: Sequence[RangeFile]) -> None:
        self.grid = grid
        self._ranges = ranges
        self._owners = _owners(grid.tiles, ranges)
        self._bundles: dict[int, Bundle] = {}

    @property
    def is_pictured(self) -> bool:
        """Whether there are full-size pictures of all tiles."""
        return all(self._bundle(int(number)).header.is_pictured for number in np.unique(self._owners))

    def strips(self, slab: Slab) -> list[Strip] | None:
        """A slab of whole strips as a node sent them; None where the pictures came tile by tile.

        CorruptRange if one is not what it was; the checksum of the deflated bytes is all that is looked at.
        """
        tiles = self._tiles(slab.row)
        number = int(self._owners[tiles.start])
        if (self._owners[tiles.start : tiles.stop] != number).any():
            return None
        bundle = self._bundle(number)
        if bundle.header.strips(slab.row) is None:
            return None
        with self._blamed(number, "picture"):
            strips = bundle.strips(slab.row, self.grid, slab.first, slab.stop)
            for strip in strips:
                check_chunk(strip)
            return strips

    def pixels(self, slab: Slab) -> png.Bytes:
        """The picture (lines, width, 3) of a slab of whole strips. CorruptRange names a file that cannot be used."""
        pixels = np.empty((slab.lines, self.grid.width, 3), np.uint8)
        if (strips := self.strips(slab)) is not None:
            with self._blamed(int(self._owners[slab.row * self.grid.cols]), "picture"):
                place_strips(strips, pixels)
            return pixels

        def decode(bundle: Bundle, tile: int) -> png.Bytes:
            return bundle.picture(tile, self.grid)[slab.first : slab.stop]

        for columns, part in self._decoded(slab.row, "picture", decode):
            pixels[:, columns] = part
        return pixels

    def values(self, slab: Slab, kind: str) -> Iterator[tuple[slice, NDArray[Any]]]:
        """(columns, values) of each tile, in the dtype that was uploaded. Kind is counts or smooth."""

        def decode(bundle: Bundle, tile: int) -> NDArray[Any]:
            return bundle.values(tile, kind, self.grid.box(tile))[slab.first : slab.stop]

        return self._decoded(slab.row, kind, decode)

    def _decoded(self, row: int, what: str, decode: Decode) -> Iterator[tuple[slice, NDArray[Any]]]:
        for tile in self._tiles(row):
            box, number = self.grid.box(tile), int(self._owners[tile])
            bundle = self._bundle(number)
            with self._blamed(number, what):
                part = decode(bundle, tile)
            yield slice(box.col0, box.col0 + box.cols), part

    def _tiles(self, row: int) -> range:
        return range(row * self.grid.cols, (row + 1) * self.grid.cols)

    @contextmanager
    def _blamed(self, number: int, what: str) -> Iterator[None]:
        try:
            yield
        except (BadBundle, NotReady, FileNotFoundError) as error:
            raise CorruptRange(self._ranges[number], f"{what}: {error}") from error

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
