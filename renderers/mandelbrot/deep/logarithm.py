"""log2 written as instructions: the library's is not the same on every machine."""

from renderers.mandelbrot.deep.emission import DOUBLE, INTEGER, Value

SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
MANTISSA_BITS = 52
TWO_OVER_LN2 = 2.8853900817779268


def log2(value: Value) -> Value:
    """log2 of a positive, normal double to 1e-11: 2 artanh((m - 1) / (m + 1)) / ln 2 with m from √½ to √2."""
    code = value.code
    bits = code.convert("bitcast", value, INTEGER)
    exponent = (bits - SQRT_HALF_BITS) >> MANTISSA_BITS
    mantissa = code.convert("bitcast", bits - (exponent << MANTISSA_BITS), DOUBLE)
    r = (mantissa - 1.0) / (mantissa + 1.0)
    r2 = r * r
    series = code.constant(DOUBLE, 1 / 11)
    for divisor in (9, 7, 5, 3, 1):
        series = series * r2 + 1 / divisor
    return code.convert("sitofp", exponent, DOUBLE) + r * series * TWO_OVER_LN2
