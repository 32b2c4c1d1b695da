"""Colours for values: the same table and lookup as nodes have, so that a picture does not show where it was painted.

t = frac(offset + scale · value / cycle) is looked up in a table of TABLE_SIZE colours; points inside have one of their
own. A histogram's value is the share of all outside points with a lower value, and runs through the table once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrm.results.png import Bytes

TABLE_SIZE = 4096
FINE_TABLE_SIZE = 2**16
Table = NDArray[np.uint32]
Values = NDArray[Any]


def color_table(look: Mapping[str, Any]) -> Table:
    """TABLE_SIZE colours and the interior's, red in the lowest byte."""
    rgb = np.concatenate((np.rint(gradient(look, TABLE_SIZE)), [_rgb(look["interior"])])).astype(np.uint32)
    table: Table = rgb[:, 0] + rgb[:, 1] * np.uint32(2**8) + rgb[:, 2] * np.uint32(2**16)
    return table


def gradient(look: Mapping[str, Any], size: int) -> NDArray[np.float64]:
    """`size` colours of one cycle (size, 3), from 0 to 255; the last stop leads on to the first."""
    stops: Sequence[tuple[float, str]] = look["stops"]
    positions = np.array([position for position, _ in stops])
    channels = np.array([_rgb(color) for _, color in stops], np.float64)
    positions = np.concatenate(([positions[-1] - 1.0], positions, [positions[0] + 1.0]))
    channels = np.concatenate((channels[-1:], channels, channels[:1]))
    t = np.arange(size) / size
    right = np.clip(np.searchsorted(positions, t, side="right"), 1, len(positions) - 1)
    width = positions[right] - positions[right - 1]
    mix = np.divide(t - positions[right - 1], width, out=np.zeros_like(t), where=width > 0)
    if look["interpolation"] == "cosine":
        mix = (1.0 - np.cos(math.pi * mix)) / 2.0
    mixed: NDArray[np.float64] = channels[right - 1] * (1.0 - mix[:, None]) + channels[right] * mix[:, None]
    return mixed


def _rgb(color: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(color.removeprefix("#"))
    return red, green, blue


def entries(t: Values) -> Values:
    """Places in the table of t, which may lie outside a cycle."""
    t -= np.floor(t)
    t *= TABLE_SIZE
    found: Values = t.astype(np.uint16)
    found &= TABLE_SIZE - 1
    return found


def painter(look: Mapping[str, Any], shares: Callable[[Values], Values] | None) -> Callable[[Values, Values], Bytes]:
    """Paints (values, which of them are inside) as pixels (height, width, 3); `shares` are those of a histogram."""
    table, offset = color_table(look), float(look["offset"])
    scale = float(look["scale"]) if shares else float(look["scale"]) / float(look["cycle"])

    def paint(values: Values, inside: Values) -> Bytes:
        t = shares(values) if shares else values.astype(np.float64)
        t *= scale
        t += offset
        places = entries(t)
        places[inside] = TABLE_SIZE
        packed = np.take(table, places).astype("<u4", copy=False)
        pixels: Bytes = packed.view(np.uint8).reshape(*values.shape, 4)[..., :3]
        return np.ascontiguousarray(pixels)

    return paint


def fine_painter(look: Mapping[str, Any]) -> Callable[[Values, Values], NDArray[np.uint16]]:
    """Paints smooth values as (height, width, 3) with 16 bits a channel: slow changes of colour show no steps."""
    colors = np.concatenate((gradient(look, FINE_TABLE_SIZE), [_rgb(look["interior"])]))
    table = np.rint(colors * (0xFFFF / 0xFF)).astype(np.uint16)
    offset, scale = float(look["offset"]), float(look["scale"]) / float(look["cycle"])

    def paint(values: Values, inside: Values) -> NDArray[np.uint16]:
        t = values.astype(np.float64) * scale + offset
        places = ((t - np.floor(t)) * FINE_TABLE_SIZE).astype(np.int32) & (FINE_TABLE_SIZE - 1)
        places[inside] = FINE_TABLE_SIZE
        pixels: NDArray[np.uint16] = table[places]
        return pixels

    return paint
