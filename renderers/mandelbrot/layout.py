"""Numbers that all paths of the kernel and of painting agree on."""

import math

TABLE_SIZE = 4096  # colours of one cycle, a power of two; one more entry is the interior's
INDICES = 255  # the same for pictures of one byte per pixel
CHANNELS = 3
SUB_FILTER = 1  # the type of a PNG row whose bytes are differences to the pixel on the left

FAR = 1e10  # |z|² at which the smooth value is taken: closer to its limit than float32 can tell
FURTHER = 12.0  # steps in which an escaped orbit is expected to get there
LARGEST = 1.7976931348623157e308  # what a |z|² that overflowed counts as

# log2 of a double of 1 and more: exponent and mantissa m in [√½, √2), then 2/ln2 · artanh(r) with r = (m - 1)/(m + 1).
SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
MANTISSA_BITS = 52
TWO_OVER_LN2 = 2.8853900817779268
SERIES = (1 / 11, 1 / 9, 1 / 7, 1 / 5, 1 / 3, 1.0)


def logarithm_factor(power: int) -> float:
    """Turns log2 into the logarithm to the base `power`."""
    return 1.0 / math.log2(power)
