"""The points that a camera samples: those of a job that shows the same view in the same size, to the last bit.

Where doubles tell pixels apart they are doubles, each edge rounded once; beyond, distances from an exact centre.
"""

import functools
import math
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction

from renderers.mandelbrot.deep.model import DeepView
from renderers.mandelbrot.deep.scaled import Scaled
from renderers.mandelbrot.kernel import View
from renderers.streaming.camera import Camera

DOUBLE_RADIUS = Fraction(1, 10**13)
ULPS_PER_PIXEL = 4
SPACING = Context(prec=40)  # the digits of a distance between pixels that a job's nodes are told
MOST_CHOSEN = 1_000_000


@dataclass(frozen=True)
class Grid:
    """A rectangle of width x height pixels around a centre, exactly; `pixel` is the side of one."""

    center: tuple[Fraction, Fraction]
    radius: Fraction
    width: int
    height: int

    @classmethod
    def of(cls, camera: Camera) -> "Grid":
        x, y = camera.center
        return cls((Fraction(x), Fraction(y)), Fraction(camera.radius), camera.width, camera.height)

    @functools.cached_property
    def pixel(self) -> Fraction:
        return 2 * self.radius / min(self.width, self.height)

    @functools.cached_property
    def is_deep(self) -> bool:
        """Doubles cannot tell its pixels apart, or no longer show them as they are."""
        return self.radius < DOUBLE_RADIUS or not self._has_distinct_samples()

    @functools.cached_property
    def doubles(self) -> View:
        """Pixel (row r, column c) of a view that is not deep."""
        x0, x1 = self._edges(0, self.width)
        y0, y1 = self._edges(1, self.height)
        return View(x0, y0, (x1 - x0) / self.width, (y1 - y0) / self.height)

    def coarse_doubles(self, width: int, height: int) -> View:
        """So many samples of the same rectangle, each in the middle of what it stands for."""
        fine = self.doubles
        dx, dy = fine.dx * self.width / width, fine.dy * self.height / height
        return View(fine.x0 + 0.5 * (dx - fine.dx), fine.y0 + 0.5 * (dy - fine.dy), dx, dy)

    def deep(self, reference: tuple[Fraction, Fraction]) -> DeepView:
        """Distances from a reference that may be elsewhere."""
        side = Scaled.of(_as_told(self.pixel))
        return DeepView(side, side, self.width, self.height, self._shift(reference, self.pixel, self.pixel))

    def coarse_deep(self, width: int, height: int, reference: tuple[Fraction, Fraction]) -> DeepView:
        """So many samples of the same rectangle, each in the middle of what it stands for."""
        dx, dy = self.pixel * self.width / width, self.pixel * self.height / height
        return DeepView(Scaled.of(dx), Scaled.of(dy), width - 1, height - 1, self._shift(reference, dx, dy))

    def _shift(self, reference: tuple[Fraction, Fraction], dx: Fraction, dy: Fraction) -> tuple[float, float]:
        return float((self.center[0] - reference[0]) / dx), float((self.center[1] - reference[1]) / dy)

    def _edges(self, axis: int, pixels: int) -> tuple[float, float]:
        half = self.pixel * pixels / 2
        return float(self.center[axis] - half), float(self.center[axis] + half)

    def _has_distinct_samples(self) -> bool:
        fine, sides = self.doubles, (self._edges(0, self.width), self._edges(1, self.height))
        steps = (fine.dx, fine.dy)
        return all(
            step >= ULPS_PER_PIXEL * math.ulp(max(map(abs, edges))) for step, edges in zip(steps, sides, strict=True)
        )


def chosen_limit(radius: Fraction) -> int:
    """Steps that show a view of this radius well, in most places; the same for all of a power of ten."""
    decades = max(0, len(str(math.floor(2 / radius))) - 1)
    return min(600 + 200 * decades + 30 * decades * decades, MOST_CHOSEN)


def _as_told(number: Fraction) -> Fraction:
    """As a job's nodes get it: to some digits."""
    return Fraction(SPACING.divide(Decimal(number.numerator), Decimal(number.denominator)))
