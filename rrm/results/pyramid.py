"""The zoomable picture: a Deep Zoom pyramid built from rows of pixels as they come, in bounded memory.

Level 0 is one pixel; the last level, ceil(log2(longer side)), is the whole picture; each level is the box average of
the next, its sides halved and rounded up. Tiles are TILE_SIZE square without overlap, named <level>/<column>_<row>.png.
Format: the Deep Zoom image schema (http://schemas.microsoft.com/deepzoom/2008).
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path

import numpy as np

from rrm.results import png
from rrm.results.png import Bytes

TILE_SIZE = 512


def dzi_xml(width: int, height: int) -> str:
    """The descriptor of the pyramid of a width x height picture."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<Image xmlns="http://schemas.microsoft.com/deepzoom/2008" '
        f'Format="png" Overlap="0" TileSize="{TILE_SIZE}"><Size Width="{width}" Height="{height}"/></Image>\n'
    )


def top_level(width: int, height: int) -> int:
    return (max(width, height) - 1).bit_length()


@dataclass
class Level:
    """One level being filled from the top: `pending` rows have arrived and belong to no written tile yet."""

    number: int
    folder: Path
    width: int
    height: int
    arrived: int
    pending: list[Bytes]

    @classmethod
    def create(cls, root: Path, number: int, width: int, height: int) -> Level:
        folder = root / str(number)
        folder.mkdir(parents=True)
        return cls(number, folder, width, height, 0, [])

    def add(self, rows: Bytes) -> Iterator[tuple[int, list[Bytes]]]:
        """Take rows (n, width, 3); yield (tile row, its pixels in blocks) for each row of tiles that is now whole."""
        while len(rows):
            room = TILE_SIZE - self.arrived % TILE_SIZE
            self.pending.append(rows[:room])
            self.arrived += len(rows[:room])
            rows = rows[room:]
            if self.arrived % TILE_SIZE == 0 or self.arrived == self.height:
                blocks, self.pending = self.pending, []
                yield (self.arrived - 1) // TILE_SIZE, blocks


class PyramidBuilder:
    """Writes all levels below `root` as rows arrive from the top; the tiles of a row are made in parallel."""

    def __init__(self, root: Path, width: int, height: int, pool: Executor) -> None:
        self._pool = pool
        top = top_level(width, height)
        sizes = {number: 1 << (top - number) for number in range(top + 1)}
        self._levels = [
            Level.create(root, number, ceil(width / scale), ceil(height / scale)) for number, scale in sizes.items()
        ]

    def add(self, rows: Bytes) -> None:
        """Take the next rows of the picture, uint8 (n, width, 3). They may be kept until the next calls."""
        self._add(len(self._levels) - 1, rows)

    def _add(self, number: int, rows: Bytes) -> None:
        level = self._levels[number]
        for tile_row, blocks in level.add(rows):
            halved = np.empty((ceil(sum(map(len, blocks)) / 2), ceil(level.width / 2), 3), np.uint8)
            make = partial(_make_tile, level, tile_row, blocks, halved)
            for _ in self._pool.map(make, range(ceil(level.width / TILE_SIZE))):
                pass
            if number:
                self._add(number - 1, halved)


def _make_tile(level: Level, row: int, blocks: list[Bytes], halved: Bytes, col: int) -> None:
    """Write one tile, and its half-size copy into its place in the rows of the next level."""
    left = col * TILE_SIZE
    pixels = np.concatenate([block[:, left : left + TILE_SIZE] for block in blocks])
    (level.folder / f"{col}_{row}.png").write_bytes(png.encode(pixels))
    if level.number:
        half = halve(pixels)
        halved[:, left // 2 : left // 2 + half.shape[1]] = half


def halve(pixels: Bytes) -> Bytes:
    """The box average of each 2 x 2 pixels, rounded half up; at an odd edge, of those that exist."""
    height, width, _ = pixels.shape
    if height % 2 or width % 2:
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    height, width, _ = pixels.shape
    flat = pixels.reshape(height, 3 * width)
    pairs = np.add(flat[0::2], flat[1::2], dtype=np.uint16).reshape(-1, 6)
    # one channel at a time: long strided runs, where a last axis of length three would cost a loop for each pixel
    sums = np.empty((len(pairs), 3), np.uint16)
    for channel in range(3):
        np.add(pairs[:, channel], pairs[:, channel + 3], out=sums[:, channel])
    sums += 2
    sums >>= 2
    return sums.astype(np.uint8).reshape(height // 2, width // 2, 3)
