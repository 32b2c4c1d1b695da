"""Colours: a cyclic table from the stops of a palette, and painting values with it.

A value v has the colour at t = frac(offset + scale · v / cycle); v is the smooth value, or the count for bands.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from renderers.mandelbrot.jit import compiled
from renderers.mandelbrot.kernel import Counts, Smooth

TABLE_SIZE = 4096  # entry i is the colour at t = i / TABLE_SIZE; a power of two
INDEX_MASK = TABLE_SIZE - 1

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


def rgb(color: str) -> tuple[int, int, int]:
    """The channels of "#rrggbb"."""
    red, green, blue = bytes.fromhex(color.removeprefix("#"))
    return red, green, blue


def color_table(stops: Sequence[tuple[float, str]], interpolation: str) -> Bytes:
    """TABLE_SIZE × 3 colours; between the last stop and the first one of the next cycle it is interpolated as well."""
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
    return np.rint(mixed).astype(np.uint8)


@compiled
def _paint(values: Any, counts: Counts, max_iter: int, mapping: tuple[float, float], colors: Bytes, out: Bytes) -> None:
    """Write rows of RGB in picture order (last row of the arrays first); entry TABLE_SIZE of `colors` is the interior."""
    rows, cols = counts.shape
    offset, per_value = mapping
    for row in range(rows):
        source = rows - 1 - row
        for col in range(cols):
            t = offset + per_value * values[source, col]
            entry = int((t - math.floor(t)) * TABLE_SIZE) & INDEX_MASK
            entry = TABLE_SIZE if counts[source, col] >= max_iter else entry
            out[row, 3 * col] = colors[entry, 0]
            out[row, 3 * col + 1] = colors[entry, 1]
            out[row, 3 * col + 2] = colors[entry, 2]


class Painter:
    """Paints tiles of one model with one colouring."""

    def __init__(self, coloring: Coloring, max_iter: int) -> None:
        interior = np.array([rgb(coloring.interior)], dtype=np.uint8)
        self._colors = np.concatenate((color_table(coloring.stops, coloring.interpolation), interior))
        self._mapping = (float(coloring.offset), coloring.scale / coloring.cycle)
        self._bands = coloring.method == "bands"
        self._max_iter = max_iter

    def paint(self, counts: Counts, smooth: Smooth, out: Bytes) -> None:
        """Fill `out` (rows × 3·cols, RGB, highest y first) from arrays in data order (lowest y first)."""
        _paint(counts if self._bands else smooth, counts, self._max_iter, self._mapping, self._colors, out)
