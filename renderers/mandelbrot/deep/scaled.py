"""Numbers beyond the range of doubles: a double and a power of two, m · 2^e, one at a time or as arrays.

Only operations that IEEE 754 rounds exactly are used, on separate real and imaginary parts, so that every machine gets
the same bits: NumPy's complex product contracts on some processors.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from renderers.mandelbrot.deep.layout import NOTHING

Doubles = NDArray[np.float64]
Exponents = NDArray[np.int32]

MANTISSA_BITS = 64


class Scaled(NamedTuple):
    """mantissa · 2^exponent; 0.5 ≤ |mantissa| ≤ 1, or 0."""

    mantissa: float
    exponent: int

    @classmethod
    def of(cls, number: Fraction) -> "Scaled":
        """The nearest, to less than one unit in the last place."""
        if not number:
            return cls(0.0, NOTHING)
        exponent = abs(number.numerator).bit_length() - number.denominator.bit_length() + 1
        shift = MANTISSA_BITS - exponent
        whole = number * (1 << shift) if shift >= 0 else number / (1 << -shift)
        mantissa = float(int(whole)) / 2.0**MANTISSA_BITS
        return cls(mantissa, exponent) if abs(mantissa) >= 0.5 else cls(2.0 * mantissa, exponent - 1)

    def over(self, factor: int) -> "Scaled":
        """A part of it."""
        mantissa, shift = math.frexp(self.mantissa / factor)
        return Scaled(mantissa, self.exponent + shift) if mantissa else self

    def __float__(self) -> float:
        """As a double: 0 below its range."""
        return float(np.ldexp(self.mantissa, max(self.exponent, -2000)))


@dataclass(frozen=True)
class Reals:
    """An array of non-negative m · 2^e."""

    m: Doubles
    e: Exponents

    def doubles(self) -> Doubles:
        """As doubles, 0 below their range."""
        return _shifted(self.m, self.e)

    def times(self, other: "Reals | Scaled") -> "Reals":
        m, e = (other.m, other.e) if isinstance(other, Reals) else (other.mantissa, other.exponent)
        return _real(self.m * m, self.e + np.int32(e))

    def over(self, other: "Reals") -> "Reals":
        """The quotient; 0 / 0 is 0, as nothing may be said of it."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return _real(np.where(other.m > 0.0, self.m / other.m, 0.0), self.e - other.e)

    def less(self, other: "Reals") -> "Reals":
        """The difference, or 0 where it would be negative."""
        e = np.maximum(self.e, other.e)
        return _real(np.maximum(_shifted(self.m, self.e - e) - _shifted(other.m, other.e - e), 0.0), e)

    def at_most(self, other: "Reals") -> "Reals":
        """The smaller of each two."""
        e = np.maximum(self.e, other.e)
        mine = _shifted(self.m, self.e - e) <= _shifted(other.m, other.e - e)
        return Reals(np.where(mine, self.m, other.m), np.where(mine, self.e, other.e))


@dataclass(frozen=True)
class Complexes:
    """An array of (re + i·im) · 2^e with the larger part between 0.5 and 1, or 0."""

    re: Doubles
    im: Doubles
    e: Exponents

    def __len__(self) -> int:
        return len(self.re)

    def __getitem__(self, key: slice) -> "Complexes":
        return Complexes(self.re[key], self.im[key], self.e[key])

    def doubles(self) -> tuple[Doubles, Doubles]:
        """Both parts as doubles, 0 below their range and infinite above."""
        with np.errstate(over="ignore"):
            return _shifted(self.re, self.e), _shifted(self.im, self.e)

    def times(self, other: "Complexes") -> "Complexes":
        re = self.re * other.re - self.im * other.im
        im = self.re * other.im + self.im * other.re
        return normal(re, im, self.e + other.e)

    def plus(self, other: "Complexes") -> "Complexes":
        e = np.maximum(self.e, other.e)
        re, im = (
            _shifted(mine, self.e - e) + _shifted(others, other.e - e)
            for mine, others in ((self.re, other.re), (self.im, other.im))
        )
        return normal(re, im, e)

    def size(self) -> Reals:
        """The absolute values."""
        return _real(np.sqrt(self.re * self.re + self.im * self.im), self.e)


def normal(re: Doubles, im: Doubles, e: Exponents) -> Complexes:
    """The same numbers with their mantissas in range."""
    _, shift = np.frexp(np.maximum(np.abs(re), np.abs(im)))
    exponents = np.where((re == 0.0) & (im == 0.0), np.int32(NOTHING), e + shift)
    return Complexes(np.ldexp(re, -shift), np.ldexp(im, -shift), exponents)


def _real(m: Doubles, e: Exponents) -> Reals:
    mantissas, shift = np.frexp(m)
    return Reals(mantissas, np.where(m == 0.0, np.int32(NOTHING), e + shift))


def _shifted(m: Doubles, e: Exponents) -> Doubles:
    shifted: Doubles = np.ldexp(m, np.clip(e, -2200, 2200))
    return shifted
