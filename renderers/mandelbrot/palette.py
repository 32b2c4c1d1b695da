"""Colours: a cyclic table from the stops of a palette, and painting values with it.

A value v has the colour at t = frac(offset + scale · v / cycle); v is the smooth value, or the count for bands.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from renderers.mandelbrot.layout import CHANNELS, TABLE_SIZE
from renderers.mandelbrot.native import function
from renderers.mandelbrot.tile import Counts, Smooth

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Coloring:
    """How values become colours; stops are (position 0..1 ascending, "#rrggbb")."""

    stops: tuple[tuple[float, str], ...]
    interpolation: str
    method: str
    cycle: float
    offset: float
    scale: float
    interior: str
    light_angle: float = 45.0
    light_height: float = 1.5


def rgb(color: str) -> tuple[int, int, int]:
    """The channels of "#rrggbb"."""
    red, green, blue = bytes.fromhex(color.removeprefix("#"))
    return red, green, blue


def color_table(stops: Sequence[tuple[float, str]], interpolation: str) -> Bytes:
    """TABLE_SIZE x 3 colours, entry i at t = i / TABLE_SIZE; the last stop leads to the first of the next cycle."""
    positions = np.array([position for position, _ in stops])
    channels = np.array([rgb(color) for _, color in stops], dtype=np.float64)
    positions = np.concatenate(([positions[-1] - 1.0], positions, [positions[0] + 1.0]))
    channels = np.concatenate((channels[-1:], channels, channels[:1]))
    t = np.arange(TABLE_SIZE) / TABLE_SIZE
    right = np.clip(np.searchsorted(positions, t, side="right"), 1, len(positions) - 1)
    width = positions[right] - positions[right - 1]
    mix = np.divide(t - positions[right - 1], width, out=np.zeros_like(t), where=width > 0)
    if interpolation == "cosine":
        mix = (1.0 - np.cos(math.pi * mix)) / 2.0
    mixed = channels[right - 1] * (1.0 - mix[:, None]) + channels[right] * mix[:, None]
    table: Bytes = np.rint(mixed).astype(np.uint8)
    return table


class Painter:
    """Paints tiles of one model with one colouring."""

    def __init__(self, coloring: Coloring, max_iter: int) -> None:
        interior = np.array([rgb(coloring.interior)], dtype=np.uint8)
        self._colors = np.concatenate((color_table(coloring.stops, coloring.interpolation), interior))
        self._limit = float(max_iter)
        self._offset, self._scale = coloring.offset, coloring.scale / coloring.cycle
        self._bands = int(coloring.method == "bands")

    def paint(self, counts: Counts, smooth: Smooth) -> Bytes:
        """RGB rows in picture order (rows x 3·cols, highest y first) of arrays in data order (lowest y first)."""
        rows, cols = counts.shape
        picture = np.empty((rows, CHANNELS * cols), np.uint8)
        pointers = (array.ctypes.data for array in (smooth, counts, self._colors, picture))
        function("paint")(*pointers, rows, cols, self._limit, self._offset, self._scale, self._bands)
        return picture
