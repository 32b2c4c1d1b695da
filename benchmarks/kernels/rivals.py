"""The well-known ways to compute escape counts in Python, as people write them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.whole.inputs import Input

Axis = NDArray[np.float64]
Counts = NDArray[np.uint32]


def axes(view: Input, stride: int = 1) -> tuple[Axis, Axis]:
    """x of every stride-th column and y of every stride-th row."""
    xmin, xmax, ymin, ymax = view.viewport
    xs = xmin + np.arange(0, view.width, stride, dtype=np.float64) * ((xmax - xmin) / view.width)
    ys = ymin + np.arange(0, view.height, stride, dtype=np.float64) * ((ymax - ymin) / view.height)
    return xs, ys


def iterations(counts: Counts, max_iter: int) -> int:
    """Steps that had to be taken for these counts."""
    return int(np.minimum(counts.astype(np.int64) + 1, max_iter).sum())


def pure_python(xs: Axis, ys: Axis, max_iter: int) -> Counts:
    counts = np.full((len(ys), len(xs)), max_iter, np.uint32)
    for row, ci in enumerate(ys.tolist()):
        for col, cr in enumerate(xs.tolist()):
            x = y = 0.0
            for i in range(max_iter):
                x, y = (x * x - y * y) + cr, 2.0 * (x * y) + ci
                if x * x + y * y > 4.0:
                    counts[row, col] = i
                    break
    return counts


def numpy_masked(xs: Axis, ys: Axis, max_iter: int, tile: int = 256) -> Counts:
    """The kernel of the tile notebook: complex arrays, one tile at a time, and a mask of the pixels that go on."""
    counts = np.full((len(ys), len(xs)), max_iter, np.uint32)
    for top in range(0, len(ys), tile):
        for left in range(0, len(xs), tile):
            c = xs[left : left + tile] + 1j * ys[top : top + tile, None]
            part = counts[top : top + tile, left : left + tile]
            z, goes_on = np.zeros_like(c), np.ones(c.shape, bool)
            for i in range(max_iter):
                z[goes_on] = z[goes_on] * z[goes_on] + c[goes_on]
                escaped = goes_on & (np.abs(z) > 2.0)
                part[escaped] = i
                goes_on &= ~escaped
                if not goes_on.any():
                    break
    return counts


def numba_scalar(*, parallel: bool) -> Callable[[Axis, Axis, int], Counts]:
    """The scalar loop compiled by numba, rows in parallel or not. It defines the counts."""
    import numba

    def rows(xs: Axis, ys: Axis, max_iter: int, counts: Counts) -> None:
        for row in numba.prange(len(ys)):
            for col in range(len(xs)):
                cr, ci = xs[col], ys[row]
                x = y = 0.0
                count = max_iter
                for i in range(max_iter):
                    x, y = (x * x - y * y) + cr, 2.0 * (x * y) + ci
                    if x * x + y * y > 4.0:
                        count = i
                        break
                counts[row, col] = count

    compiled: Any = numba.njit(rows, parallel=parallel, nogil=True, error_model="numpy")
    compiled(np.zeros(2), np.zeros(2), 1, np.empty((2, 2), np.uint32))

    def run(xs: Axis, ys: Axis, max_iter: int) -> Counts:
        counts = np.empty((len(ys), len(xs)), np.uint32)
        compiled(xs, ys, max_iter, counts)
        return counts

    return run


def rate(method: Callable[[Axis, Axis, int], Counts], view: Input, stride: int) -> float:
    """Iterations per second of processor time, on every stride-th pixel both ways."""
    xs, ys = axes(view, stride)
    began = time.process_time()
    counts = method(xs, ys, view.max_iter)
    return iterations(counts, view.max_iter) / (time.process_time() - began)


CORES = len(os.sched_getaffinity(0))
