"""Tiles of a view, and the ways to make bytes of them. Each way gets values and gives what would be sent."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from PIL import Image

from benchmarks.whole.inputs import Input
from renderers.mandelbrot import encode
from renderers.mandelbrot.bundle import counts_format, smooth_format
from renderers.mandelbrot.kernel import View, render_tile
from renderers.mandelbrot.native import function
from renderers.mandelbrot.palette import Painter
from renderers.mandelbrot.tile import Counts, Smooth

INDEXED_8_BIT = (8, 3, 0, 0, 0)


@dataclass(frozen=True)
class Tile:
    """Values of one tile, and its picture: rows of RGB bytes."""

    counts: Counts
    smooth: Smooth
    picture: NDArray[np.uint8]

    @property
    def image(self) -> Image.Image:
        rows, width = self.picture.shape
        return Image.fromarray(self.picture.reshape(rows, width // 3, 3))


@dataclass(frozen=True)
class Scene:
    """Some tiles of a view, and what paints them."""

    view: Input
    painter: Painter
    tiles: list[Tile]

    @classmethod
    def of(cls, view: Input, numbers: range) -> Scene:
        lease = view.lease(("png", "counts", "smooth"))
        painter, tiles = Painter(lease.coloring, lease.limits.max_iter), []
        assert isinstance(lease.view, View)
        for number in numbers:
            window = lease.window(number)
            shape = (window.rows, window.cols)
            counts, smooth = np.empty(shape, np.uint32), np.empty(shape, np.float32)
            render_tile(lease.view, window, lease.limits, counts, smooth, np.zeros(1, np.uint8))
            tiles.append(Tile(counts, smooth, painter.paint(counts, smooth)))
        return cls(view, painter, tiles)


Way = Callable[[Scene, Tile], bytes]


def full_color(scene: Scene, tile: Tile) -> bytes:
    """What nodes do: paint, filter, deflate."""
    return encode.png(scene.painter.paint(tile.counts, tile.smooth))


def indexed(scene: Scene, tile: Tile) -> bytes:
    """One byte for each pixel, unfiltered."""
    rows, cols = tile.counts.shape
    lines = np.zeros((rows, cols + 1), np.uint8)
    flat = np.empty((rows, cols), np.uint8)
    pointers = (array.ctypes.data for array in (tile.smooth, tile.counts, flat))
    function("index")(*pointers, rows, cols, float(scene.view.max_iter), 0.0, 1.0 / 256.0, 0)
    lines[:, 1:] = flat
    header = struct.pack(">IIBBBBB", cols, rows, *INDEXED_8_BIT)
    parts = ((b"IHDR", header), (b"PLTE", bytes(768)), (b"IDAT", isal_zlib.compress(lines, 1)), (b"IEND", b""))
    return encode.PNG_SIGNATURE + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def strip(_: Scene, tile: Tile) -> bytes:
    """Filter and deflate, as part of a whole row of tiles."""
    return encode.strip(tile.picture)[0]


def counts(scene: Scene, tile: Tile) -> bytes:
    form = counts_format(scene.view.max_iter)
    return encode.pack(tile.counts.astype(form["dtype"]), shuffle=form["shuffle"])


def smooth(_: Scene, tile: Tile) -> bytes:
    return encode.pack(tile.smooth, shuffle=smooth_format()["shuffle"])


def deflated(level: int) -> Way:
    """Our filter, and zlib."""

    def way(_: Scene, tile: Tile) -> bytes:
        rows, width = tile.picture.shape
        lines = np.empty((rows, width + 1), np.uint8)
        function("sub_filter")(tile.picture.ctypes.data, lines.ctypes.data, rows, width)
        return zlib.compress(lines.data, level)

    return way


def pillow(kind: str, **options: Any) -> Way:
    def way(_: Scene, tile: Tile) -> bytes:
        file = io.BytesIO()
        tile.image.save(file, kind, **options)
        return file.getvalue()

    return way


WAYS: dict[str, Way] = {
    "full colour, painted too": full_color,
    "indexed, mapped too": indexed,
    "strip of a row": strip,
    "counts": counts,
    "smooth values": smooth,
    "Sub filter + zlib 1": deflated(1),
    "Sub filter + zlib 6": deflated(6),
    "Pillow PNG 1": pillow("PNG", compress_level=1),
    "Pillow PNG 6": pillow("PNG", compress_level=6),
    "Pillow WebP lossless": pillow("WEBP", lossless=True, quality=0, method=0),
    "Pillow WebP 90": pillow("WEBP", quality=90, method=0),
    "Pillow JPEG 85": pillow("JPEG", quality=85),
}
