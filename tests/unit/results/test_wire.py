"""What a renderer node packs is what the manager accepts: the two share the format, not code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from renderers.mandelbrot import bundle as node
from renderers.mandelbrot import encode
from rrm.domain.tiling import TileGrid
from rrm.results.bundle import tile_array
from rrm.results.checks import Expected, check
from rrm.results.compose import ComposePlan, compose
from rrm.results.layout import JobFiles
from rrm.results.shelf import RangeFile
from tests.unit.results.test_compose import pixels
from tests.unit.results.writer import Scene


@pytest.mark.parametrize("max_iter", [900, 70_000])
@pytest.mark.parametrize("scale", [1, 2])
def test_a_bundle_packed_by_a_node_is_accepted_and_composed(tmp_path: Path, max_iter: int, scale: int) -> None:
    scene, files = Scene(90, 70, 32, max_iter=max_iter), JobFiles(tmp_path, "job")
    results = [node.TileResult(tile, 1.25, parts(scene, tile, scale)) for tile in range(scene.tiles)]
    path = files.range("lease")
    path.parent.mkdir(parents=True)
    path.write_bytes(node.write_bundle(node.Layout("lease", 0, scene.tiles, scale, max_iter), results))

    grid, outputs = TileGrid(90, 70, 32), frozenset({"png", "counts", "smooth"})
    check(path, Expected("lease", 0, scene.tiles, grid, outputs, scale, max_iter))
    np.testing.assert_array_equal(tile_array(path, 5, "counts", grid), scene.counts[scene.box(5)])
    compose(files, ComposePlan(grid, outputs, (RangeFile(0, scene.tiles, path),)))
    np.testing.assert_array_equal(pixels(files.image), scene.pixels)
    np.testing.assert_array_equal(np.load(files.counts), scene.counts)
    np.testing.assert_array_equal(np.load(files.smooth), scene.smooth)


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
