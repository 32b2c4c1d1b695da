"""The picture of a tile: one sample for each pixel, several, or several only where neighbours differ.

With supersample k the picture is that of an image k times as large, each k x k of its pixels averaged as light: pixel
(r, c) covers the samples (k·r + i, k·c + j) at x0 + (k·c + j)·dx/k, y0 + (k·r + i)·dy/k. Adaptive pictures have that
only where the colours of the 3 x 3 pixels around differ by more than CONTRAST; elsewhere one sample tells as much.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from renderers.mandelbrot.deep.model import DeepView
from renderers.mandelbrot.kernel import View, Window
from renderers.mandelbrot.layout import CHANNELS
from renderers.mandelbrot.light import averaged
from renderers.mandelbrot.palette import Bytes
from renderers.mandelbrot.tile import Counts, Smooth

CONTRAST = 12  # levels of 255 in any channel
CELL = 16  # pixels: what is sampled more closely goes by cells of this side
SAMPLES_AT_ONCE = 2**18

Mask = NDArray[np.bool_]
AnyView = View | DeepView
Compute = Callable[[AnyView, Window, Mask | None], tuple[Counts, Smooth] | None]
"""The values of a window of any view, or of the points in the mask alone: the others count as inside. None when the
work was stopped meanwhile."""
Paint = Callable[[Any, Window, Counts, Smooth], Bytes]


@dataclass(frozen=True)
class Sampling:
    """How many samples a pixel has along each side, and whether only where they matter."""

    supersample: int = 1
    adaptive: bool = False

    @property
    def margin(self) -> int:
        """Pixels around a tile that its picture depends on."""
        return int(self.adaptive and self.supersample > 1)

    @property
    def begins_with_pixels(self) -> bool:
        """Whether the picture is made from one sample for each pixel, at first or altogether."""
        return self.supersample == 1 or self.adaptive


def grown(window: Window, margin: int) -> Window:
    """With so many pixels more on each side."""
    return Window(window.row0 - margin, window.col0 - margin, window.rows + 2 * margin, window.cols + 2 * margin)


class Artist:
    """Makes the pictures of one lease: rows of RGB bytes, highest y first."""

    def __init__(self, view: AnyView, sampling: Sampling, paint: Paint) -> None:
        self._view, self._paint = view, paint
        self.sampling = sampling

    def picture(self, window: Window, values: tuple[Counts, Smooth] | None, compute: Compute) -> Bytes | None:
        """The picture of a window; None when `compute` was stopped.

        `values` are those of the window grown by the margin; needed when it begins with pixels.
        """
        if not self.sampling.begins_with_pixels:
            return self._sampled(window, compute)
        if values is None:
            raise ValueError("the values of the pixels are needed")
        picture = self._paint(self._view, grown(window, self.sampling.margin), *values)
        return self._refined(window, picture, compute) if self.sampling.margin else picture

    def _sampled(self, window: Window, compute: Compute) -> Bytes | None:
        """All pixels averaged from their samples, some rows at a time."""
        factor = self.sampling.supersample
        picture = np.empty((window.rows, CHANNELS * window.cols), np.uint8)
        step = max(1, SAMPLES_AT_ONCE // (window.cols * factor * factor))
        for row in range(0, window.rows, step):
            rows = min(step, window.rows - row)
            part = self._averaged(Window(window.row0 + row, window.col0, rows, window.cols), compute)
            if part is None:
                return None
            picture[window.rows - row - rows : window.rows - row] = part
        return picture

    def _averaged(self, window: Window, compute: Compute, wanted: Mask | None = None) -> Bytes | None:
        """The picture of a window from its samples; those of pixels that are not wanted are not computed."""
        factor = self.sampling.supersample
        points = None if wanted is None else wanted.repeat(factor, axis=0).repeat(factor, axis=1)
        view = self._view.finer(factor)
        samples = Window(*(factor * side for side in (window.row0, window.col0, window.rows, window.cols)))
        values = compute(view, samples, points)
        return None if values is None else averaged(self._paint(view, samples, *values), factor)

    def _refined(self, window: Window, picture: Bytes, compute: Compute) -> Bytes | None:
        """The window's picture, cut from the grown one, with what stands out sampled more closely."""
        marked = differing(picture)
        refined = np.ascontiguousarray(picture[1:-1, CHANNELS:-CHANNELS])
        for row, rows, col, cols in runs(marked):
            top = window.rows - row - rows
            wanted = marked[row : row + rows, col : col + cols]
            part = self._averaged(Window(window.row0 + top, window.col0 + col, rows, cols), compute, wanted[::-1])
            if part is None:
                return None
            place = refined[row : row + rows, CHANNELS * col : CHANNELS * (col + cols)]
            np.copyto(place, part, where=wanted.repeat(CHANNELS, axis=1))
        return refined


def differing(picture: Bytes) -> Mask:
    """Which pixels of a picture, less its outermost, have neighbours whose colours differ."""
    pixels = picture.reshape(len(picture), -1, CHANNELS)
    high = np.maximum(np.maximum(pixels[:-2], pixels[1:-1]), pixels[2:])
    low = np.minimum(np.minimum(pixels[:-2], pixels[1:-1]), pixels[2:])
    high = np.maximum(np.maximum(high[:, :-2], high[:, 1:-1]), high[:, 2:])
    low = np.minimum(np.minimum(low[:, :-2], low[:, 1:-1]), low[:, 2:])
    found: Mask = np.any(high - low > CONTRAST, axis=2)
    return found


def runs(marked: Mask) -> Iterator[tuple[int, int, int, int]]:
    """(first row, rows, first column, columns) of rectangles of neighbouring cells that hold all that is marked."""
    height, width = marked.shape
    for row in range(0, height, CELL):
        rows = min(CELL, height - row)
        columns = np.flatnonzero(marked[row : row + rows].any(axis=0)) // CELL
        cells = np.unique(columns)
        for run in np.split(cells, np.flatnonzero(np.diff(cells) > 1) + 1):
            if len(run):
                col = int(run[0]) * CELL
                yield row, rows, col, min(width, (int(run[-1]) + 1) * CELL) - col
