"""Renders a window of the plane into arrays of counts and smooth values.

Count of a pixel: for i = 0, 1, … max_iter - 1: z <- a step of the formula, and if then |z|² > escape_radius² the count
is i. If no i qualifies the count is max_iter (inside). z starts at 0 with c = the pixel, or, for a Julia set, at the
pixel with a constant c. `formulas` has the steps, operation by operation, in plain doubles: that defines the counts.

Smooth value of an outside pixel: count + fraction, fraction = e - log_p(log2 |z|), p the power of the formula, where z
is the orbit e - 1 steps after the escape and e ≤ 12 the first for which |z| ≥ 1e5. The limit for large e is continuous
across the counts and does not depend on the escape radius; this is within about 1e-10 of it. An |z|² that overflows
counts as the largest double. Inside pixels get max_iter, and no others: what rounds to it becomes the float below.
"""

from dataclasses import dataclass

import numpy as np

from renderers.mandelbrot.formulas import MANDELBROT, Formula
from renderers.mandelbrot.native import path
from renderers.mandelbrot.tile import Counts, Flag, Smooth, Tile

MOST_STEPS = 2**31


@dataclass(frozen=True)
class View:
    """Pixel (row r, column c) of the whole image samples x = x0 + c·dx, y = y0 + r·dy."""

    x0: float
    y0: float
    dx: float
    dy: float

    def finer(self, factor: int) -> "View":
        """The view of an image so many times as large."""
        return View(self.x0, self.y0, self.dx / factor, self.dy / factor)


@dataclass(frozen=True)
class Window:
    """Rows row0 … row0 + rows - 1 and columns col0 … col0 + cols - 1 of the whole image."""

    row0: int
    col0: int
    rows: int
    cols: int


@dataclass(frozen=True)
class Limits:
    """Where an orbit ends: after max_iter < 2³¹ steps, or beyond escape_radius (2 ≤ radius ≤ 1e100)."""

    max_iter: int
    escape_radius: float


def render_tile(  # noqa: PLR0913, PLR0917  (what, where, until when, into what)
    view: View,
    window: Window,
    limits: Limits,
    counts_out: Counts,
    smooth_out: Smooth,
    stop: Flag,
    formula: Formula = MANDELBROT,
    *,
    knows_components: bool = True,
    only_unset: bool = False,
) -> bool:
    """Fill the two contiguous rows x cols arrays; False when `stop[0]` was set from another thread meanwhile.

    With `only_unset`, pixels whose count is not UNSET may be left as they are.
    Without `knows_components` pixels that are known to be inside are iterated all the same. Raises ValueError for a
    Julia set whose constant lies beyond the escape radius (an orbit could come back from there), and for a limit that
    cannot be counted to.
    """
    if not 1 <= limits.max_iter < MOST_STEPS:
        raise ValueError(f"max_iter must be from 1 to {MOST_STEPS - 1}, not {limits.max_iter}")
    if formula.julia is not None and np.hypot(*formula.julia) > limits.escape_radius:
        raise ValueError(f"the constant {formula.julia} of a Julia set lies beyond the radius {limits.escape_radius}")
    xs = view.x0 + np.arange(window.col0, window.col0 + window.cols, dtype=np.float64) * view.dx
    ys = view.y0 + np.arange(window.row0, window.row0 + window.rows, dtype=np.float64) * view.dy
    radius2 = limits.escape_radius * limits.escape_radius
    tile = Tile(xs, ys, limits.max_iter, radius2, formula, counts_out, smooth_out, stop, knows_components, only_unset)
    return path().render(tile)
