"""What a path of the kernel is given: one tile, its limits and where its results go."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from renderers.mandelbrot.formulas import Formula

Counts = NDArray[np.uint32]
Smooth = NDArray[np.float32]
Flag = NDArray[np.uint8]
Doubles = NDArray[np.float64]
UNSET = 0xFFFFFFFF  # no count


@dataclass(frozen=True)
class Tile:
    """Pixel (row r, column c) is the point (xs[c], ys[r]); results are contiguous, rows x columns."""

    xs: Doubles
    ys: Doubles
    max_iter: int
    radius2: float
    formula: Formula
    counts: Counts
    smooth: Smooth
    stop: Flag
    knows_components: bool = True  # pixels that are known to be inside need not be iterated
    only_unset: bool = False  # pixels whose count is not UNSET need not be rendered
