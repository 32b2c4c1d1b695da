"""A base-two logarithm that the compiler can vectorise: the library's is a call per value."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from renderers.mandelbrot.jit import compiled

SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
MANTISSA_BITS = 52
TWO_OVER_LN2 = 2.8853900817779268


@intrinsic
def _bits(typing_context: Any, value: Any) -> Any:
    """The bits of a double as a signed 64-bit integer."""

    def cast(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), cast


@intrinsic
def _double(typing_context: Any, bits: Any) -> Any:
    """The double that has these 64 bits."""

    def cast(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), cast


@compiled
def log2(value: float) -> float:
    """log2 of a positive, normal double with relative error below 1e-11: exponent plus a series in (m - 1)/(m + 1)."""
    bits = _bits(value)
    exponent = (bits - SQRT_HALF_BITS) >> MANTISSA_BITS
    mantissa = _double(bits - (exponent << MANTISSA_BITS))
    r = (mantissa - 1.0) / (mantissa + 1.0)
    r2 = r * r
    series = 1.0 + r2 * (1 / 3 + r2 * (1 / 5 + r2 * (1 / 7 + r2 * (1 / 9 + r2 * (1 / 11)))))
    return exponent + TWO_OVER_LN2 * r * series
