"""The kernel by numba: ordinary loops over lanes, which its compiler turns into vector instructions.

Pixels live in lanes. All lanes advance by blocks of untested steps; only lanes that are still within the escape radius
after a block commit it. Lanes that did not are replayed from the start of the block with a test on each step, and
refilled with fresh pixels. It takes seconds to compile, at each start.
"""

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import cfunc, njit, types
from numba.extending import intrinsic

from renderers.mandelbrot.formulas import MANDELBROT, Formula
from renderers.mandelbrot.layout import (
    FAR,
    FURTHER,
    LARGEST,
    MANTISSA_BITS,
    SQRT_HALF_BITS,
    TWO_OVER_LN2,
    logarithm_factor,
)
from renderers.mandelbrot.tile import Tile

# Buffers are plain pointers in the compiled code. They are only indexed, so lists describe them to a type checker.
pointer_to: Any = types.CPointer

Doubles = list[float]
Counts = list[int]
Flag = list[int]
Grid = tuple[Doubles, Doubles, int, int]  # x of each column, y of each row, columns, pixels
Constant = tuple[bool, float, float, bool]  # is a Julia set, its c, pixels of the two largest components are known
Limits = tuple[float, float, float]  # max_iter, escape_radius², the factor of the outer logarithm
Task = tuple[Grid, Constant, Limits]
Results = tuple[Counts, Doubles]  # counts, smooth values; row-major

LANES = 64
GROUP = 64
BLOCK = 16  # untested steps
HEAD = 24  # tested steps before a pixel gets a lane
WAITING = 6  # lanes that may wait for their replay before all lanes are gone through
STACK = LANES + GROUP

# Fields of a pixel in flight. A buffer holds them as consecutive arrays: the compiler can see that they do not overlap.
X, Y, CX, CY, N, ID, FLAG, VALUE, FIELDS = range(9)
GROUP_AT = FIELDS * LANES  # where the buffers begin in the scratch memory, after the lanes
WORK_AT = GROUP_AT + FIELDS * STACK
DONE_AT = WORK_AT + FIELDS * STACK
SCRATCH = DONE_AT + FIELDS * STACK  # doubles


def _type_bits(context: Any, value: Any) -> Any:
    """The bits of a double as a signed 64-bit integer."""
    return types.int64(types.float64), lambda _, builder, __, values: builder.bitcast(values[0], ir.IntType(64))


def _type_double(context: Any, bits: Any) -> Any:
    """The double that has these 64 bits."""
    return types.float64(types.int64), lambda _, builder, __, values: builder.bitcast(values[0], ir.DoubleType())


def _type_offset(context: Any, pointer: Any, count: Any) -> Any:
    """The pointer moved on by so many elements."""
    return pointer(pointer, types.int64), lambda _, builder, __, values: builder.gep(values[0], [values[1]])


_bits: Any = intrinsic(_type_bits)
_double: Any = intrinsic(_type_double)
_offset: Any = intrinsic(_type_offset)


@njit(error_model="numpy")
def _log2(value: float) -> float:
    """log2 of a positive, normal double to 1e-11; the library's is a call per value and cannot be vectorised."""
    bits = _bits(value)
    exponent = (bits - SQRT_HALF_BITS) >> MANTISSA_BITS
    mantissa = _double(bits - (exponent << MANTISSA_BITS))
    r = (mantissa - 1.0) / (mantissa + 1.0)
    r2 = r * r
    series = 1.0 + r2 * (1 / 3 + r2 * (1 / 5 + r2 * (1 / 7 + r2 * (1 / 9 + r2 * (1 / 11)))))
    logarithm: float = exponent + TWO_OVER_LN2 * r * series
    return logarithm


@njit(error_model="numpy")
def _advance(step: Any, lanes: Doubles, radius2: float, last: float) -> int:
    """Advance all lanes by one block; answer how many did not commit it (escaped, or fewer than BLOCK steps left)."""
    held = 0
    for lane in range(LANES):
        x = lanes[lane]
        y = lanes[Y * LANES + lane]
        cx = lanes[CX * LANES + lane]
        cy = lanes[CY * LANES + lane]
        n = lanes[N * LANES + lane]
        a = x
        b = y
        for _ in range(BLOCK):
            a, b = step(a, b, cx, cy)
        commits = (a * a + b * b <= radius2) & (n <= last)
        lanes[lane] = a if commits else x
        lanes[Y * LANES + lane] = b if commits else y
        lanes[N * LANES + lane] = n + BLOCK if commits else n
        lanes[FLAG * LANES + lane] = 0.0 if commits else 1.0
        held += 0 if commits else 1
    return held


@njit(error_model="numpy")
def _replay(step: Any, pixels: Doubles, first: int, limit: float, radius2: float) -> None:
    """Advance a group with a test on each step: up to n = limit inside; FLAG counts steps from the escape."""
    active = 1
    while active > 0:
        active = 0
        for k in range(first, first + GROUP):
            x = pixels[k]
            y = pixels[Y * STACK + k]
            n = pixels[N * STACK + k]
            e = pixels[FLAG * STACK + k]
            fresh = e == 0.0
            goes = (fresh & (n < limit)) | ((e > 0.0) & (e < FURTHER) & (x * x + y * y < FAR))
            a, b = step(x, y, pixels[CX * STACK + k], pixels[CY * STACK + k])
            within = fresh & (a * a + b * b <= radius2)
            pixels[k] = a if goes else x
            pixels[Y * STACK + k] = b if goes else y
            pixels[N * STACK + k] = n + 1.0 if goes & within else n
            pixels[FLAG * STACK + k] = e if (not goes) | within else e + 1.0
            active += 1 if goes else 0


@njit(error_model="numpy")
def _measure(pixels: Doubles, first: int, limits: Limits) -> None:
    """Set VALUE of a group to the smooth value (limit where the pixel did not escape, and nowhere else)."""
    inside = np.float32(limits[0])
    below = np.nextafter(inside, np.float32(0.0))
    for k in range(first, first + GROUP):
        x = pixels[k]
        y = pixels[Y * STACK + k]
        e = pixels[FLAG * STACK + k]
        size = x * x + y * y
        size = size if size < LARGEST else LARGEST
        smooth = np.float32(pixels[N * STACK + k] + (e - _log2(0.5 * _log2(size)) * limits[2]))
        value = below if smooth == inside else smooth
        pixels[VALUE * STACK + k] = float(value if e > 0.0 else inside)


@njit(error_model="numpy")
def _generate(pixels: Doubles, at: int, grid: Grid, constant: Constant, limit: float) -> None:
    """Fill a group with the pixels from index `at` on (row-major); those in the two largest components are inside."""
    xs, ys, columns, total = grid
    is_julia, constant_x, constant_y, is_known = constant
    row = at // columns
    column = at - row * columns
    for k in range(GROUP):
        absent = at + k >= total
        pixels[ID * STACK + k] = -1.0 if absent else float(at + k)
        pixels[CX * STACK + k] = 0.0 if absent else xs[column]
        pixels[CY * STACK + k] = 0.0 if absent else ys[row]
        column += 1
        if column == columns:
            column = 0
            row += 1
    for k in range(GROUP):
        cx = pixels[CX * STACK + k]
        cy = pixels[CY * STACK + k]
        shifted = cx - 0.25
        q = shifted * shifted + cy * cy
        cardioid = q * (q + shifted) <= 0.25 * (cy * cy)
        disc = (cx + 1.0) * (cx + 1.0) + cy * cy <= 0.0625
        pixels[k] = cx if is_julia else 0.0
        pixels[Y * STACK + k] = cy if is_julia else 0.0
        pixels[CX * STACK + k] = constant_x if is_julia else cx
        pixels[CY * STACK + k] = constant_y if is_julia else cy
        pixels[N * STACK + k] = limit if (cardioid | disc) & is_known else 0.0
        pixels[FLAG * STACK + k] = 0.0


@njit(error_model="numpy")
def _write(pixels: Doubles, k: int, out: Results) -> None:
    """Store the result of one measured pixel."""
    pixel = int(pixels[ID * STACK + k])
    out[0][pixel] = int(pixels[N * STACK + k])
    out[1][pixel] = pixels[VALUE * STACK + k]


@njit(error_model="numpy")
def _head(step: Any, group: Doubles, at: int, task: Task, out: Results) -> None:
    """Take the next group of pixels and write those that end within HEAD steps; the others keep their ID."""
    grid, constant, limits = task
    limit = limits[0]
    _generate(group, at, grid, constant, limit)
    _replay(step, group, 0, min(limit, float(HEAD)), limits[1])
    _measure(group, 0, limits)
    for k in range(GROUP):
        if (group[FLAG * STACK + k] > 0.0) | (group[N * STACK + k] >= limit):
            if group[ID * STACK + k] >= 0.0:
                _write(group, k, out)
            group[ID * STACK + k] = -1.0


@njit(error_model="numpy")
def _queue(group: Doubles, work: Doubles, queued: int) -> int:
    """Append the pixels of the group that still have an ID to the work stack; answer its length."""
    for k in range(GROUP):
        if group[ID * STACK + k] >= 0.0:
            for field in range(FLAG):
                work[field * STACK + queued] = group[field * STACK + k]
            queued += 1
    return queued


@njit(error_model="numpy")
def _finish(step: Any, done: Doubles, waiting: int, limits: Limits, out: Results) -> int:
    """Replay and write the last group of the waiting pixels; answer how many still wait."""
    first = max(0, waiting - GROUP)
    for k in range(waiting, first + GROUP):
        done[ID * STACK + k] = -1.0
        done[N * STACK + k] = limits[0]
        done[FLAG * STACK + k] = 0.0
    _replay(step, done, first, limits[0], limits[1])
    _measure(done, first, limits)
    for k in range(first, waiting):
        _write(done, k, out)
    return first


@njit(error_model="numpy")
def _exchange(lanes: Doubles, work: Doubles, queued: int, done: Doubles, waiting: int) -> tuple[int, int, int]:
    """Move the pixels of flagged lanes to `done` and refill those lanes; answer (queued, waiting, lanes left idle)."""
    idle = 0
    for lane in range(LANES):
        if lanes[FLAG * LANES + lane] == 0.0:
            continue
        if lanes[ID * LANES + lane] >= 0.0:
            for field in range(FLAG):
                done[field * STACK + waiting] = lanes[field * LANES + lane]
            done[FLAG * STACK + waiting] = 0.0
            waiting += 1
        if queued > 0:
            queued -= 1
            for field in range(FLAG):
                lanes[field * LANES + lane] = work[field * STACK + queued]
        else:
            idle += 1
            for field in range(FLAG):
                lanes[field * LANES + lane] = 0.0
            lanes[ID * LANES + lane] = -1.0
            lanes[N * LANES + lane] = -1e18  # rests at the origin and never asks for attention
        lanes[FLAG * LANES + lane] = 0.0
    return queued, waiting, idle


@njit(error_model="numpy")
def _clear(lanes: Doubles) -> None:
    """Every lane is empty and asks to be filled."""
    for lane in range(LANES):
        lanes[ID * LANES + lane] = -1.0
        lanes[FLAG * LANES + lane] = 1.0


@njit(error_model="numpy")
def _render(step: Any, task: Task, out: Results, buffers: Any, stop: Flag) -> int:
    """Render all pixels of the grid; 0 when `stop` was raised meanwhile."""
    grid, _, limits = task
    lanes, group, work, done = buffers
    at, queued, waiting, live = 0, 0, 0, LANES
    _clear(lanes)
    while live > 0 and stop[0] == 0:
        while queued < LANES and at < grid[3]:
            _head(step, group, at, task, out)
            queued = _queue(group, work, queued)
            at += GROUP
        queued, waiting, idle = _exchange(lanes, work, queued, done, waiting)
        live -= idle
        while waiting >= GROUP:
            waiting = _finish(step, done, waiting, limits, out)
        patience = min(live, WAITING)
        while _advance(step, lanes, limits[1], limits[0] - BLOCK) < patience and stop[0] == 0:
            pass
    while waiting > 0:
        waiting = _finish(step, done, waiting, limits, out)
    return 1 if stop[0] == 0 else 0


DOUBLES, BYTES = pointer_to(types.float64), pointer_to(types.uint8)
ARGUMENTS = (DOUBLES, DOUBLES, pointer_to(types.uint32), pointer_to(types.float32), BYTES, DOUBLES)
NUMBERS = (types.int64,) * 4 + (types.float64,) * 5
PLAIN = (ctypes.c_void_p,) * 6 + (ctypes.c_int64,) * 4 + (ctypes.c_double,) * 5  # the same for ctypes


@functools.cache
def prepare(formula: Formula) -> Callable[..., int]:
    """The compiled kernel of a formula (never of a Julia set: those share the code)."""
    step = njit(error_model="numpy")(formula.step)

    @cfunc(types.int64(*ARGUMENTS, *NUMBERS), error_model="numpy")
    def render_lanes(  # noqa: PLR0913, PLR0917  (a C function: its arguments are what crosses the border)
        xs: Doubles,
        ys: Doubles,
        counts: Counts,
        smooth: Doubles,
        stop: Flag,
        scratch: Any,
        columns: int,
        total: int,
        is_julia: int,
        is_known: int,
        cx: float,
        cy: float,
        limit: float,
        radius2: float,
        factor: float,
    ) -> int:
        buffers = (scratch, _offset(scratch, GROUP_AT), _offset(scratch, WORK_AT), _offset(scratch, DONE_AT))
        task = (xs, ys, columns, total), (is_julia != 0, cx, cy, is_known != 0), (limit, radius2, factor)
        return _render(step, task, (counts, smooth), buffers, stop)

    prototype = ctypes.CFUNCTYPE(ctypes.c_int64, *PLAIN)
    function: Any = prototype(render_lanes.address or 0)
    function.code = render_lanes  # keeps it alive
    result: Callable[..., int] = function
    return result


def render(tile: Tile) -> bool:
    """Fill the tile; False when its stop flag was raised meanwhile."""
    formula = tile.formula
    scratch = np.empty(SCRATCH)
    buffers = (tile.xs, tile.ys, tile.counts, tile.smooth, tile.stop, scratch)
    is_known = formula == MANDELBROT and tile.knows_components
    numbers = (len(tile.xs), tile.counts.size, int(formula.julia is not None), int(is_known))
    factor = logarithm_factor(formula.power) if formula.power != 2 else 1.0
    limits = (*(formula.julia or (0.0, 0.0)), float(tile.max_iter), tile.radius2, factor)
    entry = prepare(Formula(formula.family, formula.power))
    return bool(entry(*(buffer.ctypes.data for buffer in buffers), *numbers, *limits))
