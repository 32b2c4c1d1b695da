"""image.png and the pyramid, from rows of tiles: strips are deflated apart, in parallel, and laid end to end."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import IO, TypeVar

import numpy as np

from rrm.results import png
from rrm.results.deflate import LAST_BLOCK, ZLIB_HEADER, Piece, PieceMaker, join_adler
from rrm.results.png import Bytes
from rrm.results.shelf import Shelf

SOFTWARE = "Rendering resource manager"
# so many bytes of scanlines are filtered and deflated at a time: they stay in a core's second-level cache
_BLOCK_BYTES = 2**19

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Strip:
    """One row of tiles as pixels (rows, width, 3), top row first, and as a piece of the picture's deflate stream."""

    pixels: Bytes
    piece: Piece


def strips(shelf: Shelf, pool: Executor, ahead: int) -> Iterator[Strip]:
    """All rows of tiles, the top of the picture (the highest tile row) first; at most `ahead` + 1 are in memory."""

    def make(row: int) -> Strip:
        pixels = _pixels(shelf, row)
        return Strip(pixels, _deflated(pixels))

    return _in_order(pool, make, reversed(range(shelf.grid.rows)), ahead)


def _in_order(pool: Executor, make: Callable[[S], T], items: Iterable[S], ahead: int) -> Iterator[T]:
    """The results in order; no more than `ahead` are being made or waiting while the caller works on one."""
    waiting: deque[Future[T]] = deque()
    for item in items:
        waiting.append(pool.submit(make, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _pixels(shelf: Shelf, row: int) -> Bytes:
    grid = shelf.grid
    tiles = range(row * grid.cols, (row + 1) * grid.cols)
    pixels = np.empty((grid.box(tiles[0]).rows, grid.width, 3), np.uint8)
    for tile, lines in shelf.scanlines(tiles):
        box = grid.box(tile)
        png.unfilter(lines, pixels[:, box.col0 : box.col0 + box.cols])
    return pixels


def _deflated(pixels: Bytes) -> Piece:
    maker = PieceMaker()
    step = max(1, _BLOCK_BYTES // pixels[0].nbytes)
    for top in range(0, len(pixels), step):
        maker.add(png.sub_filtered(pixels[top : top + step]).data)
    return maker.piece()


class ImageFile:
    """A PNG written from pieces: one IDAT chunk each. `metadata` is kept as JSON in the text field Description."""

    def __init__(self, file: IO[bytes], width: int, height: int, metadata: Mapping[str, object]) -> None:
        self._file = file
        self._adler = 1
        file.write(png.opening(width, height))
        file.write(png.text("Software", SOFTWARE))
        file.write(png.text("Description", json.dumps(metadata)))
        file.write(png.chunk(b"IDAT", ZLIB_HEADER))

    def add(self, piece: Piece) -> None:
        self._file.write(png.chunk(b"IDAT", piece.data))
        self._adler = join_adler(self._adler, piece.adler, piece.size)

    def finish(self) -> None:
        self._file.write(png.chunk(b"IDAT", LAST_BLOCK + self._adler.to_bytes(4, "big")))
        self._file.write(png.END)
