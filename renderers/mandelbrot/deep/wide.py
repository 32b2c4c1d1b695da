"""One pixel beyond the exponents of doubles, until it is within them: the function `advance_wide`.

dz is (x + i·y)·2^e with the larger part between ½ and 1. Deep in the picture nearly all of the way is stretches, so
that one pixel after the other is quick enough: a few microseconds each.
"""

from typing import Any

from renderers.mandelbrot.deep.emission import DOUBLE, INTEGER, POINTER, Code, Value, Variable
from renderers.mandelbrot.deep.layout import BLOCK, NEAR, NOTHING, SHORTEST, TINY, TINY_ENTRY, WIDE_ENTRY

ARGUMENTS: dict[str, Any] = {
    **dict.fromkeys(("orbit", "tiny", "table", "starts", "stop", "lane"), POINTER),
    **dict.fromkeys(("tinies", "stride", "last", "max_iter", "levels", "exponent"), INTEGER),
    **dict.fromkeys(("cx", "cy"), DOUBLE),
}
FIELD_BITS, BIAS, LEAST = 52, 1023, -1022
PARTS = 4  # X, Y, STEP, OFFSET: the first fields of a lane

Wide = tuple[Value, Value, Value]  # x, y and the exponent


class WideSteps:
    """Writes `advance_wide`, which moves one lane: `lane` points to its first field, the others are `stride` apart."""

    def __init__(self, module: Any) -> None:
        self.code = code = Code(module, "advance_wide", ARGUMENTS)
        self.arguments = code.arguments
        fields = [code.address(self.arguments["lane"], self.arguments["stride"] * k) for k in range(PARTS)]
        self.fields = fields
        zero = code.constant(INTEGER, 0)
        start = self._normal(code.load(fields[0]), code.load(fields[1]), zero)
        self.x, self.y, self.e = (code.variable(part) for part in start)
        self.m, self.offset = (code.variable(code.load(fields[k], 0, INTEGER)) for k in (2, 3))

    def write(self) -> None:
        """The whole function: on until dz is within reach of doubles, or at the end of the orbit or of max_iter."""
        code, arguments = self.code, self.arguments
        with code.loop() as loop:
            near = self.e.value > NEAR + 1
            spent = self.m.value + self.offset.value >= arguments["max_iter"]
            at_end = self.m.value >= arguments["last"] - 1
            loop.leave_when(near | spent | at_end | code.flag_is_up(arguments["stop"]))
            level = code.variable(code.constant(INTEGER, -1))
            with code.when(((self.m.value - 1) & (BLOCK - 1)).equals(0)):
                self._find(level)
            with code.choose(level.value < 0) as (walk, jump):
                with walk:
                    self._step()
                with jump:
                    self._jump(level.value)
        scale = self._power(self.e.value)
        for place, value in zip(self.fields[:2], (self.x, self.y), strict=True):
            code.store(value.value * scale, place)
        for place, value in zip(self.fields[2:], (self.m, self.offset), strict=True):
            code.store(value.value, place)
        code.answer(code.constant(INTEGER, 0))

    def _power(self, exponent: Value) -> Value:
        """2^exponent, 0 below the range of doubles; the exponent is at most 1023."""
        bits = (exponent + BIAS) << FIELD_BITS
        code = self.code
        return code.convert("bitcast", code.select(exponent < LEAST, bits & 0, bits), DOUBLE)

    def _normal(self, x: Value, y: Value, e: Value) -> Wide:
        """The same number with its mantissa in range."""
        code = self.code
        size = code.larger(code.abs(x), code.abs(y))
        shift = (code.convert("bitcast", size, INTEGER) >> FIELD_BITS) + (LEAST)
        scale = self._power(-shift)
        nothing = size < 1e-300
        return (
            code.select(nothing, x * 0.0, x * scale),
            code.select(nothing, y * 0.0, y * scale),
            code.select(nothing, e & 0 | NOTHING, e + shift),
        )

    def _sum(self, a: Wide, b: Wide) -> Wide:
        """a + b with the larger exponent, not normalised."""
        code = self.code
        e = code.larger(a[2], b[2])
        mine, others = self._power(a[2] - e), self._power(b[2] - e)
        return code.fma(a[0], mine, b[0] * others), code.fma(a[1], mine, b[1] * others), e

    def _product(self, a: Wide, b: Wide) -> Wide:
        fma = self.code.fma
        return fma(a[0], b[0], -(a[1] * b[1])), fma(a[0], b[1], a[1] * b[0]), a[2] + b[2]

    def _number(self, base: Value, index: Value) -> Wide:
        """Three slots of an array."""
        code = self.code
        return code.load(base, index), code.load(base, index + 1), code.load(base, index + 2, INTEGER)

    def _twice_z(self, m: Value) -> Wide:
        code, orbit = self.code, self.arguments["orbit"]
        x, y = (code.variable(code.load(orbit, m * 2 + k)) for k in (0, 1))
        e = code.variable(m & 0)
        is_tiny = code.abs(x.value) + code.abs(y.value) < TINY
        with code.when(is_tiny & (self.arguments["tinies"] > 0)):
            entry = self._tiny_entry(m)
            x.value, y.value = (code.load(self.arguments["tiny"], entry + k) for k in (1, 2))
            e.value = code.load(self.arguments["tiny"], entry + 3, INTEGER)
        return x.value, y.value, e.value

    def _tiny_entry(self, m: Value) -> Value:
        """The slot where the entry of step m begins, or that of the one before: a binary search."""
        code = self.code
        low, high = code.variable(m & 0), code.variable(self.arguments["tinies"])
        with code.loop() as loop:
            loop.leave_when(high.value - low.value < 2)
            middle = (low.value + high.value) >> 1
            after = code.load(self.arguments["tiny"], middle * TINY_ENTRY, INTEGER) > m
            high.value = code.select(after, middle, high.value)
            low.value = code.select(after, low.value, middle)
        return low.value * TINY_ENTRY

    def _move(self, dz: Wide) -> None:
        for place, value in zip((self.x, self.y, self.e), self._normal(*dz), strict=True):
            place.value = value

    def _dz(self) -> Wide:
        return self.x.value, self.y.value, self.e.value

    def _dc(self) -> Wide:
        return self.arguments["cx"], self.arguments["cy"], self.arguments["exponent"]

    def _find(self, level: Variable) -> None:
        """The longest stretch that is valid here."""
        code, arguments = self.code, self.arguments
        block, norm = (self.m.value - 1) >> SHORTEST, code.abs(self.x.value) + code.abs(self.y.value)
        one = code.constant(INTEGER, 1)
        with code.loop() as loop:
            k = level.value + 1
            loop.leave_when((k >= arguments["levels"]) | (block & ((one << k) - 1)).differs(0))
            entry = code.load(arguments["starts"], k, INTEGER) + (block >> k)
            loop.leave_when(entry >= code.load(arguments["starts"], k + 1, INTEGER))
            end = self.m.value + self.offset.value + (code.constant(INTEGER, BLOCK) << k)
            slot = entry * WIDE_ENTRY
            reach = code.load(arguments["table"], slot + 1, INTEGER)
            apart = self.e.value - reach
            closer = norm * self._power(code.smaller(apart, apart & 0 | BIAS)) < code.load(arguments["table"], slot)
            loop.leave_when(~closer | (end > arguments["max_iter"]))
            level.value = k

    def _jump(self, level: Value) -> None:
        """dz ← A·dz + B·dc."""
        code, arguments = self.code, self.arguments
        entry = code.load(arguments["starts"], level, INTEGER) + ((self.m.value - 1) >> (level + SHORTEST))
        slot = entry * WIDE_ENTRY
        a, b = (self._number(arguments["table"], slot + 2 + 3 * k) for k in (0, 1))
        self._move(self._sum(self._product(a, self._dz()), self._product(b, self._dc())))
        self.m.value = self.m.value + (code.constant(INTEGER, BLOCK) << level)

    def _step(self) -> None:
        """dz ← (2Z + dz)·dz + dc, and rebasing."""
        code = self.code
        factor = self._sum(self._twice_z(self.m.value), self._dz())
        self._move(self._sum(self._product(factor, self._dz()), self._dc()))
        then = self.m.value + 1
        w, v, e = self._twice_z(then)
        z = self._sum((w, v, e - 1), self._dz())
        mine = (code.abs(self.x.value) + code.abs(self.y.value)) * self._power(self.e.value - z[2])
        rebased = code.abs(z[0]) + code.abs(z[1]) < mine
        self.m.value = code.select(rebased, then & 0, then)
        self.offset.value = self.offset.value + code.select(rebased, then, then & 0)
        with code.when(rebased):
            self._move(z)
