"""Blocks of plain steps without a test, all groups at once: where most of the time goes."""

from renderers.mandelbrot.deep.emission import INTEGER, Value
from renderers.mandelbrot.deep.lanes import Lanes
from renderers.mandelbrot.deep.layout import BLOCK, BOUNDS, CX, CY, GOES, INDEX, LIMIT, SHORTEST, STRIDE, X, Y

TURNS = 2048  # blocks between two looks at the stop flag


class PlainBlocks(Lanes):
    """Writes the hot loop."""

    def _plain_blocks(self) -> tuple[Value, Value]:
        """Blocks of untested steps until a group needs something else; answer which do, and which were rolled back."""
        code = self.code
        none = code.constant(INTEGER, 0)
        attention, rolled_back, turn = (code.variable(none) for _ in range(3))
        with code.loop() as loop:
            loop.leave_when((attention.value | rolled_back.value).differs(0) | (turn.value >= TURNS))
            turn.value = turn.value + 1
            at = [code.load(self._group(INDEX, v), 0, INTEGER) for v in range(self.groups)]
            ends = self._steps(at)
            for v in range(self.groups):
                called, failed = self._settle(v, at[v], ends[v])
                attention.value = attention.value | (called << v)
                rolled_back.value = rolled_back.value | (failed << v)
        return attention.value, rolled_back.value

    def _steps(self, at: list[Value]) -> list[tuple[Value, Value]]:
        """Where BLOCK steps take each group."""
        code, every = self.code, range(self.groups)
        orbits = [code.address(self.orbit, at[v] * 2) for v in every]
        dz = [(self._get(X, v), self._get(Y, v)) for v in every]
        dc = [(self._get(CX, v), self._get(CY, v)) for v in every]
        for k in range(BLOCK):
            p = [self._at(orbits[v], 2 * k) + dz[v][0] for v in every]
            q = [self._at(orbits[v], 2 * k + 1) + dz[v][1] for v in every]
            dz = [self._step(p[v], q[v], dz[v], dc[v]) for v in every]
        return dz

    def _settle(self, v: int, at: Value, end: tuple[Value, Value]) -> tuple[Value, Value]:
        """Commit a block unless a lane escaped in it; answer (needs attention, was rolled back) as 0 or 1."""
        code = self.code
        then = at + BLOCK
        zx, zy = self._full(code.address(self.orbit, at * 2), BLOCK, end)
        goes = self._get(GOES, v).differs(0)
        failed = code.any(goes & ~(zx * zx + zy * zy <= self._splat(self.radius * self.radius)))
        keeps = goes & ~self._splat(failed)
        for field, new in zip((X, Y), end, strict=True):
            self._put(field, v, code.select(keeps, new, self._get(field, v)))
        stride = code.load(self._group(STRIDE, v), 0, INTEGER)
        code.store(at + code.select(failed, stride & 0, stride), self._group(INDEX, v))
        called = code.any(goes & ~self._is_plain(then, *end)) | (
            then + BLOCK > code.load(self._group(LIMIT, v), 0, INTEGER)
        )
        return code.convert("zext", called, INTEGER), code.convert("zext", failed, INTEGER)

    def _is_plain(self, at: Value, x: Value, y: Value) -> Value:
        """Which lanes can take the block at an index without a test, and no stretch instead."""
        norm, block = self._norm(x, y), ((at - 1) >> SHORTEST) * BOUNDS
        reach, shortest = (self._at(self.bounds, block + k) for k in (0, 1))
        return (norm < reach) & ~(norm < shortest) & (norm >= self._splat(self.floor))
