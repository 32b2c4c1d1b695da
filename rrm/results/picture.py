"""image.png and the pyramid, from slabs of pixels: strips are deflated apart, in parallel, and laid end to end."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

import numpy as np

from rrm.results import png
from rrm.results.deflate import LAST_BLOCK, ZLIB_HEADER, Piece, PieceMaker, join_adler
from rrm.results.png import Bytes
from rrm.results.pyramid import PyramidBuilder, Shape
from rrm.results.shelf import Shelf, Slab

SOFTWARE = "Rendering resource manager"
# so many bytes of scanlines are filtered and deflated at a time: they stay in a core's second-level cache
_BLOCK_BYTES = 2**19

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PictureTarget:
    """The file and the folder to write, and what the file says of itself."""

    image: Path
    pyramid: Path
    metadata: Mapping[str, object]


def write_picture(
    shelf: Shelf, cuts: Sequence[Slab], target: PictureTarget, threads: int, step: Callable[[], None]
) -> None:
    """Write both from the slabs, given from the top of the picture down; `step` is called after each slab."""
    width, height = shelf.grid.width, shelf.grid.height
    with target.image.open("xb") as file, ThreadPoolExecutor(threads) as pool:
        image = ImageFile(file, width, height, target.metadata)
        pyramid = PyramidBuilder(target.pyramid, Shape(shelf.grid), pool)
        for strip in _in_order(pool, lambda slab: _strip(shelf, slab), cuts, ahead=threads):
            image.add(strip.piece)
            pyramid.add(strip.pixels)
            step()
        image.finish()


@dataclass(frozen=True, slots=True)
class Strip:
    """One slab as pixels (lines, width, 3), and as a piece of the picture's deflate stream."""

    pixels: Bytes
    piece: Piece


def _strip(shelf: Shelf, slab: Slab) -> Strip:
    pixels = np.empty((slab.lines, shelf.grid.width, 3), np.uint8)
    for columns, lines in shelf.scanlines(slab):
        png.unfilter(lines, pixels[:, columns])
    return Strip(pixels, _deflated(pixels))


def _deflated(pixels: Bytes) -> Piece:
    maker = PieceMaker()
    step = max(1, _BLOCK_BYTES // pixels[0].nbytes)
    for top in range(0, len(pixels), step):
        maker.add(png.sub_filtered(pixels[top : top + step]).data)
    return maker.piece()


def _in_order(pool: Executor, make: Callable[[S], T], items: Iterable[S], ahead: int) -> Iterator[T]:
    """The results in order; no more than `ahead` are being made or waiting while the caller works on one."""
    waiting: deque[Future[T]] = deque()
    for item in items:
        waiting.append(pool.submit(make, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


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
