"""Steps with a test on each: where the exact count and the orbit's way to the smooth value come from."""

from dataclasses import dataclass
from functools import reduce
from operator import or_

from renderers.mandelbrot.formulas import Formula, Step
from renderers.mandelbrot.layout import (
    FAR,
    FURTHER,
    LARGEST,
    MANTISSA_BITS,
    SERIES,
    SQRT_HALF_BITS,
    TWO_OVER_LN2,
    logarithm_factor,
)
from renderers.mandelbrot.simd.emit import Body
from renderers.mandelbrot.simd.state import Plan
from renderers.mandelbrot.simd.values import MaskVariable, Operand, Value, Variable


@dataclass
class Pixels:
    """A vector of pixels on their way: n steps within the radius, e steps since the escape (0: within)."""

    cx: Value
    cy: Value
    x: Variable
    y: Variable
    n: Variable
    e: Variable
    is_within: MaskVariable  # and has steps left
    is_leaving: MaskVariable  # has escaped and is not far yet

    @classmethod
    def begin(cls, body: Body, plan: Plan, orbit: dict[str, Value], taken: Value, limit: Value) -> "Pixels":
        """The pixels in the mask go on from their n; the others stay as they are."""
        x, y, n = (Variable(body, plan.numbers, orbit[name]) for name in ("x", "y", "n"))
        within = taken & (orbit["n"] < limit)
        nothing = within & ~within
        e = Variable(body, plan.numbers, 0.0)
        fresh, leaving = MaskVariable(body, within), MaskVariable(body, nothing)
        return cls(orbit["cx"], orbit["cy"], x, y, n, e, fresh, leaving)

    @property
    def has_escaped(self) -> Value:
        return self.e.get() > 0.0


def replay(body: Body, step: Step, vectors: list[Pixels], limit: Operand, radius2: Value) -> None:
    """Advance all until each has reached the limit, or has escaped and is far (or FURTHER steps away)."""
    with body.loop() as loop:
        going = [_tested_step(step, pixels, limit, radius2) for pixels in vectors]
        loop.leave_if(~body.any(reduce(or_, going)))


def _tested_step(step: Step, pixels: Pixels, limit: Operand, radius2: Value) -> Value:
    """One step of those that go; answers which go on."""
    fresh, leaving = pixels.is_within.get(), pixels.is_leaving.get()
    going = fresh | leaving
    x, y = step(pixels.x.get(), pixels.y.get(), pixels.cx, pixels.cy)
    size = x * x + y * y
    stays = fresh & (size <= radius2)
    left = going & ~stays
    n = pixels.n.get()
    n = stays.select(n + 1.0, n)
    e = pixels.e.get()
    e = left.select(e + 1.0, e)
    pixels.x.set(going.select(x, pixels.x.get()))
    pixels.y.set(going.select(y, pixels.y.get()))
    pixels.n.set(n)
    pixels.e.set(e)
    pixels.is_within.set(stays & (n < limit))
    pixels.is_leaving.set(left & (size < FAR) & (e < FURTHER))
    return pixels.is_within.get() | pixels.is_leaving.get()


def smooth_value(body: Body, formula: Formula, pixels: Pixels, limit: Value) -> Value:
    """The smooth values as floats; `limit` where the pixel did not escape, and nowhere else."""
    x, y = pixels.x.get(), pixels.y.get()
    size = body.smaller(x * x + y * y, LARGEST)
    depth = logarithm(logarithm(size) * 0.5)
    if formula.power != 2:
        depth = depth * logarithm_factor(formula.power)
    value = (pixels.n.get() + (pixels.e.get() - depth)).to("float", "fptrunc")
    inside = body.value(depth.type, limit).to("float", "fptrunc")
    below = (inside.to("i32", "bitcast") - 1).to("float", "bitcast")
    return pixels.has_escaped.select(value.equals(inside).select(below, value), inside)


def logarithm(value: Value) -> Value:
    """log2 of doubles of 1 and more to 1e-11; the library's is a call per value."""
    bits = value.to("i64", "bitcast")
    exponent = (bits - SQRT_HALF_BITS) >> MANTISSA_BITS
    mantissa = (bits - (exponent << MANTISSA_BITS)).to("double", "bitcast")
    r = (mantissa - 1.0) / (mantissa + 1.0)
    r2 = r * r
    series: Value = r2 * SERIES[0] + SERIES[1]
    for term in SERIES[2:]:
        series = r2 * series + term
    # Through 32 bits, which every instruction set can turn into doubles.
    whole = exponent.to("i32", "trunc").to("double", "sitofp")
    result: Value = whole + (r * TWO_OVER_LN2) * series
    return result
