"""The definition of counts and smooth values, one pixel at a time in plain Python."""

import math
from collections.abc import Callable

from renderers.mandelbrot.formulas import MANDELBROT, Formula
from renderers.mandelbrot.kernel import Limits, View

FAR = 1e100


def _mandelbrot(x: float, y: float, cr: float, ci: float) -> tuple[float, float]:
    xx, yy = x * x, y * y
    return (xx - yy) + cr, 2.0 * (x * y) + ci


def _third(x: float, y: float, cr: float, ci: float) -> tuple[float, float]:
    xx, yy = x * x, y * y
    return x * (xx - 3.0 * yy) + cr, y * (3.0 * xx - yy) + ci


def _fourth(x: float, y: float, cr: float, ci: float) -> tuple[float, float]:
    a, b = _mandelbrot(x, y, 0.0, 0.0)
    return _mandelbrot(a, b, cr, ci)


def _fifth(x: float, y: float, cr: float, ci: float) -> tuple[float, float]:
    xx, yy = x * x, y * y
    u, v, w = xx * xx, yy * yy, 10.0 * (xx * yy)
    return x * ((u - w) + 5.0 * v) + cr, y * ((5.0 * u - w) + v) + ci


def _ship(x: float, y: float, cr: float, ci: float) -> tuple[float, float]:
    return _mandelbrot(math.fabs(x), math.fabs(y), cr, ci)


def _tricorn(x: float, y: float, cr: float, ci: float) -> tuple[float, float]:
    return _mandelbrot(x, -y, cr, ci)


STEPS: dict[tuple[str, int], Callable[[float, float, float, float], tuple[float, float]]] = {
    ("mandelbrot", 2): _mandelbrot,
    ("multibrot", 3): _third,
    ("multibrot", 4): _fourth,
    ("multibrot", 5): _fifth,
    ("burning-ship", 2): _ship,
    ("tricorn", 2): _tricorn,
}
FAMILIES = [Formula(family, power) for family, power in STEPS]
JULIA_SETS = [Formula(family, power, (-0.4, 0.6)) for family, power in STEPS]


def escape(view: View, row: int, col: int, limits: Limits, formula: Formula = MANDELBROT) -> tuple[int, complex]:
    """The count of a pixel of the whole image, and where its orbit was then."""
    step = STEPS[formula.family, formula.power]
    px, py = view.x0 + col * view.dx, view.y0 + row * view.dy
    (x, y), (cr, ci) = ((0.0, 0.0), (px, py)) if formula.julia is None else ((px, py), formula.julia)
    for i in range(limits.max_iter):
        x, y = step(x, y, cr, ci)
        if not x * x + y * y <= limits.escape_radius * limits.escape_radius:
            return i, complex(x, y)
    return limits.max_iter, complex(x, y)


def potential_value(view: View, row: int, col: int, limits: Limits, formula: Formula = MANDELBROT) -> float:
    """The limit of n + 1 - log_p(log2 |z_n|) along the orbit: what the smooth value approximates."""
    count, z = escape(view, row, col, limits, formula)
    c = complex(view.x0 + col * view.dx, view.y0 + row * view.dy) if formula.julia is None else complex(*formula.julia)
    while abs(z) < FAR ** (1 / formula.power):
        z = complex(*STEPS[formula.family, formula.power](z.real, z.imag, c.real, c.imag))
        count += 1
    return count + 1 - math.log2(math.log2(abs(z))) / math.log2(formula.power)
