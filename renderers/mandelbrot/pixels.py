"""The inner loops of painting and encoding, compiled by numba. Pictures are rows of RGB bytes, highest y first."""

import math
from typing import Any

from numba import cfunc, types

from renderers.mandelbrot.layout import CHANNELS, TABLE_SIZE

INDEX_MASK = TABLE_SIZE - 1
SUB_FILTER = 1

pointer_to: Any = types.CPointer
BYTES = pointer_to(types.uint8)
INTEGER, DOUBLE = types.int64, types.float64


@cfunc(
    INTEGER(
        pointer_to(types.float32),
        pointer_to(types.uint32),
        BYTES,
        BYTES,
        *(INTEGER,) * 2,
        *(DOUBLE,) * 3,
        INTEGER,
    ),
    error_model="numpy",
)
def paint(  # noqa: PLR0913, PLR0917  (a C function: its arguments are what crosses the border)
    smooth: Any,
    counts: Any,
    colors: Any,
    out: Any,
    rows: int,
    cols: int,
    limit: float,
    offset: float,
    scale: float,
    bands: int,
) -> int:
    """RGB of arrays in data order (lowest y first): entry frac(offset + scale · value) of the table, or the last."""
    for row in range(rows):
        source = (rows - 1 - row) * cols
        target = 3 * row * cols
        for col in range(cols):
            count = float(counts[source + col])
            t = offset + scale * (count if bands else float(smooth[source + col]))
            entry = int((t - math.floor(t)) * TABLE_SIZE) & INDEX_MASK
            entry = 3 * (TABLE_SIZE if count >= limit else entry)
            out[target] = colors[entry]
            out[target + 1] = colors[entry + 1]
            out[target + 2] = colors[entry + 2]
            target += 3
    return 0


@cfunc(INTEGER(BYTES, BYTES, INTEGER, INTEGER), error_model="numpy")
def sub_filter(rows: Any, out: Any, count: int, width: int) -> int:
    """PNG filter 1: each byte minus the one of the pixel to its left; a filter byte before each `width` bytes."""
    for row in range(count):
        source = row * width
        target = row * (width + 1)
        out[target] = SUB_FILTER
        for i in range(CHANNELS):
            out[target + 1 + i] = rows[source + i]
        for i in range(CHANNELS, width):
            out[target + 1 + i] = rows[source + i] - rows[source + i - CHANNELS]
    return 0


@cfunc(INTEGER(BYTES, BYTES, INTEGER, INTEGER, INTEGER), error_model="numpy")
def average(rows: Any, out: Any, height: int, width: int, factor: int) -> int:
    """Means of factor x factor boxes, rounded; boxes at the right and lower edge are cut off by the picture."""
    target = 0
    for row in range((height + factor - 1) // factor):
        top, bottom = row * factor, min(height, (row + 1) * factor)
        for col in range((width + factor - 1) // factor):
            left, right = col * factor, min(width, (col + 1) * factor)
            area = (bottom - top) * (right - left)
            for channel in range(CHANNELS):
                total = area // 2
                for y in range(top, bottom):
                    for x in range(left, right):
                        total += rows[CHANNELS * (y * width + x) + channel]
                out[target] = total // area
                target += 1
    return 0
