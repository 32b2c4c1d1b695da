"""The reference orbit: Z ← Z² + C in fixed point with as many bits as the view needs, kept as doubles.

Whole numbers make it exact to the last bit on every machine and with every library. GMP, through gmpy2, is as quick as
Python's own integers at 200 bits (0.5 µs a step), three times as quick at 1100 and six times at 3400.
"""

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from renderers.mandelbrot.deep.scaled import Complexes, Doubles, normal

whole_number: Any
try:
    from gmpy2 import mpz as whole_number
except ImportError:  # there are processor architectures without a wheel
    whole_number = int

GUARD_BITS = 64  # beyond the radius: 2^16 pixels across, 2^24 steps whose errors add up, 2^-24 of a pixel
KEPT_BITS = 60  # of the fraction of ordinary values: they stay below 8
SMALL = 1 << (KEPT_BITS - 6)  # what is smaller, as it is kept, has too few digits and is kept whole
STEPS_AT_A_TIME = 1000


class Interrupted(Exception):
    """The orbit is not wanted any more."""


@dataclass(frozen=True)
class Orbit:
    """Z_0 … Z_last with Z_0 = 0; it ends at max_iter, or with the first value beyond the escape radius."""

    values: Complexes

    @property
    def last(self) -> int:
        return len(self.values) - 1


def precision(radius: Fraction) -> int:
    """Bits of the fraction that a view of this radius needs."""
    magnitude = radius.denominator.bit_length() - radius.numerator.bit_length()
    return max(0, magnitude) + GUARD_BITS


def reference_orbit(
    center: tuple[Fraction, Fraction], bits: int, max_iter: int, escape_radius: float, stopped: Callable[[], bool]
) -> Orbit:
    """The orbit of `center`. Raises Interrupted when `stopped` says so meanwhile."""
    walk = _Walk(center, bits, escape_radius)
    while len(walk.re) <= max_iter and walk.within:
        if stopped():
            raise Interrupted
        walk.advance(min(STEPS_AT_A_TIME, max_iter + 1 - len(walk.re)))
    return walk.orbit()


class _Walk:
    """An orbit as far as it has been computed."""

    def __init__(self, center: tuple[Fraction, Fraction], bits: int, escape_radius: float) -> None:
        self._bits = bits
        self._c = tuple(whole_number(round(part * (1 << bits))) for part in center)
        self._z: tuple[Any, Any] = (whole_number(0), whole_number(0))
        self._beyond = escape_radius * escape_radius
        self._tiny: list[tuple[int, Any, Any]] = []  # step and value of those that need their own exponent
        self.re, self.im = array("d", [0.0]), array("d", [0.0])
        self.within = True

    def advance(self, steps: int) -> None:
        """So many steps further, or until the orbit leaves the escape radius."""
        (x, y), (cx, cy) = self._z, self._c
        bits, shift, scale = self._bits, self._bits - KEPT_BITS, 2.0**-KEPT_BITS
        for _ in range(steps):
            x, y = ((x + y) * (x - y) >> bits) + cx, (x * y >> (bits - 1)) + cy
            kept_x, kept_y = int(x >> shift), int(y >> shift)
            if -SMALL < kept_x < SMALL or -SMALL < kept_y < SMALL:
                self._tiny.append((len(self.re), x, y))
            re, im = kept_x * scale, kept_y * scale
            self.re.append(re)
            self.im.append(im)
            if re * re + im * im > self._beyond:
                self.within = False
                break
        self._z = (x, y)

    def orbit(self) -> Orbit:
        re, im = np.array(self.re), np.array(self.im)
        exponents = np.zeros(len(re), np.int32)
        for step, x, y in self._tiny:
            re[step], im[step], exponents[step] = _double_parts(int(x), int(y), self._bits)
        return Orbit(normal(re, im, exponents))


def _double_parts(x: int, y: int, bits: int) -> tuple[float, float, int]:
    """x and y over 2^bits as two doubles and their common exponent."""
    length = max(abs(x).bit_length(), abs(y).bit_length())
    if not length:
        return 0.0, 0.0, 0
    return _fraction(x, length), _fraction(y, length), length - bits


def _fraction(number: int, length: int) -> float:
    """number / 2^length to a relative 2^-53, unless it is below 2^-1000 and so 0 beside the other part."""
    surplus = abs(number).bit_length() - MANTISSA
    kept = number >> surplus if surplus > 0 else number
    return float(np.ldexp(float(kept), max(surplus, 0) - length))


MANTISSA = 64


def samples(orbit: Orbit) -> tuple[Doubles, Doubles]:
    """The values as doubles."""
    return orbit.values.doubles()
