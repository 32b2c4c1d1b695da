"""How small |dz| must be at the beginning of a block of plain steps for no step in it to rebase.

With d ≥ |dz|, a step makes it at most (2|Z| + d)·d + |dc|. It cannot rebase while |dz| < 0.35·|Z|: then the norm of dz,
|x| + |y| ≤ √2·|dz|, is less than half of Z's, and so less than that of z = Z + dz.
"""

import numpy as np
from numpy.typing import NDArray

from renderers.mandelbrot.deep.bla import BLOCK
from renderers.mandelbrot.deep.scaled import Doubles

SHARE = 0.35
MARGIN = 0.25  # of SHARE: where the estimate, which is then enlarged, takes dz to be small beside Z
ENLARGED = (1.0, 2.0, 4.0)
NEVER = -1.0


def reaches(sizes: Doubles, farthest: float) -> Doubles:
    """For each whole block of 1 … last - 1, from |Z_0| … |Z_last|: the largest |dz| that is known to be small enough."""
    blocks = max(0, (len(sizes) - 3) // BLOCK)
    z = np.stack([sizes[1 + k : 1 + k + BLOCK * blocks : BLOCK] for k in range(BLOCK + 1)])
    growth, d = np.ones(blocks), np.full(blocks, np.inf)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        for k in range(BLOCK):
            d = np.minimum(d, MARGIN * SHARE * z[k] / growth)
            growth = growth * ((2.0 + MARGIN * SHARE) * z[k])
        d = np.minimum(d, MARGIN * SHARE * z[BLOCK] / growth)
        found = np.full(blocks, NEVER)
        for factor in ENLARGED:
            found = np.where(_holds(z, factor * d, farthest), factor * d, found)
    return found


def _holds(z: Doubles, d: Doubles, farthest: float) -> "NDArray[np.bool_]":
    small = d < SHARE * z[0]
    for k in range(BLOCK):
        d = (2.0 * z[k] + d) * d + farthest
        small = small & (d < SHARE * z[k + 1])
    return small
