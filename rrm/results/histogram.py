"""The histogram of smooth values over a whole picture, of one size whatever the limit: bins are narrower than 1/16384
of their distance from -4, which is below every smooth value of a view within RRM's bounds.

A bin is a range of float32 bit patterns: they ascend with the numbers, and each doubling has as many.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rrm.results.colors import Values

_ABOVE_LEAST = np.float32(5.0)
_DROPPED_BITS = 9
_ONE = 0x3F800000  # the bits of 1.0
_MOST = 0x4C000000  # of 2²⁵: above every limit
BINS = (_MOST - _ONE) >> _DROPPED_BITS


class Histogram:
    """How many points lie in each bin; parts of a picture are added up."""

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros(BINS, np.int64)

    def add(self, counts: NDArray[np.int64]) -> None:
        self.counts += counts

    def shares(self) -> Shares:
        """Where each value stands among all: 0 for the lowest, towards 1 for the highest."""
        return Shares(self.counts)


class Shares:
    """The share of all points that lie below a value, even between the edges of its bin."""

    def __init__(self, counts: NDArray[np.int64]) -> None:
        total = max(1, int(counts.sum()))
        below = np.concatenate(([0], np.cumsum(counts)))
        self._below = below[:-1] / total
        self._within = counts / total / (1 << _DROPPED_BITS)

    def __call__(self, values: Values) -> Values:
        """In [0, 1) for values that were counted."""
        bits = _bits(values)
        bins = bits >> _DROPPED_BITS
        share: Values = np.take(self._within, bins)
        share *= bits & ((1 << _DROPPED_BITS) - 1)
        share += np.take(self._below, bins)
        return share


def counted(values: Values) -> NDArray[np.int64]:
    """How many of these flat values lie in each bin."""
    return np.bincount(_bits(values) >> _DROPPED_BITS, minlength=BINS)


def _bits(values: Values) -> NDArray[np.int32]:
    """Bit patterns above that of the least value."""
    moved = np.maximum(values + _ABOVE_LEAST, np.float32(1.0))
    bits: NDArray[np.int32] = moved.view(np.int32) - _ONE
    return np.minimum(bits, (BINS << _DROPPED_BITS) - 1, out=bits)
