"""The kernel in numpy: all pixels of a tile take a step together, and those that ended are taken out."""

import numpy as np
from numpy.typing import NDArray

from renderers.mandelbrot.formulas import MANDELBROT
from renderers.mandelbrot.layout import (
    FAR,
    FURTHER,
    LARGEST,
    MANTISSA_BITS,
    SERIES,
    SQRT_HALF_BITS,
    TWO_OVER_LN2,
    logarithm_factor,
)
from renderers.mandelbrot.tile import Doubles, Tile

Indices = NDArray[np.int64]
CHUNK = 1 << 14  # pixels: their orbits fit the second-level cache


def render(tile: Tile) -> bool:
    """Fill the tile; False when its stop flag was raised meanwhile."""
    tile.counts.fill(tile.max_iter)
    tile.smooth.fill(float(tile.max_iter))
    cols = len(tile.xs)
    with np.errstate(all="ignore"):  # orbits that left are followed until they overflow
        for first in range(0, tile.counts.size, CHUNK):
            pixels = np.arange(first, min(first + CHUNK, tile.counts.size))
            orbits = _Orbits(tile, pixels, tile.xs[pixels % cols], tile.ys[pixels // cols])
            if not orbits.run():
                return False
    return True


class _Orbits:
    """Pixels that are within the radius, and how far they have come."""

    def __init__(self, tile: Tile, pixels: Indices, x: Doubles, y: Doubles) -> None:
        self._tile, self._step = tile, tile.formula.step
        if tile.formula == MANDELBROT and tile.knows_components:
            unknown = ~_is_known(x, y)
            pixels, x, y = pixels[unknown], x[unknown], y[unknown]
        self._pixels, self._cx, self._cy = pixels, x, y
        self._x, self._y = np.zeros_like(x), np.zeros_like(y)
        if tile.formula.julia is not None:
            self._x, self._y = x, y
            self._cx, self._cy = (np.full_like(x, part) for part in tile.formula.julia)

    def run(self) -> bool:
        """To the end of all; False when the stop flag was raised."""
        for count in range(self._tile.max_iter):
            if self._tile.stop[0]:
                return False
            if not len(self._pixels):
                return True
            self._x, self._y = self._step(self._x, self._y, self._cx, self._cy)
            within = self._x * self._x + self._y * self._y <= self._tile.radius2
            if not within.all():
                self._write(count, ~within)
                self._keep(within)
        return True

    def _keep(self, chosen: NDArray[np.bool_]) -> None:
        self._pixels, self._cx, self._cy = self._pixels[chosen], self._cx[chosen], self._cy[chosen]
        self._x, self._y = self._x[chosen], self._y[chosen]

    def _write(self, count: int, escaped: NDArray[np.bool_]) -> None:
        """Results of the pixels that escaped in this step."""
        x, y, cx, cy = (part[escaped] for part in (self._x, self._y, self._cx, self._cy))
        pixels, e = self._pixels[escaped], np.ones(int(escaped.sum()))
        going = (x * x + y * y < FAR) & (e < FURTHER)
        while going.any():
            x[going], y[going] = self._step(x[going], y[going], cx[going], cy[going])
            e[going] += 1.0
            going &= (x * x + y * y < FAR) & (e < FURTHER)
        size = np.fmin(x * x + y * y, LARGEST)
        depth = _logarithm(_logarithm(size) * 0.5)
        if self._tile.formula.power != 2:
            depth *= logarithm_factor(self._tile.formula.power)
        self._tile.counts.reshape(-1)[pixels] = count
        smooth, inside = (float(count) + (e - depth)).astype(np.float32), np.float32(self._tile.max_iter)
        smooth[smooth == inside] = np.nextafter(inside, np.float32(0.0))
        self._tile.smooth.reshape(-1)[pixels] = smooth


def _is_known(x: Doubles, y: Doubles) -> NDArray[np.bool_]:
    """In the cardioid or in the disc beside it."""
    yy, shifted, beside = y * y, x - 0.25, x + 1.0
    q = shifted * shifted + yy
    known: NDArray[np.bool_] = (q * (q + shifted) <= 0.25 * yy) | (beside * beside + yy <= 0.0625)
    return known


def _logarithm(value: Doubles) -> Doubles:
    """log2 as all paths compute it."""
    bits = value.view(np.int64)
    exponent = (bits - SQRT_HALF_BITS) >> MANTISSA_BITS
    mantissa = (bits - (exponent << MANTISSA_BITS)).view(np.float64)
    r = (mantissa - 1.0) / (mantissa + 1.0)
    r2 = r * r
    series = r2 * SERIES[0] + SERIES[1]
    for term in SERIES[2:]:
        series = r2 * series + term
    result: Doubles = exponent + (TWO_OVER_LN2 * r) * series
    return result
