"""Strips: whole rows of tiles, painted tile by tile and encoded as full-width lines of the picture.

The manager joins such rows without inflating them. A strip is about STRIP_BYTES of scanlines, counted from the top of
the row of tiles, and is an IDAT chunk of the picture: Sub-filtered, raw deflate ended by a sync flush.
"""

import math
import threading

import numpy as np

from renderers.lease import Lease
from renderers.mandelbrot.bundle import RowStrips
from renderers.mandelbrot.encode import strip
from renderers.mandelbrot.layout import CHANNELS
from renderers.mandelbrot.palette import Bytes

STRIP_BYTES = 2**19  # filtering and deflating so much stays in a core's second-level cache


class RowPicture:
    """The picture of one row of tiles in the making. Tiles may come from several threads."""

    def __init__(self, row: int, lines: int, width: int, tiles: int) -> None:
        self.row = row
        self._shape = (lines, CHANNELS * width)
        self._missing = tiles
        self._lock = threading.Lock()
        self._pixels: Bytes | None = None

    def place(self, col0: int, picture: Bytes) -> RowStrips | None:
        """Put in the picture of a tile, whose first column is `col0`; the last tile gets the row's strips."""
        with self._lock:
            if self._pixels is None:  # not before: rows that are through leave their memory to those that begin
                self._pixels = np.empty(self._shape, np.uint8)
            pixels = self._pixels
        pixels[:, CHANNELS * col0 : CHANNELS * col0 + picture.shape[1]] = picture
        with self._lock:
            self._missing -= 1
            if self._missing:
                return None
            self._pixels = None
        step = max(1, STRIP_BYTES // (1 + self._shape[1]))
        return RowStrips(self.row, tuple(strip(pixels[top : top + step]) for top in range(0, len(pixels), step)))


def whole_rows(lease: Lease) -> dict[int, RowPicture]:
    """The rows of tiles that are sent as strips: those whole in the lease, where previews show the single tiles."""
    if lease.preview_scale == 1 or "png" not in lease.outputs:
        return {}
    first = math.ceil(lease.start / lease.tile_cols)
    rows = range(first, min(lease.stop // lease.tile_cols, math.ceil(lease.height / lease.tile_size)))
    return {row: RowPicture(row, _lines(lease, row), lease.width, lease.tile_cols) for row in rows}


def _lines(lease: Lease, row: int) -> int:
    return min(lease.tile_size, lease.height - row * lease.tile_size)
