"""Distance estimates and relief, from the derivative of orbits that escape.

With z far out on the orbit of c and z' = dz/dc: the distance of c from the set is between d/4 and d, where
d = 2·|z|·ln|z| / |z'| (J. Milnor, Dynamics in One Complex Variable, app. G; the bounds are Koebe's theorem). The
direction of z/z' is that of the steepest way down the potential around the set: the slope of a relief, lit as
A. Chéritat does in "Mandelbrot set" (mathr wiki, normal map effect).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from renderers.mandelbrot.kernel import Limits, View, Window
from renderers.mandelbrot.light import dimmed
from renderers.mandelbrot.native import function
from renderers.mandelbrot.palette import Bytes, Coloring, Painter
from renderers.mandelbrot.tile import Counts, Smooth

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Slopes:
    """z and dz/dc of the points that escape, in the order of `pixels` (flat indices into the window)."""

    pixels: NDArray[np.int64]
    z: Doubles  # x, y
    dz: Doubles


def slopes(view: View, window: Window, counts: Counts, limits: Limits) -> Slopes:
    """Follow the points of a window that escape, whose counts are known, until they are far out."""
    flat = counts.reshape(-1)
    outside = np.flatnonzero(flat < limits.max_iter)
    pixels = outside[np.argsort(flat[outside], kind="stable")[::-1]]
    rows, cols = np.divmod(pixels, window.cols)
    cx = view.x0 + (window.col0 + cols).astype(np.float64) * view.dx
    cy = view.y0 + (window.row0 + rows).astype(np.float64) * view.dy
    steps = np.ascontiguousarray(flat[pixels]) + np.uint32(1)
    out = np.empty((4, len(pixels)))
    pointers = (array.ctypes.data for array in (cx, cy, steps, out))
    function("derivative")(*pointers, len(pixels))
    return Slopes(pixels, out[:2], out[2:])


def distances(found: Slopes) -> Doubles:
    """Estimates, in units of the plane; 0 where the derivative is too large for a double."""
    with np.errstate(all="ignore"):
        size = np.hypot(*found.z)
        distance = 2.0 * size * np.log(size) / np.hypot(*found.dz)
    known: Doubles = np.nan_to_num(distance, nan=0.0, posinf=0.0)
    return known


def facing(found: Slopes, angle: float) -> Doubles:
    """The cosine between the slope's direction and a light's, which comes from `angle` degrees; 0 where unknown."""
    (x, y), (dx, dy) = found.z, found.dz
    with np.errstate(all="ignore"):
        largest = np.maximum(np.abs(dx), np.abs(dy))
        dx, dy = dx / largest, dy / largest
        across, up = x * dx + y * dy, y * dx - x * dy  # z / dz = z · conj(dz) / |dz|²
        turn = math.radians(angle)
        cosine = (across * math.cos(turn) + up * math.sin(turn)) / np.hypot(across, up)
    known: Doubles = np.nan_to_num(cosine)
    return known


class DistancePainter:
    """Colours by distance: v = √(d / (d + reach)), from 0 at the set towards 1, once through the gradient.

    `reach` is a 64th of the picture's shorter side.
    """

    def __init__(self, coloring: Coloring, limits: Limits, reach: float) -> None:
        self._painter = Painter(coloring, limits.max_iter)
        self._limits, self._reach, self._cycle = limits, reach, coloring.cycle

    def paint(self, view: View, window: Window, counts: Counts, _smooth: Smooth) -> Bytes:
        found = slopes(view, window, counts, self._limits)
        distance = distances(found)
        values = np.zeros(counts.size, np.float32)
        values[found.pixels] = self._cycle * np.sqrt(distance / (distance + self._reach))
        return self._painter.paint(counts, values.reshape(counts.shape))


class ReliefPainter:
    """Smooth colours in the light of a lamp: brightness = (cos + height) / (1 + height) of the light there was."""

    def __init__(self, coloring: Coloring, limits: Limits) -> None:
        self._painter = Painter(coloring, limits.max_iter)
        self._limits, self._angle, self._height = limits, coloring.light_angle, coloring.light_height

    def paint(self, view: View, window: Window, counts: Counts, smooth: Smooth) -> Bytes:
        found = slopes(view, window, counts, self._limits)
        brightness = np.ones(counts.size, np.float32)
        lit = (facing(found, self._angle) + self._height) / (1.0 + self._height)
        brightness[found.pixels] = np.maximum(lit, 0.0)
        return dimmed(self._painter.paint(counts, smooth), brightness.reshape(counts.shape)[::-1])
