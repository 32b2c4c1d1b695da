"""What a renderer node packs is what the manager accepts: the two share the format, not code."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from renderers.lease import parse_lease
from renderers.mandelbrot import bundle as node
from renderers.mandelbrot import encode
from renderers.mandelbrot.strips import whole_rows
from rrm.domain.tiling import TileGrid
from rrm.results.bundle import tile_array
from rrm.results.checks import Expected, check
from rrm.results.compose import ComposePlan, compose
from rrm.results.layout import JobFiles
from rrm.results.shelf import RangeFile
from tests.unit.renderers.manager_server import lease_document
from tests.unit.results.test_compose import pixels
from tests.unit.results.writer import Scene

GRID, OUTPUTS = TileGrid(90, 70, 32), frozenset({"png", "counts", "smooth"})


@pytest.mark.parametrize("max_iter", [900, 70_000])
@pytest.mark.parametrize("scale", [1, 2])
def test_a_bundle_packed_by_a_node_is_accepted_and_composed(tmp_path: Path, max_iter: int, scale: int) -> None:
    scene, files = Scene(90, 70, 32, max_iter=max_iter), JobFiles(tmp_path, "job")
    ranges = sent(files, scene, scale, [4])
    np.testing.assert_array_equal(tile_array(ranges[1].path, 5, "counts", GRID), scene.counts[scene.box(5)])
    compose(files, ComposePlan(GRID, OUTPUTS, ranges))
    np.testing.assert_array_equal(pixels(files.image), scene.pixels)
    np.testing.assert_array_equal(np.load(files.counts), scene.counts)
    np.testing.assert_array_equal(np.load(files.smooth), scene.smooth)


def test_a_picture_has_the_same_bytes_however_its_ranges_were_cut(tmp_path: Path) -> None:
    scene, found = Scene(90, 70, 32), set()
    for number, cuts in enumerate([[], [3, 6], [4], [1, 4, 7], [2, 5, 8]]):
        files = JobFiles(tmp_path, f"job-{number}")
        compose(files, ComposePlan(GRID, OUTPUTS, sent(files, scene, 2, cuts)))
        found.add(files.image.read_bytes())
    assert len(found) == 1


def sent(files: JobFiles, scene: Scene, scale: int, cuts: list[int]) -> tuple[RangeFile, ...]:
    """The ranges between `cuts`, packed as a node does it, and accepted."""
    files.ranges.mkdir(parents=True)
    ranges = []
    for start, stop in pairwise([0, *cuts, scene.tiles]):
        path = files.range(f"lease-{start}")
        path.write_bytes(packed(scene, path.stem, start, stop, scale))
        check(path, Expected(path.stem, start, stop, GRID, OUTPUTS, scale, scene.max_iter))
        ranges.append(RangeFile(start, stop, path))
    return tuple(ranges)


def packed(scene: Scene, lease: str, start: int, stop: int, scale: int) -> bytes:
    document = lease_document(lease, start=start, stop=stop, width=90, height=70, tile_cols=3, preview_scale=scale)
    pictures = whole_rows(parse_lease(document))
    results, rows = [], []
    for tile in range(start, stop):
        found = parts(scene, tile, scale)
        row, col = divmod(tile, scene.cols)
        if row in pictures:
            picture = np.ascontiguousarray(scene.tile_pixels(tile))
            found.pop("png")
            if (strips := pictures[row].place(32 * col, picture.reshape(len(picture), -1))) is not None:
                rows.append(strips)
        results.append(node.TileResult(tile, 1.25, found))
    return node.write_bundle(node.Layout(lease, start, stop, scale, scene.max_iter), results, rows)


def parts(scene: Scene, tile: int, scale: int) -> dict[str, bytes]:
    """One tile packed as a node does it."""
    picture = np.ascontiguousarray(scene.tile_pixels(tile))
    rows = picture.reshape(len(picture), -1)
    counts = scene.counts[scene.box(tile)].astype(node.counts_format(scene.max_iter)["dtype"])
    previews = {"preview": encode.preview(rows, scale)} if scale > 1 else {}
    return {
        **previews,
        "png": encode.png(rows),
        "counts": encode.pack(counts, shuffle=node.counts_format(scene.max_iter)["shuffle"]),
        "smooth": encode.pack(
            np.ascontiguousarray(scene.smooth[scene.box(tile)]), shuffle=node.smooth_format()["shuffle"]
        ),
    }
