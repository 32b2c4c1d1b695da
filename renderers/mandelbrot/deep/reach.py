"""How small |dz| must be at the beginning of a block of plain steps for no step in it to rebase.

With d ≥ |dz|, a step makes it at most (2|Z| + d)·d + |dc|. It cannot rebase while |dz| < 0.35·|Z|: then the norm of dz,
|x| + |y| ≤ √2·|dz|, is less than half of Z's, and so less than that of z = Z + dz.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from renderers.mandelbrot.deep.layout import BLOCK
from renderers.mandelbrot.deep.orbit import Orbit
from renderers.mandelbrot.deep.scaled import Doubles

SHARE = 0.35
MARGIN = 0.25  # of SHARE: where the estimate, which is then enlarged, takes dz to be small beside Z
ENLARGED = (1.0, 2.0, 4.0)
NEVER = -1.0
CHUNK = 1 << 12  # blocks at a time, which bounds the memory this takes


def reaches(orbit: Orbit, farthest: float) -> Doubles:
    """For each whole block of the steps 1 … last - 1: the largest |dz| that is known to be small enough, or NEVER."""
    blocks = max(0, (orbit.last - 2) // BLOCK)
    chunks = (_some(orbit, start, min(start + CHUNK, blocks), farthest) for start in range(0, blocks, CHUNK))
    return np.concatenate([np.empty(0), *chunks])


def _some(orbit: Orbit, start: int, stop: int, farthest: float) -> Doubles:
    """The same for some of the blocks."""
    twice = orbit.twice[1 + BLOCK * start : 2 + BLOCK * stop]
    sizes = 0.5 * np.sqrt(twice[:, 0] * twice[:, 0] + twice[:, 1] * twice[:, 1])
    z = [sizes[k : k + BLOCK * (stop - start) : BLOCK] for k in range(BLOCK + 1)]
    growth, d = np.ones(stop - start), np.full(stop - start, np.inf)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        for size in z:
            d = np.minimum(d, MARGIN * SHARE * size / growth)
            growth = growth * ((2.0 + MARGIN * SHARE) * size)
        found = np.full(stop - start, NEVER)
        for factor in ENLARGED:
            found = np.where(_holds(z, factor * d, farthest), factor * d, found)
    return found


def _holds(z: list[Doubles], d: Doubles, farthest: float) -> NDArray[np.bool_]:
    small = d < SHARE * z[0]
    for before, size in pairwise(z):
        d = (2.0 * before + d) * d + farthest
        small = small & (d < SHARE * size)
    return small
