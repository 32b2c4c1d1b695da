"""Composing: from a job's accepted ranges to image.png, the pyramid, counts.npy and smooth.npy."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rrm.domain.tiling import TileGrid
from rrm.results.arrays import COMPOSED
from rrm.results.layout import JobFiles, drafted
from rrm.results.picture import ImageFile, strips
from rrm.results.pyramid import PyramidBuilder
from rrm.results.shelf import RangeFile, Shelf

# how many steps are done, of how many
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ComposePlan:
    """What to compose. `outputs` of png, counts, smooth; `metadata` is JSON-able and goes into image.png.

    The picture and its pyramid are made whenever the ranges hold full-size pictures, even unasked: pages show them.
    """

    grid: TileGrid
    outputs: frozenset[str]
    ranges: tuple[RangeFile, ...]
    metadata: Mapping[str, object] = field(default_factory=dict)


def compose(
    files: JobFiles, plan: ComposePlan, *, threads: int = 2, progress: Progress = lambda done, total: None
) -> frozenset[str]:
    """Write the results; say which there are: image, pyramid, counts, smooth. All take their names at the end.

    NotReady if a tile is missing; CorruptRange (a BadBundle) with the range file that must be rendered again. Whatever
    `progress` raises stops the work. Nothing is left behind by a failure, and running twice or twice at once is safe.
    Memory: threads + 2 rows of tiles, and rows of pyramid tiles that hold 4 MB for each 1000 pixels of width.
    """
    shelf = Shelf(plan.grid, plan.ranges)
    picture = "png" in plan.outputs or shelf.holds("png")
    kinds = [kind for kind in COMPOSED if kind in plan.outputs]
    step = _Steps(plan.grid.rows * (picture + len(kinds)), progress).step
    with ExitStack() as drafts:
        if picture:
            image, pyramid = (drafts.enter_context(drafted(path)) for path in (files.image, files.pyramid))
            _write_picture(shelf, plan.metadata, image, pyramid, threads, step)
        for kind in kinds:
            _write_array(shelf, kind, drafts.enter_context(drafted(files.array(kind))), threads, step)
    return frozenset(kinds) | (frozenset({"image", "pyramid"}) if picture else frozenset())


class _Steps:
    def __init__(self, total: int, progress: Progress) -> None:
        self._total, self._progress, self._done = total, progress, 0

    def step(self) -> None:
        self._done += 1
        self._progress(self._done, self._total)


def _write_picture(
    shelf: Shelf,
    metadata: Mapping[str, object],
    image: Path,
    pyramid: Path,
    threads: int,
    step: Callable[[], None],
) -> None:
    width, height = shelf.grid.width, shelf.grid.height
    with image.open("xb") as file, ThreadPoolExecutor(threads) as pool:
        builder = PyramidBuilder(pyramid, width, height, pool)
        output = ImageFile(file, width, height, metadata)
        for strip in strips(shelf, pool, ahead=threads):
            output.add(strip.piece)
            builder.add(strip.pixels)
            step()
        output.finish()


def _write_array(shelf: Shelf, kind: str, path: Path, threads: int, step: Callable[[], None]) -> None:
    grid, dtype = shelf.grid, COMPOSED[kind]
    header = _npy_header(dtype, (grid.height, grid.width))
    # the pool ends before the file is closed, so that no thread writes to a descriptor that is another file's by then
    with path.open("xb", buffering=0) as file, ThreadPoolExecutor(threads) as pool:
        file.write(header)
        file.truncate(len(header) + grid.height * grid.width * dtype.itemsize)

        def write(row: int) -> None:
            tiles = range(row * grid.cols, (row + 1) * grid.cols)
            first = grid.box(tiles[0])
            values = np.empty((first.rows, grid.width), dtype)
            for tile, block in shelf.values(tiles, kind):
                box = grid.box(tile)
                values[:, box.col0 : box.col0 + box.cols] = block
            _write_at(file.fileno(), values.data.cast("B"), len(header) + first.row0 * grid.width * dtype.itemsize)

        for _ in pool.map(write, range(grid.rows)):
            step()


def _npy_header(dtype: np.dtype[np.generic], shape: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()


def _write_at(descriptor: int, data: memoryview, offset: int) -> None:
    while data:  # one call writes 2 GiB at most
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
