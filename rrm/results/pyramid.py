"""The zoomable picture: a Deep Zoom pyramid built from rows of pixels as they come, in bounded memory.

Level 0 is one pixel; the last level, ceil(log2(longer side)), is the whole picture; each level is the box average of
the next, its sides halved and rounded up. Tiles are square without overlap, named <level>/<column>_<row>.png. Where the
tiles of the last level are the job's own, they are not written again: whoever serves the pyramid takes them from there.
Format: the Deep Zoom image schema (http://schemas.microsoft.com/deepzoom/2008).
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from pathlib import Path

import numpy as np

from rrm.domain.tiling import TileGrid
from rrm.results import png
from rrm.results.png import Bytes

TILE_SIZE = 512
_ROWS_AT_ONCE = 16  # so that a part stays in a core's cache
_LEAST_SHARED = 128  # smaller tiles would make too many files of the other levels


@dataclass(frozen=True, slots=True)
class Shape:
    """The tiling of the pyramid of a job's picture; `shares_top` when its last level consists of the job's tiles."""

    grid: TileGrid

    @property
    def shares_top(self) -> bool:
        """Job tiles count from the lowest row, pyramid tiles from the top: they agree if no row of tiles is partial."""
        grid = self.grid
        is_aligned = grid.rows == 1 or grid.height % grid.tile_size == 0
        return is_aligned and grid.tile_size >= _LEAST_SHARED and grid.tile_size % 2 == 0

    @property
    def tile_size(self) -> int:
        return self.grid.tile_size if self.shares_top else TILE_SIZE

    @property
    def top(self) -> int:
        """The number of the last level."""
        return (max(self.grid.width, self.grid.height) - 1).bit_length()

    def job_tile(self, level: int, col: int, row: int) -> int | None:
        """The job's tile that this pyramid tile is; None if it is a file of its own or there is no such tile."""
        grid = self.grid
        if not self.shares_top or level != self.top or col >= grid.cols or row >= grid.rows:
            return None
        return (grid.rows - 1 - row) * grid.cols + col

    def has(self, level: int, col: int, row: int) -> bool:
        """Whether there is such a tile."""
        if not 0 <= level <= self.top:
            return False
        size = self.tile_size << (self.top - level)
        return 0 <= col * size < self.grid.width and 0 <= row * size < self.grid.height

    def dzi_xml(self) -> str:
        """The descriptor."""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<Image xmlns="http://schemas.microsoft.com/deepzoom/2008" '
            f'Format="png" Overlap="0" TileSize="{self.tile_size}">'
            f'<Size Width="{self.grid.width}" Height="{self.grid.height}"/></Image>\n'
        )


@dataclass
class Level:
    """One level being filled from the top: `pending` rows have arrived and belong to no written tile yet."""

    number: int
    folder: Path
    width: int
    height: int
    tile_size: int
    is_written: bool
    arrived: int = 0
    pending: list[Bytes] = field(default_factory=list)

    @classmethod
    def create(cls, root: Path, number: int, shape: Shape) -> Level:
        is_written = number < shape.top or not shape.shares_top
        folder, scale = root / str(number), 1 << (shape.top - number)
        if is_written:
            folder.mkdir(parents=True)
        width, height = ceil(shape.grid.width / scale), ceil(shape.grid.height / scale)
        return cls(number, folder, width, height, shape.tile_size, is_written)

    def add(self, rows: Bytes) -> Iterator[tuple[int, list[Bytes]]]:
        """Take rows (n, width, 3); yield (tile row, its pixels in blocks) for each row of tiles that is now whole."""
        while len(rows):
            room = self.tile_size - self.arrived % self.tile_size
            self.pending.append(rows[:room])
            self.arrived += len(rows[:room])
            rows = rows[room:]
            if self.arrived % self.tile_size == 0 or self.arrived == self.height:
                blocks, self.pending = self.pending, []
                yield (self.arrived - 1) // self.tile_size, blocks


class PyramidBuilder:
    """Writes all levels below `root` as rows arrive from the top; the tiles of a row are made in parallel."""

    def __init__(self, root: Path, shape: Shape, pool: Executor) -> None:
        self._pool = pool
        root.mkdir(parents=True, exist_ok=True)
        self._levels = [Level.create(root, number, shape) for number in range(shape.top + 1)]

    def add(self, rows: Bytes) -> None:
        """Take the next rows of the picture, uint8 (n, width, 3). They may be kept until the next calls."""
        self._add(len(self._levels) - 1, rows)

    def _add(self, number: int, rows: Bytes) -> None:
        level = self._levels[number]
        for tile_row, blocks in level.add(rows):
            halved = np.empty((ceil(sum(map(len, blocks)) / 2), ceil(level.width / 2), 3), np.uint8)
            if level.is_written:
                make = partial(_make_tile, level, tile_row, blocks, halved)
                parts = range(ceil(level.width / level.tile_size))
            else:
                make = partial(_halve_rows, blocks[0] if len(blocks) == 1 else np.concatenate(blocks), halved)
                parts = range(0, len(halved), _ROWS_AT_ONCE)
            for _ in self._pool.map(make, parts):
                pass
            if number:
                self._add(number - 1, halved)


def _make_tile(level: Level, row: int, blocks: list[Bytes], halved: Bytes, col: int) -> None:
    """Write one tile, and its half-size copy into its place in the rows of the next level."""
    left = col * level.tile_size
    pixels = np.concatenate([block[:, left : left + level.tile_size] for block in blocks])
    if level.is_written:
        (level.folder / f"{col}_{row}.png").write_bytes(png.encode(pixels))
    if level.number:
        half = halve(pixels)
        halved[:, left // 2 : left // 2 + half.shape[1]] = half


def _halve_rows(pixels: Bytes, halved: Bytes, first: int) -> None:
    """Fill some rows of the next level from whole rows of one that is not written."""
    if halved.size:
        part = pixels[2 * first : 2 * (first + _ROWS_AT_ONCE)]
        halved[first : first + _ROWS_AT_ONCE] = halve(part)


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
