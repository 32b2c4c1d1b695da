"""Reading a bundle: one upload, the results of one leased range."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrm.domain.tiling import Box, TileGrid
from rrm.errors import BadBundle, NotReady
from rrm.results import arrays, png
from rrm.results.header import MAGIC, MAX_HEADER_BYTES, PREFIX_BYTES, Header, Part, parse
from rrm.results.png import Bytes as Pixels
from rrm.results.strips import Strip, cut_strip


@dataclass(frozen=True, slots=True)
class Bundle:
    """The header of a bundle file, and access to its parts. `blob_start` is the blob's place in the file."""

    path: Path
    header: Header
    blob_start: int
    file_bytes: int

    @classmethod
    def read(cls, path: Path, max_header_bytes: int = MAX_HEADER_BYTES) -> Bundle:
        """Parse the header alone. BadBundle if it is not one; FileNotFoundError if there is no file."""
        with _opened(path) as descriptor:
            length = _header_length(descriptor, max_header_bytes)
            found = parse(_read(descriptor, PREFIX_BYTES, length, "the header"))
            return cls(path, found, PREFIX_BYTES + length, os.fstat(descriptor).st_size)

    @property
    def display_length(self) -> int:
        """How many bytes of the file a page needs to show the range: the header and the display part."""
        return self.blob_start + self.header.display_bytes

    def parts(self, tiles: Iterable[int], kind: str) -> Iterator[tuple[int, bytes]]:
        """(tile, bytes) for each tile. NotReady if a tile has no such part, BadBundle if the file is shorter."""
        with _opened(self.path) as descriptor:
            for tile in tiles:
                part = self.header.part(tile, kind)
                if part is None:
                    raise NotReady(f"tile {tile} has no {kind}")
                yield tile, self._part(descriptor, part, f"tile {tile}: {kind}")

    def strips(self, row: int, grid: TileGrid, first: int = 0, stop: int | None = None) -> list[Strip]:
        """The strips with lines `first` up to `stop` of a whole row of tiles. NotReady if it came tile by tile."""
        parts = self.header.strips(row)
        if parts is None:
            raise NotReady(f"row {row} has no strips")
        step, height = grid.strip_lines, grid.box(row * grid.cols).rows
        strips = []
        with _opened(self.path) as descriptor:
            for top in range(first // step * step, height if stop is None else stop, step):
                part, size = parts[top // step], min(step, height - top) * (1 + 3 * grid.width)
                strips.append(Strip(self._part(descriptor, part, f"row {row}: strip {top // step}"), part.adler, size))
        return strips

    def picture(self, tile: int, grid: TileGrid) -> Pixels:
        """The pixels (height, width, 3) of one tile, highest line first. NotReady if the bundle has no pictures."""
        box, row = grid.box(tile), tile // grid.cols
        if self.header.strips(row) is None:
            ((_, data),) = self.parts([tile], "png")
            pixels = np.empty((box.rows, box.cols, 3), np.uint8)
            png.unfilter(png.scanlines(data, box.cols, box.rows), pixels)
            return pixels
        return np.concatenate([cut_strip(strip, grid.width, box.col0, box.cols) for strip in self.strips(row, grid)])

    def values(self, tile: int, kind: str, box: Box) -> NDArray[Any]:
        """One tile's counts or smooth values (rows, cols) in the dtype that was uploaded. NotReady without them."""
        ((_, data),) = self.parts([tile], kind)
        return arrays.decode(data, self.header.codings[kind], box.pixels).reshape(box.rows, box.cols)

    def _part(self, descriptor: int, part: Part, what: str) -> bytes:
        return _read(descriptor, self.blob_start + part.offset, part.length, what)


def display_slice(path: Path) -> int:
    """The length of the first bytes of a bundle file that show the whole range in a browser."""
    return Bundle.read(path).display_length


def tile_png(path: Path, tile: int, grid: TileGrid) -> bytes:
    """The picture of one tile, full size. NotReady if the bundle has none."""
    bundle = Bundle.read(path)
    if bundle.header.part(tile, "png") is None:
        return png.encode(np.ascontiguousarray(bundle.picture(tile, grid)))
    ((_, data),) = bundle.parts([tile], "png")
    return data


def tile_array(path: Path, tile: int, kind: str, grid: TileGrid) -> NDArray[Any]:
    """One tile's counts (uint32) or smooth values (float32), row 0 at its lowest y. NotReady if there are none."""
    return Bundle.read(path).values(tile, kind, grid.box(tile)).astype(arrays.COMPOSED[kind], copy=False)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _header_length(descriptor: int, limit: int) -> int:
    prefix = _read(descriptor, 0, PREFIX_BYTES, "the beginning")
    magic, length = struct.unpack("<4sI", prefix)
    if magic != MAGIC:
        raise BadBundle("this is not a bundle")
    if length > limit:
        raise BadBundle(f"the header is {length} bytes long; at most {limit} can be right")
    return int(length)


def _read(descriptor: int, offset: int, length: int, what: str) -> bytes:
    data = os.pread(descriptor, length, offset)
    if len(data) != length:
        raise BadBundle(f"{what} is cut off: {len(data)} of {length} bytes are there")
    return data
