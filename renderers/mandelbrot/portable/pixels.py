"""Painting and encoding in numpy, with the arguments of the compiled functions. Rows of RGB bytes, highest y first."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from renderers.mandelbrot.layout import CHANNELS, INDICES, SUB_FILTER, TABLE_SIZE
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
    entry = _entries(smooth, counts, (rows, cols), (limit, offset, scale, bands), TABLE_SIZE)
    array_at(out, np.uint8, rows, cols, CHANNELS)[:] = array_at(colors, np.uint8, TABLE_SIZE + 1, CHANNELS)[entry]
    return 0


def index(  # noqa: PLR0913, PLR0917  (takes what the compiled function takes)
    smooth: int,
    counts: int,
    out: int,
    rows: int,
    cols: int,
    limit: float,
    offset: float,
    scale: float,
    bands: int,
) -> int:
    """The same as one byte per pixel: INDICES colours of a cycle, and INDICES for the interior."""
    entry = _entries(smooth, counts, (rows, cols), (limit, offset, scale, bands), INDICES)
    array_at(out, np.uint8, rows, cols)[:] = entry
    return 0


def _entries(
    smooth: int, counts: int, shape: tuple[int, int], scaling: tuple[float, float, float, int], size: int
) -> NDArray[np.int32]:
    """Entries of a cycle of `size` colours, or the interior's, which is the next; the highest y first."""
    limit, offset, scale, bands = scaling
    count = array_at(counts, np.uint32, *shape)[::-1].astype(np.float64)
    value = count if bands else array_at(smooth, np.float32, *shape)[::-1].astype(np.float64)
    with np.errstate(all="ignore"):  # values that overflow have some colour
        t = value * scale + offset
        place = (t - np.floor(t)) * size
        entry = np.where(place < size, place, 0.0).astype(np.int32)
    entry[count >= limit] = size
    return entry


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
    "index": index,
    "sub_filter": sub_filter,
    "average": average,
    "average_light": average_light,
    "derivative": derivative,
}
