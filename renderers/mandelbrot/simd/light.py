"""The mean light of boxes of pixels as LLVM IR; `portable.light` says in numpy what it does."""

import ctypes
from typing import Any

from renderers.mandelbrot.layout import CHANNELS
from renderers.mandelbrot.simd.emit import Body, Module
from renderers.mandelbrot.simd.values import I64, POINTER, Array, Value, Variable

ARGUMENTS: tuple[Any, ...] = (ctypes.c_void_p,) * 4 + (ctypes.c_int64,) * 3


def write_average_light(module: Module) -> None:
    names = [*((name, POINTER) for name in ("rows", "light", "levels", "out")), ("height", I64), ("width", I64)]
    with module.function("average_light", [*names, ("factor", I64)], I64, exported=True) as (body, given):
        rows, light, levels, out = (Array(body, given[k], kind) for k, kind in enumerate(("i8", "i32", "i8", "i8")))
        height, width, factor = given[4:]
        area, across = factor * factor, width * factor
        target = Variable(body, I64, 0)
        with body.counted(0, height) as row, body.counted(0, width) as col:
            total = _total(body, (rows, light), (row * factor, col * factor), across, factor)
            for channel in range(CHANNELS):
                mean = (total[channel].get() + area // 2) // area
                out.set(target.get() + channel, levels.get(mean))
            target.set(target.get() + CHANNELS)
        body.give(body.value(I64, 0))


def _total(
    body: Body, given: tuple[Array, Array], corner: tuple[Value, Value], width: Value, factor: Value
) -> list[Variable]:
    """The light of each channel in a box of a picture of this width."""
    (rows, light), (top, left) = given, corner
    total = [Variable(body, I64, 0) for _ in range(CHANNELS)]
    with body.counted(0, factor) as i:
        start = ((top + i) * width + left) * CHANNELS
        with body.counted(0, factor) as j:
            for channel, sum_ in enumerate(total):
                level = rows.get(start + j * CHANNELS + channel).to("i64", "zext")
                sum_.set(sum_.get() + light.get(level).to("i64", "zext"))
    return total
