"""The definition of counts for views of any depth: plain Python integers as fixed-point numbers, pixel by pixel."""

from fractions import Fraction

from renderers.mandelbrot.deep.model import DeepView, Reference
from renderers.mandelbrot.deep.scaled import Scaled

GUARD_BITS = 120


def exact(number: Scaled) -> Fraction:
    """The number that a mantissa and an exponent stand for."""
    if not number.mantissa:  # its exponent is far below all others: two to that power would have a billion digits
        return Fraction(0)
    return Fraction(number.mantissa) * Fraction(2) ** number.exponent


def count(reference: Reference, view: DeepView, row: int, col: int) -> int:
    """The count of a pixel of the whole image."""
    scale = 1 << (bits := reference.bits + GUARD_BITS)
    x_offset, y_offset = (
        (col - Fraction(view.width, 2)) * exact(view.dx),
        (row - Fraction(view.height, 2)) * exact(view.dy),
    )
    cx, cy = round((reference.center[0] + x_offset) * scale), round((reference.center[1] + y_offset) * scale)
    limit = round(Fraction(reference.escape_radius) ** 2 * scale)
    x, y = 0, 0
    for i in range(reference.max_iter):
        xx, yy = x * x >> bits, y * y >> bits
        x, y = xx - yy + cx, (x * y >> (bits - 1)) + cy
        if (x * x >> bits) + (y * y >> bits) > limit:
            return i
    return reference.max_iter


def place(
    center: tuple[str, str], radius: str, size: tuple[int, int], max_iter: int, escape: float = 2.0
) -> tuple[Reference, DeepView]:
    """A view of `size` (width, height) pixels whose shorter side is twice the radius."""
    x, y, half = Fraction(center[0]), Fraction(center[1]), Fraction(radius)
    pixel = Scaled.of(2 * half / min(size))
    return Reference("digest", (x, y), half, max_iter, escape), DeepView(pixel, pixel, *size)
