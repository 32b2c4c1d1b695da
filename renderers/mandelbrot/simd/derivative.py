"""Orbits with their derivative by c as LLVM IR; `portable.derivative` says in numpy what it does."""

import ctypes
from typing import Any

from renderers.mandelbrot.layout import FAR, FURTHER
from renderers.mandelbrot.simd.emit import Body, Module
from renderers.mandelbrot.simd.values import I64, POINTER, Array, Type, Value, Variable

ARGUMENTS: tuple[Any, ...] = (ctypes.c_void_p,) * 4 + (ctypes.c_int64,)
VECTORS = 4  # in flight: they hide the latency of a step
AFTER = int(FURTHER)
Fields = tuple[Value, Value, Value, Value]


def write_derivative(module: Module, lanes: int) -> None:
    """Points stand next to each other in order of their steps, so that those of a group end nearly together."""
    names = [(name, POINTER) for name in ("cx", "cy", "steps", "out")]
    with module.function("derivative", [*names, ("count", I64)], I64, exported=True) as (body, given):
        cx, cy, out = (Array(body, given[k], "double") for k in (0, 1, 3))
        steps, count = Array(body, given[2], "i32"), given[4]
        with body.counted(0, count, lanes * VECTORS) as first:
            rest = body.smaller(count - first, lanes * VECTORS)
            groups = [
                _Points.load(body, (cx, cy, steps), first + v * lanes, rest - v * lanes, lanes) for v in range(VECTORS)
            ]
            least, most = (steps.get(at).to("i64", "zext") for at in (first + rest - 1, first))
            with body.counted(0, least):
                for points in groups:
                    points.put(points.step())
            with body.counted(least, most + AFTER) as step:
                for points in groups:
                    points.step_some(step)
            for v, points in enumerate(groups):
                points.store(out, first + v * lanes, count)
        body.give(body.value(I64, 0))


class _Points:
    """As many neighbours as a vector has lanes."""

    def __init__(self, body: Body, exist: Value, c: tuple[Value, Value], due: Value) -> None:
        self._exist, self._c, self._due = exist, c, due
        self._fields = [Variable(body, c[0].type, 0.0) for _ in range(4)]

    @classmethod
    def load(cls, body: Body, arrays: tuple[Array, Array, Array], first: Value, rest: Value, lanes: int) -> "_Points":
        """Those from `first` on; lanes beyond the last point rest at the origin."""
        cx, cy, steps = arrays
        exist = body.sequence(Type("i64", lanes)) < rest
        due = steps.get_where(exist, first, 0).to("i64", "zext")
        return cls(body, exist, (cx.get_where(exist, first, 0.0), cy.get_where(exist, first, 0.0)), due)

    def _get(self) -> Fields:
        x, y, dx, dy = (field.get() for field in self._fields)
        return x, y, dx, dy

    def put(self, values: Fields) -> None:
        for field, value in zip(self._fields, values, strict=True):
            field.set(value)

    def step(self) -> Fields:
        """Where z² + c and 2·z·dz + 1 take them."""
        x, y, dx, dy = self._get()
        product, across, up = x * y, x * dx - y * dy, x * dy + y * dx
        z = (x * x - y * y) + self._c[0], (product + product) + self._c[1]
        return *z, (across + across) + 1.0, up + up

    def step_some(self, step: Value) -> None:
        """The same for those that have steps left, or are not far yet."""
        before = self._get()
        x, y = before[:2]
        is_near = x * x + y * y < FAR
        goes = (self._due > step) | ((self._due + AFTER > step) & is_near)
        after = self.step()
        x, y, dx, dy = (goes.select(new, old) for new, old in zip(after, before, strict=True))
        self.put((x, y, dx, dy))

    def store(self, out: Array, first: Value, count: Value) -> None:
        for number, value in enumerate(self._get()):
            out.set_where(self._exist, first + count * number, value)
