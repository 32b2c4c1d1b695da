"""Arithmetic on light: sRGB levels are no amounts of it, and averages of levels would darken fine bright lines.

sRGB to light and back: IEC 61966-2-1. Light is kept in 16 bits, where neighbouring levels are 20 apart at least, so
that a level comes back as it was.
"""

import numpy as np
from numpy.typing import NDArray

from renderers.mandelbrot.layout import CHANNELS
from renderers.mandelbrot.native import function
from renderers.mandelbrot.palette import Bytes

Light = NDArray[np.uint32]

BRIGHTEST = 65535


def _light_of_levels() -> Light:
    level = np.arange(256) / 255
    light = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    amounts: Light = np.rint(BRIGHTEST * light).astype(np.uint32)
    return amounts


def _levels_of_light() -> Bytes:
    light = np.arange(BRIGHTEST + 1) / BRIGHTEST
    level = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    levels: Bytes = np.rint(255 * level).astype(np.uint8)
    return levels


LIGHT, LEVELS = _light_of_levels(), _levels_of_light()


def averaged(picture: Bytes, factor: int) -> Bytes:
    """A picture (factor·h x 3·factor·w) reduced to (h x 3·w): each pixel has the mean light of its box."""
    height, width = picture.shape[0] // factor, picture.shape[1] // (CHANNELS * factor)
    reduced = np.empty((height, width * CHANNELS), np.uint8)
    pointers = (array.ctypes.data for array in (picture, LIGHT, LEVELS, reduced))
    function("average_light")(*pointers, height, width, factor)
    return reduced


def dimmed(picture: Bytes, brightness: NDArray[np.float32]) -> Bytes:
    """Each pixel with its light multiplied by its brightness (h x w, 0 to 1), both in the order of the picture."""
    height, width = brightness.shape
    light = np.take(LIGHT, picture).reshape(height, width, CHANNELS) * brightness[:, :, None]
    levels: Bytes = np.take(LEVELS, np.rint(light).astype(np.uint16))
    return levels.reshape(height, width * CHANNELS)
