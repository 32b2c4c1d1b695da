"""How an image is cut: tiles, equal shares for sites, ranges sized in time, and the reduction of previews.

Tile index = row * cols + col; row 0 holds the lowest y and col 0 the lowest x, as data arrays do.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

PREVIEW_SIDE = 2048
TILE, LARGE_TILE = 256, 512
LARGE_PIXELS = 2**26
STRIP_BYTES = 2**19
"""About so many bytes of scanlines make a strip: filtering and deflating it stays in a core's second-level cache."""

LEAST_SECONDS = 0.05
"""A range that is less work than this costs more to hand over than it helps to balance the end of a job."""
ALONE_SECONDS = 0.15
"""The same for a node that is alone: there is nobody to balance with, unless another one comes just now."""

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of pixels in data order: first row and column, and how many of each."""

    row0: int
    col0: int
    rows: int
    cols: int

    @property
    def pixels(self) -> int:
        return self.rows * self.cols


@dataclass(frozen=True, slots=True)
class TileGrid:
    """The tiles of a `width` x `height` image; those at the far edges may be smaller."""

    width: int
    height: int
    tile_size: int

    def __post_init__(self) -> None:
        if min(self.width, self.height, self.tile_size) < 1:
            raise ValueError(f"no tiles in {self.width} x {self.height} by {self.tile_size}")

    @property
    def cols(self) -> int:
        return math.ceil(self.width / self.tile_size)

    @property
    def rows(self) -> int:
        return math.ceil(self.height / self.tile_size)

    @property
    def tiles(self) -> int:
        return self.rows * self.cols

    def box(self, tile: int) -> Box:
        """The pixels of tile number `tile`. Raises IndexError outside the grid."""
        if not 0 <= tile < self.tiles:
            raise IndexError(f"tile {tile} of {self.tiles}")
        row, col = divmod(tile, self.cols)
        row0, col0 = row * self.tile_size, col * self.tile_size
        return Box(row0, col0, min(self.tile_size, self.height - row0), min(self.tile_size, self.width - col0))

    def whole_rows(self, start: int, stop: int) -> range:
        """The rows of tiles that lie completely in tiles `start` up to, not including, `stop`."""
        first = math.ceil(start / self.cols)
        return range(first, max(first, stop // self.cols))

    @property
    def strip_lines(self) -> int:
        """How many lines of a whole row of tiles make a strip of the picture, counted from the row's top."""
        return max(1, STRIP_BYTES // (1 + 3 * self.width))


def shares(tiles: int, parts: int) -> tuple[Range, ...]:
    """`parts` contiguous ranges that cover 0…`tiles`, equal within one tile; empty ones left out."""
    if parts < 1:
        raise ValueError(f"cannot cut into {parts} parts")
    cuts = [tiles * part // parts for part in range(parts + 1)]
    return tuple((start, stop) for start, stop in itertools.pairwise(cuts) if start < stop)


def default_tile_size(width: int, height: int) -> int:
    """Of an order that names none. Each tile costs the manager and the node some time whatever its size."""
    return LARGE_TILE if width * height >= LARGE_PIXELS else TILE


def preview_scale(width: int, height: int) -> int:
    """The smallest power of two that reduces the longer side to at most PREVIEW_SIDE pixels."""
    scale = 1
    while math.ceil(max(width, height) / scale) > PREVIEW_SIDE:
        scale *= 2
    return scale


def range_size(
    *, remaining: int, nodes: int, cores: int, tile_pixels: int, pixel_seconds: float | None, target_seconds: float
) -> int:
    """How many tiles one lease takes: `target_seconds` of this node's measured speed on this model.

    A node that has not been measured gets one tile for each core. Never more than remaining / (2 * nodes), so that
    the tail stays balanced; or up to twice as much when that is less work than LEAST_SECONDS, and anything to a node
    that is alone when that is less work than ALONE_SECONDS; and one tile at least. `pixel_seconds` is wall seconds
    per pixel with all cores at work.
    """
    if remaining < 1:
        raise ValueError("nothing remains to be leased")
    fair = remaining // (2 * max(nodes, 1))
    if pixel_seconds is None:
        return max(1, min(cores, fair))
    tile_seconds = max(tile_pixels * pixel_seconds, 1e-9)
    least_seconds = LEAST_SECONDS if nodes > 1 else ALONE_SECONDS
    wanted, least = (int(min(remaining, seconds / tile_seconds)) for seconds in (target_seconds, least_seconds))
    return max(1, min(wanted, max(fair, least if nodes < 2 else min(least, 2 * fair))))


def end_of_range(start: int, size: int, most: int, cols: int) -> int:
    """Where a range of about `size` tiles ends: with a row of `cols` tiles if it is half a row or longer.

    Rows that are whole cost the manager least to join. Never more than `most` tiles.
    """
    if 2 * size < cols:
        return start + size
    aligned = (start + size + cols // 2) // cols * cols
    if aligned - start > most:
        aligned -= cols
    return aligned if aligned > start else start + size


def samples(pixels: int, supersample: int, *, adaptive: bool) -> int:
    """About how many points are computed for so many pixels; how many an adaptive picture needs is not known before."""
    return pixels if adaptive else pixels * supersample**2


def halve(start: int, stop: int) -> tuple[Range, ...]:
    """The two halves of a range that failed, so that a tile that poisons it is found; one tile stays whole."""
    if stop - start < 2:
        return ((start, stop),)
    middle = (start + stop + 1) // 2
    return ((start, middle), (middle, stop))
