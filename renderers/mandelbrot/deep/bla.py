"""Bilinear approximation: while a difference dz is small beside the reference Z, many steps are one linear one.

A step dz ← 2Z·dz + dz² + dc is A·dz + B·dc with A = 2Z, B = 1 as long as |dz| < ε·|2Z|. Two stretches of steps, x and
then y, are one with A = Ay·Ax, B = Ay·Bx + By, valid as long as |dz| < min(rx, (ry - |Bx|·|dc|) / |Ax|).
Source: Zhuoran, "Another solution to perturbation glitches" and the discussion of BLA, fractalforums.org, 2021.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from renderers.mandelbrot.deep.layout import SHORTEST
from renderers.mandelbrot.deep.orbit import Orbit
from renderers.mandelbrot.deep.scaled import Complexes, Doubles, Exponents, Reals, Scaled

EPSILON = Scaled(0.5, -52)  # 2^-53: what is dropped is less than double rounding
CHUNK = 1 << 16  # steps whose stretches are made at a time, which bounds the memory this takes


@dataclass(frozen=True)
class Level:
    """Stretches of 2^level steps; number j begins at step 1 + j · 2^level."""

    a: Complexes
    b: Complexes
    r: Reals

    def __len__(self) -> int:
        return len(self.a)

    def merged(self, farthest: Scaled) -> "Level":
        """Each two as one."""
        even = 2 * (len(self) // 2)
        ax, ay, bx, by = (part[k:even:2] for part in (self.a, self.b) for k in (0, 1))
        rx, ry = (Reals(self.r.m[k:even:2], self.r.e[k:even:2]) for k in (0, 1))
        reach = ry.less(bx.size().times(farthest)).over(ax.size())
        return Level(ay.times(ax), ay.times(bx).plus(by), rx.at_most(reach))


def levels(orbit: Orbit, farthest: Scaled) -> list[Level]:
    """Levels SHORTEST and up, as long as any stretch is of use for |dc| ≤ farthest."""
    table = []
    level = _shortest(orbit, farthest)
    while (level.r.m > 0.0).any():
        table.append(level)
        level = level.merged(farthest)
    return table


def _shortest(orbit: Orbit, farthest: Scaled) -> Level:
    parts = list(_chunks(orbit, farthest))
    a, b = (_joined([getattr(part, name) for part in parts]) for name in "ab")
    return Level(a, b, Reals(np.concatenate([part.r.m for part in parts]), np.concatenate([p.r.e for p in parts])))


def _chunks(orbit: Orbit, farthest: Scaled) -> Iterator[Level]:
    """The shortest stretches of so many steps each; the last value, which may be an escaped one, ends none of them."""
    steps = max(0, orbit.last - 2)
    for start in range(1, 1 + max(1, steps), CHUNK):
        a = orbit.doubled(start, min(start + CHUNK, 1 + steps))
        b = Complexes(np.full(len(a), 0.5), np.zeros(len(a)), np.ones(len(a), np.int32))
        level = Level(a, b, a.size().times(EPSILON))
        for _ in range(SHORTEST):
            level = level.merged(farthest)
        yield level


def _joined(parts: list[Complexes]) -> Complexes:
    def field(name: str) -> list[Doubles] | list[Exponents]:
        return [getattr(part, name) for part in parts]

    return Complexes(np.concatenate(field("re")), np.concatenate(field("im")), np.concatenate(field("e")))
