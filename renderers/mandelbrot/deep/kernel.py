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

from renderers.mandelbrot.deep.blocks import PlainBlocks
from renderers.mandelbrot.deep.emission import BIT, DOUBLE, INTEGER, Value, Variable
from renderers.mandelbrot.deep.lanes import Pair
from renderers.mandelbrot.deep.layout import (
    BLOCK,
    CX,
    CY,
    ENTRY,
    GOES,
    ID,
    INDEX,
    LIMIT,
    OFFSET,
    SHORTEST,
    STEP,
    STRIDE,
    X,
    Y,
)
from renderers.mandelbrot.deep.results import Results
from renderers.mandelbrot.deep.wide import WideSteps

NEVER = 1 << 60


class Perturbation(PlainBlocks, Results):
    """Writes the function `perturb`."""

    def write(self) -> None:
        """The whole function; it answers 0 when it was stopped."""
        code = self.code
        for field, number in ((ID, -1), (GOES, 0)):
            for group in range(self.groups):
                self._put(field, group, code.constant(self.integers, number))
        every = code.constant(INTEGER, (1 << self.groups) - 1)
        events, forced = code.variable(every), code.variable(every & 0)
        with code.loop() as loop:
            with code.each_bit(events.value) as v:
                self._serve(v, (forced.value >> v) & 1)
            loop.leave_when(code.flag_is_up(self.stop) | self.live.value.equals(0))
            attention, rolled_back = self._plain_blocks()
            events.value, forced.value = attention | rolled_back, rolled_back
        code.answer(code.convert("zext", self.live.value.equals(0), INTEGER))

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


def module(width: int, groups: int) -> Any:
    """The module with `perturb`."""
    written = ir.Module("deep")
    WideSteps(written).write()
    Perturbation(written, width, groups).write()
    return written
