"""counts.npy and smooth.npy: each thread writes rows of tiles to their own place in the file."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from rrm.results.arrays import COMPOSED
from rrm.results.shelf import Shelf, Slab


def write_array(
    shelf: Shelf, kind: str, cuts: Sequence[Slab], path: Path, threads: int, step: Callable[[], None]
) -> None:
    """Write the array of all tiles, C order, row 0 at the lowest y; `step` is called after each slab."""
    grid, dtype = shelf.grid, COMPOSED[kind]
    header, row_bytes = _header(dtype, (grid.height, grid.width)), grid.width * dtype.itemsize
    # the pool ends before the file is closed, so that no thread writes to a descriptor that is another file's by then
    with path.open("xb", buffering=0) as file, ThreadPoolExecutor(threads) as pool:
        file.write(header)
        file.truncate(len(header) + grid.height * row_bytes)

        def write(slab: Slab) -> None:
            values = np.empty((slab.lines, grid.width), dtype)
            for columns, block in shelf.values(slab, kind):
                values[:, columns] = block
            row = slab.row * grid.tile_size + slab.first
            _write_at(file.fileno(), values.data.cast("B"), len(header) + row * row_bytes)

        for _ in pool.map(write, cuts):
            step()


def _header(dtype: np.dtype[np.generic], shape: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()


def _write_at(descriptor: int, data: memoryview, offset: int) -> None:
    while data:  # one call writes 2 GiB at most
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
