"""The perturbation loops as machine code: escape counts and smooth values of one tile, from a reference orbit.

A pixel at C + dc has the orbit z = Z_m + dz. A step is dz ← (2·Z_m + dz)·dz + dc, m ← m + 1. Where |z| < |dz|, and
after the reference's last value, dz ← z and m ← 0 (rebasing), so that no cancellation, and with it no glitch, occurs.
At m = 1 + 16·j the pixel takes the longest stretch of `bla` that is valid for its own dz, or else plain steps to the
next such place. All this depends on the pixel alone: how pixels share lanes and tiles changes no bit of the result.

How it is fast: a group is a lane for each of some neighbouring pixels. Those that stand at the group's lowest index
advance together, so that Z is one load for all; the others wait. Several groups take plain steps at once, by blocks of
16 without a test where |dz| is so small that none of them can rebase. What else happens, `_serve` does for one group.
"""

from typing import Any

from llvmlite import ir

from renderers.mandelbrot.deep.emission import BIT, DOUBLE, FLOAT, INTEGER, POINTER, WHOLE, Code, Value, Variable, vector
from renderers.mandelbrot.deep.layout import (
    BLOCK,
    BOUNDS,
    CX,
    CY,
    ENTRY,
    FAR,
    FIELDS,
    FURTHER,
    GOES,
    ID,
    INDEX,
    LIMIT,
    OFFSET,
    SHORTEST,
    STEP,
    STRIDE,
    ZX,
    ZY,
    X,
    Y,
)
from renderers.mandelbrot.deep.logarithm import log2
from renderers.mandelbrot.deep.wide import WideSteps

ARGUMENTS: dict[str, Any] = {
    **dict.fromkeys(("orbit", "bounds", "table", "starts", "xs", "ys", "counts", "smooth", "stop", "state"), POINTER),
    **dict.fromkeys(("tiny", "wide_table", "wide_xs", "wide_ys"), POINTER),
    **dict.fromkeys(("tinies", "last", "max_iter", "levels", "columns", "rows", "exponent"), INTEGER),
    **dict.fromkeys(("radius", "cx", "cy", "floor"), DOUBLE),
}
Pair = tuple[Value, Value]

TURNS = 2048  # blocks between two looks at the stop flag
NEVER = 1 << 60


class Perturbation:
    """Writes the function `perturb` for groups of `width` lanes, `groups` of them at once."""

    def __init__(self, module: Any, width: int, groups: int) -> None:
        self.width, self.groups = width, groups
        self.code = Code(module, "perturb", ARGUMENTS)
        self.doubles, self.integers = vector(DOUBLE, width), vector(INTEGER, width)
        across = {1: 1, 2: 2, 4: 2, 8: 4}[width]
        self.cell = (across, width // across)
        zero = self.code.constant(INTEGER, 0)
        self.next = self.code.variable(zero)
        self.live = self.code.variable(zero + groups)

    def __getattr__(self, name: str) -> Value:
        """An argument of the function."""
        if name in ARGUMENTS:
            return self.code.arguments[name]
        raise AttributeError(name)

    def write(self) -> None:
        """The whole function; it answers 0 when it was stopped."""
        code = self.code
        for name, group in ((ID, -1), (GOES, 0)):
            for v in range(self.groups):
                self._put(name, code.constant(INTEGER, v), code.constant(self.integers, group))
        every = code.constant(INTEGER, (1 << self.groups) - 1)
        events, forced = code.variable(every), code.variable(every & 0)
        with code.loop() as loop:
            with code.each_bit(events.value) as v:
                self._serve(v, (forced.value >> v) & 1)
            loop.leave_when(code.flag_is_up(self.stop) | self.live.value.equals(0))
            attention, rolled_back = self._plain_blocks()
            events.value, forced.value = attention | rolled_back, rolled_back
        code.answer(code.convert("zext", self.live.value.equals(0), INTEGER))

    # --- state

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

    # --- plain steps, all groups at once

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

    # --- everything else, one group at a time

    def _serve(self, v: Value, forced: Value) -> None:
        """Bring a group to where it takes a plain block, with fresh pixels when its own are done, or retire it."""
        code = self.code
        index = self._splat(code.load(self._group(INDEX, v), 0, INTEGER))
        self._put(STEP, v, code.select(self._get(GOES, v).differs(0), index, self._get(STEP, v)))
        careful = code.variable(forced)
        ready = code.variable(forced & 0)
        across, up = ((size + cell - 1) / cell for size, cell in zip((self.columns, self.rows), self.cell, strict=True))
        with code.loop() as loop:
            loop.leave_when(ready.value.differs(0) | code.flag_is_up(self.stop))
            empty = ~code.any(self._get(ID, v) >= 0)
            over = empty & (self.next.value >= across * up)
            with code.when(over):
                self._retire(v)
            loop.leave_when(over)
            with code.choose(empty) as (fill, work):
                with fill:
                    self._fill(v, across)
                with work:
                    self._advance(v, careful, ready)

    def _retire(self, v: Value) -> None:
        """There are no pixels left for this group: it rests at the origin and asks for nothing."""
        code = self.code
        zeros = code.constant(self.doubles, 0.0)
        for field in (X, Y, CX, CY):
            self._put(field, v, zeros)
        self._put(GOES, v, code.constant(self.integers, 0))
        for field, number in ((INDEX, 1), (STRIDE, 0), (LIMIT, NEVER)):
            code.store(code.constant(INTEGER, number), self._group(field, v))
        self.live.value = self.live.value - 1

    def _fill(self, v: Value, across: Value) -> None:
        """Give the group the next cell of the tile; lanes beyond its edge stay empty."""
        code = self.code
        number = self.next.value
        self.next.value = number + 1
        row0 = number / across
        col0 = (number - row0 * across) * self.cell[0]
        row0 = row0 * self.cell[1]
        for lane in range(self.width):
            col, row = col0 + lane % self.cell[0], row0 + lane // self.cell[0]
            with code.when((col < self.columns) & (row < self.rows)):
                slot = v * self.width + lane
                for field, value in ((CX, code.load(self.xs, col)), (CY, code.load(self.ys, row))):
                    code.store(value, self._lane(field, slot))
                code.store(row * self.columns + col, self._lane(ID, slot))
        for field in (X, Y):
            self._put(field, v, code.constant(self.doubles, 0.0))
        for field in (STEP, OFFSET):
            self._put(field, v, code.constant(self.integers, 0))

    def _advance(self, v: Value, careful: Variable, ready: Variable) -> None:
        """Take those lanes of the group that are furthest behind further."""
        code = self.code
        active, steps, offsets = self._get(ID, v) >= 0, self._get(STEP, v), self._get(OFFSET, v)
        index = code.least(code.select(active, steps, NEVER))
        here = active & steps.equals(self._splat(index))
        inside = here & (offsets + self._splat(index) >= self._splat(self.max_iter))
        with code.choose(code.any(inside)) as (end, go_on):
            with end, code.each_bit(code.bits(inside)) as lane:
                self._write(v * self.width + lane, self.max_iter, code.convert("sitofp", self.max_iter, DOUBLE))
            with go_on:
                tiny = here & (self._norm(self._get(X, v), self._get(Y, v)) < self._splat(self.floor))
                far_down = code.any(tiny) & (index < self.last - 1)
                at_block = ((index - 1) & (BLOCK - 1)).equals(0)
                with code.choose(far_down) as (widely, normally):
                    with widely, code.each_bit(code.bits(tiny)) as lane:
                        self._advance_wide(v * self.width + lane)
                    with normally, code.choose(at_block) as (leap, step):
                        with leap:
                            self._leap(v, index, here, careful, ready)
                        with step:
                            self._tested_steps(v, index, here)

    def _advance_wide(self, lane: Value) -> None:
        """Let a lane whose dz is too small for doubles go on until it is not."""
        code = self.code
        pixel = code.load(self._lane(ID, lane), 0, INTEGER)
        row = pixel / self.columns
        dc = code.load(self.wide_xs, pixel - row * self.columns), code.load(self.wide_ys, row)
        arrays = (self.orbit, self.tiny, self.wide_table, self.starts, self.stop, self._lane(X, lane))
        stride = code.constant(INTEGER, self.width * self.groups)
        sizes = (self.tinies, stride, self.last, self.max_iter, self.levels, self.exponent)
        code.intrinsic("advance_wide", INTEGER, *arrays, *sizes, *dc)

    def _leap(self, v: Value, index: Value, here: Value, careful: Variable, ready: Variable) -> None:
        """Stretches as long as all these lanes take the same one, then a walk; or one stretch for some of them."""
        code = self.code
        at, together = code.variable(index), code.variable(code.constant(BIT, 1))
        offsets = self._get(OFFSET, v)
        with code.loop() as loop:
            best = self._longest(at.value, here, self._norm(self._get(X, v), self._get(Y, v)), offsets)
            top = code.largest(best.value)
            loop.leave_when(top < 0)
            jumps = here & best.value.equals(self._splat(top))
            self._jump(v, at.value, top, jumps)
            together.value = code.bits(jumps).equals(code.bits(here))
            at.value = at.value + (code.constant(INTEGER, BLOCK) << top)
            tiny = self._norm(self._get(X, v), self._get(Y, v)) < self._splat(self.floor)
            spent = offsets + self._splat(at.value) >= self._splat(self.max_iter)
            loop.leave_when(~together.value | code.any(here & (spent | tiny)))
        with code.when(together.value & (top < 0)):
            self._walk(v, at.value, here, careful, ready)

    def _longest(self, index: Value, here: Value, norm: Value, offsets: Value) -> Variable:
        """For each lane the level of the longest stretch from `index` that is valid, or -1."""
        code = self.code
        best = code.variable(code.constant(self.integers, -1))
        level = code.variable(code.constant(INTEGER, 0))
        block = (index - 1) >> SHORTEST
        with code.loop() as loop:
            k = level.value
            loop.leave_when((k >= self.levels) | (block & ((code.constant(INTEGER, 1) << k) - 1)).differs(0))
            entry = code.load(self.starts, k, INTEGER) + (block >> k)
            loop.leave_when(entry >= code.load(self.starts, k + 1, INTEGER))
            end = offsets + self._splat(index + (code.constant(INTEGER, BLOCK) << k))
            valid = here & (norm < self._at(self.table, entry * ENTRY)) & (end <= self._splat(self.max_iter))
            valid = valid & best.value.equals(self._splat(k - 1))
            loop.leave_when(~code.any(valid))
            best.value = code.select(valid, self._splat(k), best.value)
            level.value = k + 1
        return best

    def _jump(self, v: Value, index: Value, level: Value, jumps: Value) -> None:
        """dz ← A·dz + B·dc."""
        code, fma = self.code, self.code.fma
        entry = (code.load(self.starts, level, INTEGER) + ((index - 1) >> (level + SHORTEST))) * ENTRY
        ax, ay, bx, by = (self._at(self.table, entry + k) for k in range(1, ENTRY))
        x, y, cx, cy = (self._get(field, v) for field in (X, Y, CX, CY))
        new_x = fma(ax, x, fma(-ay, y, fma(bx, cx, -(by * cy))))
        new_y = fma(ax, y, fma(ay, x, fma(bx, cy, by * cx)))
        there = self._splat(index + (code.constant(INTEGER, BLOCK) << level))
        for field, new in ((X, new_x), (Y, new_y), (STEP, there)):
            self._put(field, v, code.select(jumps, new, self._get(field, v)))

    def _walk(self, v: Value, index: Value, here: Value, careful: Variable, ready: Variable) -> None:
        """Plain steps: together with the other groups where none needs a test, else at once."""
        code = self.code
        limit = self.max_iter - code.largest(code.select(here, self._get(OFFSET, v), -NEVER))
        plain = self._is_plain(index, self._get(X, v), self._get(Y, v))
        calm = ~code.any(here & ~plain) & (index + BLOCK <= limit) & careful.value.equals(0)
        with code.choose(calm) as (together, alone):
            with together:
                self._put(GOES, v, code.select(here, code.constant(self.integers, -1), 0))
                for field, value in ((INDEX, index), (STRIDE, index & 0 | BLOCK), (LIMIT, limit)):
                    code.store(value, self._group(field, v))
                ready.value = code.constant(INTEGER, 1)
            with alone:
                self._tested_steps(v, index, here)
                careful.value = code.constant(INTEGER, 0)
                self._restart(v)

    def _restart(self, v: Value) -> None:
        """The first step of lanes that have rebased, at once: it takes them to where a stretch may begin."""
        code = self.code
        norm = self._norm(self._get(X, v), self._get(Y, v))
        rebased = (self._get(ID, v) >= 0) & self._get(STEP, v).equals(0) & (norm >= self._splat(self.floor))
        rebased = rebased & (self._get(OFFSET, v) < self._splat(self.max_iter))
        with code.when(code.any(rebased)):
            self._tested_steps(v, code.constant(INTEGER, 0), rebased)

    def _tested_steps(self, v: Value, index: Value, here: Value) -> None:
        """Steps to the next place where a stretch may begin, or until a lane reaches max_iter.

        Lanes that rebase or escape stop before. The chain of steps is that of lanes that go on: what stops is put
        aside, so that no step waits for a test.
        """
        code = self.code
        dz = [code.variable(self._get(field, v)) for field in (X, Y)]
        dc = self._get(CX, v), self._get(CY, v)
        offsets = self._get(OFFSET, v)
        limit = self.max_iter - code.largest(code.select(here, offsets, -NEVER))
        end = code.smaller((index + BLOCK - 1 & -BLOCK) + 1, limit)
        alive, at = code.variable(here), code.variable(index)
        with code.loop() as loop:
            orbit = code.address(self.orbit, at.value * 2)
            old = dz[0].value, dz[1].value
            new = self._step(self._at(orbit, 0) + old[0], self._at(orbit, 1) + old[1], old, dc)
            dz[0].value, dz[1].value = new
            full = self._full(orbit, 1, new)
            at.value = at.value + 1
            norm = self._norm(*full)
            own = self._norm(*new)
            goes_on = (norm >= own) & (norm <= self._splat(self.radius)) & (own >= self._splat(self.floor))
            with code.when(code.any(alive.value & ~goes_on) | (at.value >= self.last)):
                alive.value = self._put_aside(v, at.value, alive.value, new, full)
            loop.leave_when(~code.any(alive.value) | (at.value >= end))
        for field, value in ((X, dz[0].value), (Y, dz[1].value), (STEP, self._splat(at.value))):
            self._put(field, v, code.select(alive.value, value, self._get(field, v)))

    def _put_aside(self, v: Value, at: Value, alive: Value, dz: Pair, full: Pair) -> Value:
        """Keep the state of lanes that rebase in the step to `at`, write those that escape; answer which go on."""
        code = self.code
        taken = self._get(OFFSET, v) + self._splat(at)
        escaped = alive & ~(full[0] * full[0] + full[1] * full[1] <= self._splat(self.radius * self.radius))
        rebased = (~(self._norm(*full) >= self._norm(*dz)) | self._splat(at >= self.last)) & (alive & ~escaped)
        for field, value in ((X, full[0]), (Y, full[1]), (STEP, taken & 0), (OFFSET, taken)):
            self._put(field, v, code.select(rebased, value, self._get(field, v)))
        with code.when(code.any(escaped)):
            self._escape(v, escaped, full, taken - 1)
        shrunk = alive & ~(escaped | rebased) & (self._norm(*dz) < self._splat(self.floor))
        for field, value in ((X, dz[0]), (Y, dz[1]), (STEP, self._splat(at))):
            self._put(field, v, code.select(shrunk, value, self._get(field, v)))
        return alive & ~(escaped | rebased | shrunk)

    # --- results

    def _escape(self, v: Value, escaped: Value, z: Pair, counts: Value) -> None:
        """Write the pixels of these lanes."""
        code = self.code
        for field, value in ((ZX, z[0]), (ZY, z[1]), (GOES, counts)):
            self._put(field, v, value)
        with code.each_bit(code.bits(escaped)) as number:
            lane = v * self.width + number
            count = code.load(self._lane(GOES, lane), 0, INTEGER)
            self._write(lane, count, code.convert("sitofp", count, DOUBLE) + self._fraction(lane))

    def _fraction(self, lane: Value) -> Value:
        """e - log2(log2 |z|), where z is e - 1 steps after the escape and far outside."""
        code = self.code
        c = [code.load(self._lane(field, lane)) + own for field, own in ((CX, self.cx), (CY, self.cy))]
        x, y = (code.variable(code.load(self._lane(field, lane))) for field in (ZX, ZY))
        e = code.variable(code.constant(INTEGER, 1))
        with code.loop() as loop:
            xx, yy = x.value * x.value, y.value * y.value
            loop.leave_when((xx + yy >= FAR) | (e.value >= FURTHER))
            product = x.value * y.value
            y.value = product + product + c[1]
            x.value = xx - yy + c[0]
            e.value = e.value + 1
        magnitude = x.value * x.value + y.value * y.value
        return code.convert("sitofp", e.value, DOUBLE) - log2(log2(magnitude) * 0.5)

    def _write(self, lane: Value, count: Value, value: Value) -> None:
        """Store a pixel's result and free its lane."""
        code = self.code
        pixel = code.load(self._lane(ID, lane), 0, INTEGER)
        code.store(code.convert("trunc", count, WHOLE), self.counts, pixel)
        code.store(code.convert("fptrunc", value, FLOAT), self.smooth, pixel)
        code.store(code.constant(INTEGER, -1), self._lane(ID, lane))


def module(width: int, groups: int) -> Any:
    """The module with `perturb`."""
    written = ir.Module("deep")
    WideSteps(written).write()
    Perturbation(written, width, groups).write()
    return written
