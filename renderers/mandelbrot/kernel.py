"""Renders a window of the Mandelbrot set into arrays of counts and smooth values; `lanes` says what they are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from renderers.mandelbrot.layout import SCRATCH
from renderers.mandelbrot.native import function

Counts = NDArray[np.uint32]
Smooth = NDArray[np.float32]
Flag = NDArray[np.uint8]


@dataclass(frozen=True)
class View:
    """Pixel (row r, column c) of the whole image samples x = x0 + c·dx, y = y0 + r·dy."""

    x0: float
    y0: float
    dx: float
    dy: float


@dataclass(frozen=True)
class Window:
    """Rows row0 … row0 + rows - 1 and columns col0 … col0 + cols - 1 of the whole image."""

    row0: int
    col0: int
    rows: int
    cols: int


@dataclass(frozen=True)
class Limits:
    """Where an orbit ends: after max_iter steps, or beyond escape_radius (2 ≤ radius ≤ 1e100)."""

    max_iter: int
    escape_radius: float


def render_tile(view: View, window: Window, limits: Limits, counts_out: Counts, smooth_out: Smooth, stop: Flag) -> bool:
    """Fill the two contiguous rows x cols arrays; False when `stop[0]` was set from another thread meanwhile."""
    xs = view.x0 + np.arange(window.col0, window.col0 + window.cols, dtype=np.float64) * view.dx
    ys = view.y0 + np.arange(window.row0, window.row0 + window.rows, dtype=np.float64) * view.dy
    scratch = np.empty(SCRATCH)
    buffers = (xs, ys, counts_out, smooth_out, stop, scratch)
    pointers = (buffer.ctypes.data for buffer in buffers)
    size = (window.cols, window.rows * window.cols)
    return bool(
        function("render_lanes")(*pointers, *size, float(limits.max_iter), limits.escape_radius * limits.escape_radius)
    )
