"""The Mandelbrot set as the contract words it, evaluated plainly: the measure for what the service delivers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.uint32]


def counts_at(cx: NDArray[np.float64], cy: NDArray[np.float64], max_iter: int, radius: float = 2.0) -> Counts:
    """Escape counts of the points (cx, cy), which are one-dimensional arrays.

    Each operation is an array operation of its own and rounds to a double: nothing can be contracted.
    """
    counts = np.full(cx.size, max_iter, np.uint32)
    left, cr, ci = np.arange(cx.size), cx, cy
    x, y = np.zeros_like(cr), np.zeros_like(ci)
    for count in range(max_iter):
        xx, yy, xy = x * x, y * y, x * y
        y = 2.0 * xy + ci
        x = (xx - yy) + cr
        escaped = x * x + y * y > radius * radius
        if escaped.any():
            counts[left[escaped]] = count
            stay = ~escaped
            left, cr, ci, x, y = left[stay], cr[stay], ci[stay], x[stay], y[stay]
    return counts


def axis(low: float, high: float, size: int) -> NDArray[np.float64]:
    """Where the pixels of a whole side are sampled."""
    return np.asarray(low + np.arange(size) * ((high - low) / size), np.float64)
