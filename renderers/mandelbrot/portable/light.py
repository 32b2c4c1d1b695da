"""The mean light of boxes of pixels, in numpy."""

import numpy as np

from renderers.mandelbrot.layout import CHANNELS
from renderers.mandelbrot.portable.memory import array_at


def average_light(rows: int, light: int, levels: int, out: int, height: int, width: int, factor: int) -> int:  # noqa: PLR0917
    """Each of height x width pixels has the mean light, rounded, of a box of factor x factor pixels of `rows`.

    `light` has 16 bits, in 32, for each of 256 levels; `levels` the level of each of 65536 amounts of light.
    """
    boxes = array_at(rows, np.uint8, height, factor, width * factor * CHANNELS)
    lines = np.take(array_at(light, np.uint32, 2**8), boxes).sum(axis=1, dtype=np.uint32)
    total = lines.reshape(height, width, factor, CHANNELS).sum(axis=2, dtype=np.uint32)
    area = factor * factor
    mean = (total + area // 2) // area
    array_at(out, np.uint8, height, width, CHANNELS)[:] = np.take(array_at(levels, np.uint8, 2**16), mean)
    return 0
