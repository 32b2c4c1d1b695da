"""Reading a bundle: one upload, the results of one leased range."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from rrm.domain.tiling import TileGrid
from rrm.errors import BadBundle, NotReady
from rrm.results import arrays
from rrm.results.header import MAGIC, MAX_HEADER_BYTES, PREFIX_BYTES, Header, parse


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
                yield tile, _read(descriptor, self.blob_start + part.offset, part.length, f"tile {tile}: {kind}")


def display_slice(path: Path) -> int:
    """The length of the first bytes of a bundle file that show the whole range in a browser."""
    return Bundle.read(path).display_length


def tile_png(path: Path, tile: int) -> bytes:
    """The picture of one tile, full size. NotReady if the bundle has none."""
    ((_, data),) = Bundle.read(path).parts([tile], "png")
    return data


def tile_array(path: Path, tile: int, kind: str, grid: TileGrid) -> NDArray[Any]:
    """One tile's counts (uint32) or smooth values (float32), row 0 at its lowest y. NotReady if there are none."""
    bundle, box = Bundle.read(path), grid.box(tile)
    ((_, data),) = bundle.parts([tile], kind)
    values = arrays.decode(data, bundle.header.codings[kind], box.pixels)
    return values.astype(arrays.COMPOSED[kind], copy=False).reshape(box.rows, box.cols)


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
