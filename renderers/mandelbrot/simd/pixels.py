"""The inner loops of painting, shading and encoding as LLVM IR. Pictures are rows of RGB bytes, highest y first.

`portable.pixels` says in numpy what each function does.
"""

import ctypes
from typing import Any

from renderers.mandelbrot.layout import CHANNELS, INDICES, SUB_FILTER, TABLE_SIZE
from renderers.mandelbrot.simd import derivative, light
from renderers.mandelbrot.simd.emit import Body, Module
from renderers.mandelbrot.simd.values import DOUBLE, I8, I32, I64, POINTER, Array, Type, Value, Variable

C_POINTER, C_INTEGER, C_DOUBLE = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "paint": (C_POINTER,) * 4 + (C_INTEGER,) * 2 + (C_DOUBLE,) * 3 + (C_INTEGER,),
    "index": (C_POINTER,) * 3 + (C_INTEGER,) * 2 + (C_DOUBLE,) * 3 + (C_INTEGER,),
    "sub_filter": (C_POINTER,) * 2 + (C_INTEGER,) * 2,
    "average": (C_POINTER,) * 2 + (C_INTEGER,) * 3,
    "average_light": light.ARGUMENTS,
    "derivative": derivative.ARGUMENTS,
}
BYTES_AT_ONCE = 64


def pixels_text(lanes: int, *, has_masks: bool) -> str:
    """IR of the functions of FUNCTIONS, for vectors of so many doubles."""
    module = Module(has_masks=has_masks)
    _write_paint(module, lanes)
    _write_index(module, lanes)
    _write_sub_filter(module)
    _write_average(module)
    light.write_average_light(module)
    derivative.write_derivative(module, lanes)
    return module.text()


SCALING = [("limit", DOUBLE), ("offset", DOUBLE), ("scale", DOUBLE), ("bands", I64)]


def _write_paint(module: Module, lanes: int) -> None:
    arguments = [("smooth", POINTER), ("counts", POINTER), ("colors", POINTER), ("out", POINTER)]
    with module.function("paint", [*arguments, ("rows", I64), ("cols", I64), *SCALING], I64, exported=True) as (
        body,
        given,
    ):
        smooth, counts = Array(body, given[0], "float"), Array(body, given[1], "i32")
        rows, cols = given[4:6]
        colors, out = _words(body, given[2]), Array(body, given[3], "i8")
        entries = body.array("i32", lanes)
        word = Variable(body, I32, 0)
        with body.counted(0, rows) as row:
            source, target = (rows - 1 - row) * cols, row * cols * CHANNELS
            unsafe = row.equals(rows - 1).to("i64", "zext")  # a word more than three bytes may not be written
            with body.counted(0, cols, lanes) as col:
                rest = body.smaller(cols - col, lanes)
                exist = body.sequence(Type("i64", lanes)) < rest
                values = [array.get_where(exist, source + col, 0) for array in (smooth, counts)]
                entries.set(0, _entries(body, values[0], values[1], given[6:], TABLE_SIZE))
                with body.counted(0, body.smaller(rest, cols - unsafe - col)) as k:
                    Array(body, out.at(target + (col + k) * CHANNELS), "i32").set(0, colors.get(entries.get(k)))
                word.set(colors.get(entries.get(rest - 1)))
        with body.when((rows * cols) > 0):
            for channel in range(CHANNELS):
                place = (rows * cols - 1) * CHANNELS + channel
                out.set(place, (word.get() >> 8 * channel).to("i8", "trunc"))
        body.give(body.value(I64, 0))


def _words(body: Body, address: Value) -> Array:
    """The table of colours with four bytes for each entry, which are read and written at once."""
    colors, words = Array(body, address, "i8"), body.array("i32", TABLE_SIZE + 1)
    with body.counted(0, TABLE_SIZE + 1) as entry:
        red, green, blue = (colors.get(entry * CHANNELS + channel).to("i32", "zext") for channel in range(CHANNELS))
        words.set(entry, red | (green << 8) | (blue << 16))
    return words


def _write_index(module: Module, lanes: int) -> None:
    arguments = [("smooth", POINTER), ("counts", POINTER), ("out", POINTER), ("rows", I64), ("cols", I64)]
    with module.function("index", [*arguments, *SCALING], I64, exported=True) as (body, given):
        smooth, counts = Array(body, given[0], "float"), Array(body, given[1], "i32")
        out, rows, cols = Array(body, given[2], "i8"), *given[3:5]
        entries = body.array("i8", lanes)
        with body.counted(0, rows) as row:
            source, target = (rows - 1 - row) * cols, row * cols
            whole = cols - cols % lanes
            with body.counted(0, whole, lanes) as col:
                values = smooth.get(source + col, lanes), counts.get(source + col, lanes)
                out.set(target + col, _entries(body, *values, given[5:], INDICES).to("i8", "trunc"))
            with body.when(whole < cols):
                exist = body.sequence(Type("i64", lanes)) < cols - whole
                parts = [array.get_where(exist, source + whole, 0) for array in (smooth, counts)]
                entries.set(0, _entries(body, parts[0], parts[1], given[5:], INDICES).to("i8", "trunc"))
                with body.counted(0, cols - whole) as k:
                    out.set(target + whole + k, entries.get(k))
        body.give(body.value(I64, 0))


def _entries(body: Body, smooth: Value, counts: Value, scaling: list[Value], size: int) -> Value:
    """Entries of a cycle of `size` colours at frac(offset + scale · value), or the interior's, which is the next."""
    limit, offset, scale, bands = scaling
    count = counts.to("double", "uitofp")
    value = (~bands.equals(0)).select(count, smooth.to("double", "fpext"))
    t = value * scale + offset
    place = (t - body.floor(t)) * float(size)
    place = (place < float(size)).select(place, 0.0)  # rounding can make a whole cycle; what is no number begins one
    return (count >= limit).select(size, place.to("i32", "fptosi"))


def _write_sub_filter(module: Module) -> None:
    arguments = [("rows", POINTER), ("out", POINTER), ("count", I64), ("width", I64)]
    with module.function("sub_filter", arguments, I64, exported=True) as (body, (given, made, count, width)):
        rows, out = Array(body, given, "i8"), Array(body, made, "i8")
        wide = width - (width - CHANNELS) % BYTES_AT_ONCE
        with body.counted(0, count) as row:
            source, target = row * width, row * (width + 1)
            out.set(target, body.value(I8, SUB_FILTER))
            for channel in range(CHANNELS):
                out.set(target + 1 + channel, rows.get(source + channel))
            for first, stop, lanes in ((body.value(I64, CHANNELS), wide, BYTES_AT_ONCE), (wide, width, 0)):
                with body.counted(first, stop, lanes or 1) as i:
                    left = rows.get(source + i - CHANNELS, lanes)
                    out.set(target + 1 + i, rows.get(source + i, lanes) - left)
        body.give(body.value(I64, 0))


def _write_average(module: Module) -> None:
    arguments = [("rows", POINTER), ("out", POINTER), ("height", I64), ("width", I64), ("factor", I64)]
    with module.function("average", arguments, I64, exported=True) as (body, (given, made, height, width, factor)):
        rows, out = Array(body, given, "i8"), Array(body, made, "i8")
        target = Variable(body, I64, 0)
        with body.counted(0, (height + (factor - 1)) // factor) as row:
            top = row * factor
            bottom = body.smaller(top + factor, height)
            with body.counted(0, (width + (factor - 1)) // factor) as col:
                left = col * factor
                right = body.smaller(left + factor, width)
                box = (top, bottom, left, right)
                for channel in range(CHANNELS):
                    out.set(target.get() + channel, _mean(body, rows, width, box, channel))
                target.set(target.get() + CHANNELS)
        body.give(body.value(I64, 0))


def _mean(body: Body, rows: Array, width: Value, box: tuple[Value, Value, Value, Value], channel: int) -> Value:
    """The rounded mean of one channel in a box."""
    top, bottom, left, right = box
    area = (bottom - top) * (right - left)
    total = Variable(body, I64, area // 2)
    with body.counted(top, bottom) as y:
        start = y * width
        with body.counted(left, right) as x:
            total.set(total.get() + rows.get((start + x) * CHANNELS + channel).to("i64", "zext"))
    return (total.get() // area).to("i8", "trunc")
