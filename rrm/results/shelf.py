"""The uploaded ranges of one job as one set of tiles: which file holds each, read and decoded with blame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rrm.domain.tiling import TileGrid
from rrm.errors import BadBundle, NotReady
from rrm.results import arrays, png
from rrm.results.bundle import Bundle

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RangeFile:
    """A bundle that was accepted: tiles `start` up to, not including, `stop`."""

    start: int
    stop: int
    path: Path


class CorruptRange(BadBundle):
    """A kept range is no longer what was accepted; its tiles must be rendered again. `range_file` is the culprit."""

    def __init__(self, range_file: RangeFile, problem: str) -> None:
        super().__init__(f"{range_file.path.name} (tiles {range_file.start}…{range_file.stop - 1}): {problem}")
        self.range_file = range_file


class Shelf:
    """All tiles of a grid. NotReady at once if a tile is in no range; where ranges overlap the first one serves."""

    def __init__(self, grid: TileGrid, ranges: Sequence[RangeFile]) -> None:
        self.grid = grid
        self._ranges = ranges
        self._owners = _owners(grid.tiles, ranges)
        self._bundles: dict[int, Bundle] = {}

    def holds(self, kind: str) -> bool:
        """Whether every range has this kind of part for its tiles."""
        return all(self._bundle(number).header.holds(kind) for number in range(len(self._ranges)))

    def scanlines(self, tiles: range) -> Iterator[tuple[int, png.Bytes]]:
        """(tile, Sub-filtered scanlines) of the pictures. CorruptRange names the file that cannot be used."""

        def decode(_: Bundle, tile: int, data: bytes) -> png.Bytes:
            box = self.grid.box(tile)
            return png.scanlines(data, box.cols, box.rows)

        return self._decoded(tiles, "png", decode)

    def values(self, tiles: range, kind: str) -> Iterator[tuple[int, NDArray[Any]]]:
        """(tile, array of the tile's shape) of kind counts or smooth, in the dtype that was uploaded."""

        def decode(bundle: Bundle, tile: int, data: bytes) -> NDArray[Any]:
            box = self.grid.box(tile)
            return arrays.decode(data, bundle.header.codings[kind], box.pixels).reshape(box.rows, box.cols)

        return self._decoded(tiles, kind, decode)

    def _decoded(self, tiles: range, kind: str, decode: Callable[[Bundle, int, bytes], T]) -> Iterator[tuple[int, T]]:
        for number, group in groupby(tiles, key=lambda tile: int(self._owners[tile])):
            bundle = self._bundle(number)
            try:
                for tile, data in bundle.parts(group, kind):
                    yield tile, decode(bundle, tile, data)
            except (BadBundle, NotReady, FileNotFoundError) as error:
                raise CorruptRange(self._ranges[number], f"{kind} {error}") from error

    def _bundle(self, number: int) -> Bundle:
        # two threads may both read a header the first time; either result serves
        if (bundle := self._bundles.get(number)) is None:
            bundle = self._bundles[number] = self._read(self._ranges[number])
        return bundle

    @staticmethod
    def _read(item: RangeFile) -> Bundle:
        try:
            bundle = Bundle.read(item.path)
        except (BadBundle, FileNotFoundError) as error:
            raise CorruptRange(item, str(error)) from error
        if (bundle.header.start, bundle.header.stop) != (item.start, item.stop):
            raise CorruptRange(item, f"holds tiles {bundle.header.start}…{bundle.header.stop - 1}")
        return bundle


def _owners(tiles: int, ranges: Sequence[RangeFile]) -> NDArray[np.int32]:
    owners = np.full(tiles, -1, np.int32)
    for number in reversed(range(len(ranges))):
        owners[ranges[number].start : ranges[number].stop] = number
    if (owners < 0).any():
        raise NotReady(f"tile {int((owners < 0).argmax())} has not been rendered yet")
    return owners
