"""Painting and encoding in numpy, with the arguments of the compiled functions. Rows of RGB bytes, highest y first."""

from collections.abc import Callable

import numpy as np

from renderers.mandelbrot.layout import CHANNELS, SUB_FILTER, TABLE_SIZE
from renderers.mandelbrot.portable.derivative import derivative
from renderers.mandelbrot.portable.light import average_light
from renderers.mandelbrot.portable.memory import array_at


def paint(  # noqa: PLR0913, PLR0917  (takes what the compiled function takes)
    smooth: int,
    counts: int,
    colors: int,
    out: int,
    rows: int,
    cols: int,
    limit: float,
    offset: float,
    scale: float,
    bands: int,
) -> int:
    """RGB of arrays in data order (lowest y first): entry frac(offset + scale · value) of the table, or the last."""
    count = array_at(counts, np.uint32, rows, cols)[::-1].astype(np.float64)
    value = count if bands else array_at(smooth, np.float32, rows, cols)[::-1].astype(np.float64)
    t = value * scale + offset
    entry = ((t - np.floor(t)) * TABLE_SIZE).astype(np.int32) & (TABLE_SIZE - 1)
    entry[count >= limit] = TABLE_SIZE
    array_at(out, np.uint8, rows, cols, CHANNELS)[:] = array_at(colors, np.uint8, TABLE_SIZE + 1, CHANNELS)[entry]
    return 0


def sub_filter(rows: int, out: int, count: int, width: int) -> int:
    """PNG filter 1: each byte minus the one of the pixel to its left; a filter byte before each `width` bytes."""
    source, target = array_at(rows, np.uint8, count, width), array_at(out, np.uint8, count, width + 1)
    target[:, 0] = SUB_FILTER
    target[:, 1 : 1 + CHANNELS] = source[:, :CHANNELS]
    np.subtract(source[:, CHANNELS:], source[:, :-CHANNELS], out=target[:, 1 + CHANNELS :])
    return 0


def average(rows: int, out: int, height: int, width: int, factor: int) -> int:
    """Means of factor x factor boxes, rounded; boxes at the right and lower edge are cut off by the picture."""
    source = array_at(rows, np.uint8, height, width, CHANNELS)
    tops, lefts = np.arange(0, height, factor), np.arange(0, width, factor)
    total = np.add.reduceat(np.add.reduceat(source, tops, axis=0, dtype=np.int64), lefts, axis=1)
    high, wide = (np.minimum(factor, n - starts) for n, starts in ((height, tops), (width, lefts)))
    area = (high[:, None] * wide[None, :])[:, :, None]
    array_at(out, np.uint8, len(tops), len(lefts), CHANNELS)[:] = (total + area // 2) // area
    return 0


FUNCTIONS: dict[str, Callable[..., int]] = {
    "paint": paint,
    "sub_filter": sub_filter,
    "average": average,
    "average_light": average_light,
    "derivative": derivative,
}
