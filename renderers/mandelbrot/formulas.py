"""The formulas: one step of each, written once for doubles, arrays and code being emitted.

A step is evaluated as written, each operation rounded to a double, nothing contracted or reordered; counts are defined
by that order. x + iy is z, cx + i·cy is c.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Step = Callable[[Any, Any, Any, Any], tuple[Any, Any]]


def square(x: Any, y: Any, cx: Any, cy: Any) -> tuple[Any, Any]:
    """z² + c: xx = x·x; yy = y·y; y = 2·(x·y) + cy; x = (xx - yy) + cx."""
    product = x * y
    return (x * x - y * y) + cx, (product + product) + cy


def cube(x: Any, y: Any, cx: Any, cy: Any) -> tuple[Any, Any]:
    """z³ + c: xx = x·x; yy = y·y; x, y = x·(xx - 3·yy) + cx, y·(3·xx - yy) + cy."""
    xx, yy = x * x, y * y
    return x * (xx - 3.0 * yy) + cx, y * (3.0 * xx - yy) + cy


def fourth(x: Any, y: Any, cx: Any, cy: Any) -> tuple[Any, Any]:
    """z⁴ + c as (z²)²: a = x·x - y·y; b = 2·(x·y); x = (a·a - b·b) + cx; y = 2·(a·b) + cy."""
    half = x * y
    a, b = x * x - y * y, half + half
    product = a * b
    return (a * a - b * b) + cx, (product + product) + cy


def fifth(x: Any, y: Any, cx: Any, cy: Any) -> tuple[Any, Any]:
    """z⁵ + c: xx = x·x; yy = y·y; u = xx·xx; v = yy·yy; w = 10·(xx·yy); x = x·((u - w) + 5·v) + cx, y likewise."""
    xx, yy = x * x, y * y
    u, v, w = xx * xx, yy * yy, 10.0 * (xx * yy)
    return x * ((u - w) + 5.0 * v) + cx, y * ((5.0 * u - w) + v) + cy


def burning_ship(x: Any, y: Any, cx: Any, cy: Any) -> tuple[Any, Any]:
    """(|x| + i|y|)² + c: as the square, with y = 2·|x·y| + cy."""
    product = abs(x * y)
    return (x * x - y * y) + cx, (product + product) + cy


def tricorn(x: Any, y: Any, cx: Any, cy: Any) -> tuple[Any, Any]:
    """conj(z)² + c: as the square, with y = cy - 2·(x·y)."""
    product = x * y
    return (x * x - y * y) + cx, cy - (product + product)


STEPS: dict[tuple[str, int], Step] = {
    ("mandelbrot", 2): square,
    ("multibrot", 3): cube,
    ("multibrot", 4): fourth,
    ("multibrot", 5): fifth,
    ("burning-ship", 2): burning_ship,
    ("tricorn", 2): tricorn,
}


@dataclass(frozen=True)
class Formula:
    """What is iterated: from z = 0 with c = the pixel, or, for a Julia set, from z = the pixel with a constant c."""

    family: str = "mandelbrot"
    power: int = 2
    julia: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if (self.family, self.power) not in STEPS:
            known = ", ".join(f"{family} of power {power}" for family, power in STEPS)
            raise ValueError(f"{self.family} of power {self.power} is not known here; there are {known}")
        if self.julia is not None and not all(map(math.isfinite, self.julia)):
            raise ValueError("the constant of a Julia set must be finite")

    @property
    def name(self) -> str:
        """The family and its power; Julia sets share the code of their formula."""
        return f"{self.family}-{self.power}"

    @property
    def step(self) -> Step:
        return STEPS[self.family, self.power]


MANDELBROT = Formula()
