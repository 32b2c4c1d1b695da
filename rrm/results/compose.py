"""Composing: from a job's accepted ranges to image.png, counts.npy and smooth.npy, and, when asked, the pyramid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

from rrm.domain.tiling import TileGrid
from rrm.results.arrays import COMPOSED
from rrm.results.layout import JobFiles, drafted
from rrm.results.npy import write_array
from rrm.results.picture import in_order, write_picture
from rrm.results.pyramid import PyramidBuilder, Shape
from rrm.results.shelf import RangeFile, Shelf, Slab, slabs

# how many steps are done, of how many
Progress = Callable[[int, int], None]
_RGB_BYTES = 3


@dataclass(frozen=True, slots=True)
class ComposePlan:
    """What to compose. `outputs` of png, counts, smooth; `metadata` is JSON-able and goes into image.png.

    The picture is made whenever the ranges hold full-size pictures, even unasked: pages show it. `pictures` are the
    ranges that hold them where those with the numbers do not.
    """

    grid: TileGrid
    outputs: frozenset[str]
    ranges: tuple[RangeFile, ...]
    metadata: Mapping[str, object] = field(default_factory=dict)
    pictures: tuple[RangeFile, ...] | None = None


def compose(
    files: JobFiles, plan: ComposePlan, *, threads: int = 2, progress: Progress = lambda done, total: None
) -> frozenset[str]:
    """Write the results; say which there are: image, counts, smooth. All take their names at the end.

    NotReady if a tile is missing; CorruptRange (a BadBundle) with the range file that must be rendered again. Whatever
    `progress` raises stops the work. Nothing is left behind by a failure, and running twice or twice at once is safe.
    Memory: about threads + 2 slabs.
    """
    pictures = Shelf(plan.grid, plan.ranges if plan.pictures is None else plan.pictures)
    picture = "png" in plan.outputs or pictures.is_pictured
    kinds = [kind for kind in COMPOSED if kind in plan.outputs]
    from_top = picture_slabs(plan.grid) if picture else []
    cuts = {kind: _cuts(plan.grid, COMPOSED[kind].itemsize) for kind in kinds}
    step = _Steps(len(from_top) + sum(map(len, cuts.values())), progress).step
    with ExitStack() as drafts:
        if picture:
            image = drafts.enter_context(drafted(files.image))
            write_picture(pictures, from_top, image, plan.metadata, threads, step)
        numbers = Shelf(plan.grid, plan.ranges) if kinds and plan.pictures is not None else pictures
        for kind in kinds:
            write_array(numbers, kind, cuts[kind], drafts.enter_context(drafted(files.array(kind))), threads, step)
    return frozenset([*kinds, "image"] if picture else kinds)


def compose_pyramid(files: JobFiles, grid: TileGrid, ranges: Sequence[RangeFile], *, threads: int = 2) -> None:
    """Write the pyramid. Errors and promises as for `compose`.

    Memory: about threads + 2 slabs, and the pyramid's pending rows, 4 MB for each 1000 pixels of width.
    """
    shelf = Shelf(grid, ranges)
    with drafted(files.pyramid) as root, ThreadPoolExecutor(threads) as pool:
        builder = PyramidBuilder(root, Shape(grid), pool)
        for pixels in in_order(pool, shelf.pixels, picture_slabs(grid), ahead=threads):
            builder.add(pixels)


def picture_slabs(grid: TileGrid) -> list[Slab]:
    """The whole picture in slabs of whole strips, from the top down."""
    rows = reversed(range(grid.rows))
    return [slab for row in rows for slab in slabs(grid, row, _RGB_BYTES, grid.strip_lines)]


def _cuts(grid: TileGrid, pixel_bytes: int) -> list[Slab]:
    return [slab for row in range(grid.rows) for slab in slabs(grid, row, pixel_bytes)]


class _Steps:
    def __init__(self, total: int, progress: Progress) -> None:
        self._total, self._progress, self._done = total, progress, 0

    def step(self) -> None:
        self._done += 1
        self._progress(self._done, self._total)
