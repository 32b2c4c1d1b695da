"""The reference orbit: Z ← Z² + C in fixed point with as many bits as the view needs, kept as doubles.

Whole numbers make it the same to the last bit on every machine and with every library. GMP, through gmpy2, is as quick
as Python's own integers at 200 bits (0.5 µs a step), three times as quick at 1100 and six times at 3400.
"""

import contextlib
import math
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from renderers.mandelbrot.deep.layout import PADDING, TINY
from renderers.mandelbrot.deep.scaled import Complexes, Doubles, normal

whole_number: Any = int
with contextlib.suppress(ImportError):  # there are processor architectures without a wheel
    import gmpy2

    whole_number = gmpy2.mpz

GUARD_BITS = 64  # beyond the radius: 2^16 pixels across, 2^24 steps whose errors add up, 2^-24 of a pixel
KEPT_BITS = 59  # of the fraction of ordinary values of 2Z, which stay below 16
SMALL = 1 << 53  # a value with both parts smaller, as they are kept, has too few digits
DIGITS = 64  # of what is small
STEPS_AT_A_TIME = 1000

TINY_ENTRY = np.dtype([("step", "<i8"), ("re", "<f8"), ("im", "<f8"), ("exponent", "<i8")])


class OrbitInterrupted(Exception):
    """The orbit is not wanted any more."""


@dataclass(frozen=True)
class Orbit:
    """2·Z_0 … 2·Z_last with Z_0 = 0; it ends at max_iter, or with the first value beyond the escape radius.

    `twice` is last + 1 + PADDING pairs of doubles, `tiny` has the values of those that are below TINY.
    """

    twice: Doubles
    tiny: NDArray[np.void]

    @property
    def last(self) -> int:
        return len(self.twice) - PADDING - 1

    @property
    def size_bytes(self) -> int:
        return self.twice.nbytes + self.tiny.nbytes

    @property
    def center(self) -> tuple[float, float]:
        """C as doubles."""
        return 0.5 * float(self.twice[1, 0]), 0.5 * float(self.twice[1, 1])

    def doubled(self, start: int, stop: int) -> Complexes:
        """2·Z of these steps in full range."""
        re, im = (self.twice[start:stop, part].copy() for part in (0, 1))
        exponents = np.zeros(len(re), np.int32)
        here = self.tiny[np.searchsorted(self.tiny["step"], start) : np.searchsorted(self.tiny["step"], stop)]
        at = here["step"] - start
        re[at], im[at], exponents[at] = here["re"], here["im"], here["exponent"]
        return normal(re, im, exponents)


def precision(radius: Fraction) -> int:
    """Bits of the fraction that a view of this radius needs."""
    return max(0, radius.denominator.bit_length() - radius.numerator.bit_length()) + GUARD_BITS


def reference_orbit(
    center: tuple[Fraction, Fraction], bits: int, max_iter: int, escape_radius: float, stopped: Callable[[], bool]
) -> Orbit:
    """The orbit of `center`. Raises OrbitInterrupted when `stopped` says so meanwhile."""
    walk = _Walk(center, bits, escape_radius)
    while walk.steps < max_iter and walk.within:
        if stopped():
            raise OrbitInterrupted
        walk.advance(min(STEPS_AT_A_TIME, max_iter - walk.steps))
    return walk.orbit()


class _Walk:
    """An orbit as far as it has been computed."""

    def __init__(self, center: tuple[Fraction, Fraction], bits: int, escape_radius: float) -> None:
        self._bits = bits
        self._c = tuple(whole_number(round(part * (1 << bits))) for part in center)
        self._z: tuple[Any, Any] = (whole_number(0), whole_number(0))
        self._beyond = 4.0 * escape_radius * escape_radius
        self._values = array("d", (0.0, 0.0))
        self._tiny: list[tuple[int, float, float, int]] = []
        self.within = True

    @property
    def steps(self) -> int:
        return len(self._values) // 2 - 1

    def advance(self, steps: int) -> None:
        """So many steps further, or until the orbit leaves the escape radius."""
        (x, y), (cx, cy) = self._z, self._c
        bits, shift, scale = self._bits, self._bits - KEPT_BITS - 1, 2.0**-KEPT_BITS
        keep, beyond = self._values.append, self._beyond
        for _ in range(steps):
            x, y = ((x + y) * (x - y) >> bits) + cx, (x * y >> (bits - 1)) + cy
            kept_x, kept_y = int(x >> shift), int(y >> shift)
            re, im = kept_x * scale, kept_y * scale
            if -SMALL < kept_x < SMALL and -SMALL < kept_y < SMALL:
                re, im = self._small(int(x), int(y))
            keep(re)
            keep(im)
            if re * re + im * im > beyond:
                self.within = False
                break
        self._z = (x, y)

    def _small(self, x: int, y: int) -> tuple[float, float]:
        """2·Z as doubles with all their digits."""
        length = max(abs(x).bit_length(), abs(y).bit_length())
        re, im, exponent = _fraction(x, length), _fraction(y, length), length + 1 - self._bits
        twice = math.ldexp(re, exponent), math.ldexp(im, exponent)
        if max(abs(twice[0]), abs(twice[1])) < TINY:
            self._tiny.append((self.steps + 1, re, im, exponent))
        return twice

    def orbit(self) -> Orbit:
        self._values.extend([0.0] * (2 * PADDING))
        values = np.frombuffer(self._values, np.float64).reshape(-1, 2)
        return Orbit(values, np.array(self._tiny, TINY_ENTRY))


def _fraction(number: int, length: int) -> float:
    """number / 2^length."""
    surplus = max(0, abs(number).bit_length() - DIGITS)
    return math.ldexp(float(number >> surplus), surplus - length)
