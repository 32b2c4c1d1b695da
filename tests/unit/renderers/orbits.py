"""The definition of counts and smooth values, one pixel at a time in plain Python."""

import math

from renderers.mandelbrot.kernel import Limits, View

FAR = 1e100


def escape(view: View, row: int, col: int, limits: Limits) -> tuple[int, complex]:
    """The count of a pixel of the whole image, and where its orbit was then."""
    cr, ci = view.x0 + col * view.dx, view.y0 + row * view.dy
    x = y = 0.0
    for i in range(limits.max_iter):
        xx, yy = x * x, y * y
        y = 2.0 * (x * y) + ci
        x = (xx - yy) + cr
        if x * x + y * y > limits.escape_radius * limits.escape_radius:
            return i, complex(x, y)
    return limits.max_iter, complex(x, y)


def potential_value(view: View, row: int, col: int, limits: Limits) -> float:
    """The limit of n + 1 - log2(log2 |z_n|) along the orbit: what the smooth value approximates."""
    count, z = escape(view, row, col, limits)
    c = complex(view.x0 + col * view.dx, view.y0 + row * view.dy)
    while abs(z) < FAR:
        z = z * z + c
        count += 1
    return count + 1 - math.log2(math.log2(abs(z)))
