"""Where the loops keep pixels, and the arithmetic of a step: what `blocks`, `results` and `kernel` are written with."""

from typing import Any

from renderers.mandelbrot.deep.emission import DOUBLE, INTEGER, POINTER, Code, Value, vector
from renderers.mandelbrot.deep.layout import FIELDS, GOES, ID, OFFSET, STEP

ARGUMENTS: dict[str, Any] = {
    **dict.fromkeys(("orbit", "bounds", "table", "starts", "xs", "ys", "counts", "smooth", "stop", "state"), POINTER),
    **dict.fromkeys(("tiny", "wide_table", "wide_xs", "wide_ys"), POINTER),
    **dict.fromkeys(("tinies", "last", "max_iter", "levels", "columns", "rows", "exponent"), INTEGER),
    **dict.fromkeys(("radius", "cx", "cy", "floor"), DOUBLE),
}
Pair = tuple[Value, Value]
CELLS = {2: (2, 1), 4: (2, 2), 8: (4, 2)}  # columns and rows of neighbouring pixels that share a group


class Lanes:
    """A function being written for groups of `width` lanes, `groups` of them at once."""

    def __init__(self, module: Any, width: int, groups: int) -> None:
        self.width, self.groups = width, groups
        self.code = Code(module, "perturb", ARGUMENTS)
        self.doubles, self.integers = vector(DOUBLE, width), vector(INTEGER, width)
        self.cell = CELLS[width]
        zero = self.code.constant(INTEGER, 0)
        self.next = self.code.variable(zero)
        self.live = self.code.variable(zero + groups)

    def __getattr__(self, name: str) -> Value:
        """An argument of the function."""
        if name in ARGUMENTS:
            return self.code.arguments[name]
        raise AttributeError(name)

    def _lane(self, field: int, lane: Value | int) -> Value:
        """The slot of a lane, counted over all groups."""
        return self.code.address(self.state, self._number(lane) + field * self.width * self.groups)

    def _number(self, number: Value | int) -> Value:
        return number if isinstance(number, Value) else self.code.constant(INTEGER, number)

    def _kind(self, field: int) -> Any:
        return self.integers if field in (STEP, OFFSET, ID, GOES) else self.doubles

    def _get(self, field: int, v: Value | int) -> Value:
        """A field of all lanes of group v."""
        return self.code.load(self._lane(field, self._number(v) * self.width), 0, self._kind(field))

    def _put(self, field: int, v: Value | int, value: Value) -> None:
        self.code.store(value, self._lane(field, self._number(v) * self.width))

    def _group(self, field: int, v: Value | int) -> Value:
        """The slot of a field of a group."""
        return self.code.address(self.state, self._number(v) + (FIELDS * self.width + field) * self.groups)

    def _splat(self, scalar: Value) -> Value:
        return self.code.splat(scalar, self.width)

    def _at(self, base: Value, index: Value | int) -> Value:
        """A double of an array, in every lane."""
        return self._splat(self.code.load(base, index))

    # --- arithmetic

    def _step(self, p: Value, q: Value, z: tuple[Value, Value], c: tuple[Value, Value]) -> tuple[Value, Value]:
        """dz ← (2Z + dz)·dz + dc, where p + i·q = 2Z + dz."""
        fma, (x, y), (cx, cy) = self.code.fma, z, c
        return fma(p, x, fma(-q, y, cx)), fma(p, y, fma(q, x, cy))

    def _full(self, orbit: Value, at: Value | int, dz: tuple[Value, Value]) -> tuple[Value, Value]:
        """z = Z + dz; the array holds 2Z."""
        half = self.code.constant(self.doubles, 0.5)
        place = self._number(at) * 2
        zx, zy = (self.code.fma(half, self._at(orbit, place + k), dz[k]) for k in (0, 1))
        return zx, zy

    def _norm(self, x: Value, y: Value) -> Value:
        """|x| + |y|: unlike a square it stays in the range of doubles."""
        return self.code.abs(x) + self.code.abs(y)
