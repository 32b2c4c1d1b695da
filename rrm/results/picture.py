"""image.png: strips laid end to end, as nodes sent them or made here from tiles, several slabs at a time."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, TypeVar

from rrm.results import png
from rrm.results.deflate import LAST_BLOCK, ZLIB_HEADER, join_adler
from rrm.results.shelf import Shelf, Slab
from rrm.results.strips import Strip, strips_of

SOFTWARE = "Rendering resource manager"

S = TypeVar("S")
T = TypeVar("T")


def write_picture(
    shelf: Shelf,
    cuts: Sequence[Slab],
    path: Path,
    metadata: Mapping[str, object],
    threads: int,
    step: Callable[[], None],
) -> None:
    """Write the file from slabs of whole strips, given from the top of the picture down; `step` is called after each.

    `metadata` is JSON-able and kept in the text field Description.
    """
    with path.open("xb") as file, ThreadPoolExecutor(threads) as pool:
        image = ImageFile(file, shelf.grid.width, shelf.grid.height, metadata)
        for strips in in_order(pool, lambda slab: _strips(shelf, slab), cuts, ahead=threads):
            image.add(strips)
            step()
        image.finish()


def _strips(shelf: Shelf, slab: Slab) -> Sequence[Strip]:
    """As they came, or made here: the same bytes where node and manager have the same version of ISA-L."""
    came = shelf.strips(slab)
    return list(strips_of(shelf.pixels(slab), shelf.grid.strip_lines)) if came is None else came


def in_order(pool: Executor, make: Callable[[S], T], items: Iterable[S], ahead: int) -> Iterator[T]:
    """The results in order; no more than `ahead` are being made or waiting while the caller works on one."""
    waiting: deque[Future[T]] = deque()
    for item in items:
        waiting.append(pool.submit(make, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


class ImageFile:
    """A PNG written from strips. `bits` are those of a channel."""

    def __init__(
        self, file: IO[bytes], width: int, height: int, metadata: Mapping[str, object], *, bits: int = 8
    ) -> None:
        self._file = file
        self._adler = 1
        file.write(png.opening(width, height, bits))
        file.write(png.text("Software", SOFTWARE))
        file.write(png.text("Description", json.dumps(metadata)))
        file.write(png.chunk(b"IDAT", ZLIB_HEADER))

    def add(self, strips: Iterable[Strip]) -> None:
        for strip in strips:
            self._file.write(strip.chunk)
            self._adler = join_adler(self._adler, strip.adler, strip.size)

    def finish(self) -> None:
        self._file.write(png.chunk(b"IDAT", LAST_BLOCK + self._adler.to_bytes(4, "big")))
        self._file.write(png.END)
