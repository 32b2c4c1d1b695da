"""Composing gives the exact picture, arrays and pyramid from ranges, and says which range is missing or bad."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import ceil, log2
from pathlib import Path
from threading import Thread
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rrm.domain.tiling import TileGrid
from rrm.errors import NotReady
from rrm.results import shelf
from rrm.results.compose import ComposePlan, compose, compose_pyramid
from rrm.results.layout import JobFiles
from rrm.results.pyramid import Shape
from rrm.results.shelf import CorruptRange, RangeFile
from tests.unit.results.writer import Scene, write_bundle

Array = NDArray[Any]
SHAPES = [
    (300, 200, 64),
    (128, 128, 128),
    (1, 1, 16),
    (130, 1, 64),
    (1, 700, 64),
    (1030, 530, 256),
    (513, 1100, 96),
    (64, 64, 1024),
]


def stored(files: JobFiles, scene: Scene, cuts: Sequence[int] | None = None) -> ComposePlan:
    """All tiles of the scene as range files, cut at `cuts`, and the plan that composes them."""
    cuts = sorted({0, scene.tiles, *(cuts or [scene.tiles // 3, scene.tiles // 2 + 1])})
    ranges = []
    for start, stop in pairwise(cuts):
        path = files.range(f"lease-{start}")
        write_bundle(path, scene, path.stem, start, stop)
        ranges.append(RangeFile(start, stop, path))
    grid = TileGrid(scene.width, scene.height, scene.tile_size)
    return ComposePlan(grid, frozenset(scene.kinds), tuple(ranges), {"center": ["-0.74", "0.11"], "name": "täl"})


def zoomable(files: JobFiles, plan: ComposePlan) -> None:
    compose_pyramid(files, plan.grid, plan.ranges)


def pixels(path: Path) -> Array:
    with Image.open(path) as image:
        assert image.mode == "RGB"
        values: Array = np.asarray(image)
        return values


def averaged(full: Array) -> Array:
    """Half the size: the mean of what exists of each 2 x 2 pixels, rounded half up."""
    height, width, _ = full.shape
    padded = np.full((height + height % 2, width + width % 2, 3), np.nan)
    padded[:height, :width] = full
    blocks = padded.reshape(len(padded) // 2, 2, -1, 2, 3)
    means: Array = np.nanmean(blocks, axis=(1, 3))
    return np.floor(means + 0.5).astype(np.uint8)


@pytest.fixture
def files(tmp_path: Path) -> JobFiles:
    return JobFiles(tmp_path, "7d1f0c9e-job")


def leftovers(files: JobFiles) -> list[Path]:
    return [path for path in files.folder.rglob("*") if path.name.endswith(".draft")]


@pytest.mark.parametrize(("width", "height", "tile_size"), SHAPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_composed_picture_and_arrays_are_exact(
    files: JobFiles, width: int, height: int, tile_size: int, threads: int
) -> None:
    scene = Scene(width, height, tile_size)
    plan = stored(files, scene)
    assert compose(files, plan, threads=threads) == {"image", "counts", "smooth"}
    np.testing.assert_array_equal(pixels(files.image), scene.pixels)
    for path, values in ((files.counts, scene.counts), (files.smooth, scene.smooth)):
        composed = np.load(path, mmap_mode="r")
        assert composed.dtype == values.dtype
        assert composed.flags.c_contiguous
        np.testing.assert_array_equal(composed, values)
    assert leftovers(files) == []


@pytest.mark.parametrize(("width", "height", "tile_size"), SHAPES)
def test_every_level_of_the_pyramid_is_the_average_of_the_next(
    files: JobFiles, width: int, height: int, tile_size: int
) -> None:
    scene = Scene(width, height, tile_size, kinds=("png",))
    zoomable(files, stored(files, scene))
    shape = Shape(TileGrid(width, height, tile_size))
    level, expected, size = ceil(log2(max(width, height))), scene.pixels, shape.tile_size
    if shape.shares_top:
        level, expected = level - 1, averaged(expected)
    assert sorted(int(folder.name) for folder in files.pyramid.iterdir()) == list(range(level + 1))
    for number in range(level, -1, -1):
        rows, cols = ceil(expected.shape[0] / size), ceil(expected.shape[1] / size)
        assert len(list((files.pyramid / str(number)).iterdir())) == rows * cols
        for row in range(rows):
            for col in range(cols):
                part = expected[row * size :, col * size :][:size, :size]
                np.testing.assert_array_equal(pixels(files.pyramid_tile(number, col, row)), part)
        expected = averaged(expected)
    assert pixels(files.pyramid_tile(0, 0, 0)).shape == (1, 1, 3)


def test_the_descriptor_names_the_size_and_the_tiling() -> None:
    root = ElementTree.fromstring(Shape(TileGrid(1030, 530, 64)).dzi_xml())  # noqa: S314 - our own text
    space = "{http://schemas.microsoft.com/deepzoom/2008}"
    assert root.tag == f"{space}Image"
    assert root.attrib == {"Format": "png", "Overlap": "0", "TileSize": "512"}
    size = root.find(f"{space}Size")
    assert size is not None
    assert size.attrib == {"Width": "1030", "Height": "530"}


@pytest.mark.parametrize(("width", "height"), [(512, 384), (300, 256), (200, 100)])
def test_where_no_row_of_tiles_is_partial_the_last_level_is_the_jobs_own_tiles(
    files: JobFiles, width: int, height: int
) -> None:
    scene = Scene(width, height, 128, kinds=("png",))
    zoomable(files, stored(files, scene))
    shape = Shape(TileGrid(width, height, 128))
    assert 'TileSize="128"' in shape.dzi_xml()
    assert not (files.pyramid / str(shape.top)).exists()
    half = averaged(scene.pixels)
    np.testing.assert_array_equal(pixels(files.pyramid_tile(shape.top - 1, 0, 0)), half[:128, :128])
    for row in range(ceil(height / 128)):
        tile = shape.job_tile(shape.top, 0, row)
        assert tile is not None
        box = shape.grid.box(tile)
        assert height - box.row0 - box.rows == row * 128
    assert shape.job_tile(shape.top, 99, 0) is None
    assert shape.job_tile(shape.top - 1, 0, 0) is None


def test_tiles_that_are_partial_small_or_odd_are_not_shared() -> None:
    assert not Shape(TileGrid(512, 300, 128)).shares_top
    assert not Shape(TileGrid(512, 128, 64)).shares_top
    assert not Shape(TileGrid(512, 258, 129)).shares_top


def test_the_picture_carries_its_view_as_text(files: JobFiles) -> None:
    plan = stored(files, Scene(40, 30, 16, kinds=("png",)))
    compose(files, plan)
    with Image.open(files.image) as image:
        assert json.loads(image.info["Description"]) == plan.metadata
        assert image.info["Software"] == "Rendering resource manager"


@pytest.mark.parametrize("encoding", ["raw", "zlib"])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("dtype", ["<u2", "<u4"])
def test_arrays_are_composed_from_every_coding(files: JobFiles, encoding: str, shuffle: bool, dtype: str) -> None:
    coding = {"encoding": encoding, "shuffle": shuffle}
    scene = Scene(
        50,
        40,
        16,
        kinds=("counts", "smooth"),
        counts_coding={"dtype": dtype, **coding},
        smooth_coding={"dtype": "<f4", **coding},
    )
    assert compose(files, stored(files, scene)) == {"counts", "smooth"}
    np.testing.assert_array_equal(np.load(files.counts), scene.counts)
    np.testing.assert_array_equal(np.load(files.smooth), scene.smooth)
    assert not files.image.exists()


def test_pictures_sent_unasked_are_composed_for_the_page(files: JobFiles) -> None:
    plan = stored(files, Scene(50, 40, 16, kinds=("png", "counts")))
    asked = ComposePlan(plan.grid, frozenset({"counts"}), plan.ranges)
    assert compose(files, asked) == {"image", "counts"}


@pytest.mark.parametrize(("width", "height", "tile_size"), SHAPES)
def test_rows_that_came_as_strips_give_the_same_picture(
    files: JobFiles, width: int, height: int, tile_size: int
) -> None:
    scene = Scene(width, height, tile_size, kinds=("preview", "png", "counts"), scale=2)
    plan = replace(stored(files, scene), outputs=frozenset({"png", "counts"}))
    assert compose(files, plan) == {"image", "counts"}
    np.testing.assert_array_equal(pixels(files.image), scene.pixels)
    np.testing.assert_array_equal(np.load(files.counts), scene.counts)
    zoomable(files, plan)
    shape = Shape(plan.grid)
    level, half = shape.top - 1, averaged(scene.pixels)[: shape.tile_size, : shape.tile_size]
    if level >= 0:
        np.testing.assert_array_equal(pixels(files.pyramid_tile(level, 0, 0)), half)


def test_a_wide_row_is_composed_in_slabs(files: JobFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "SLAB_BYTES", 300 * 4 * 7)
    scene = Scene(300, 200, 64)
    seen: list[tuple[int, int]] = []
    compose(files, stored(files, scene), progress=lambda done, total: seen.append((done, total)))
    np.testing.assert_array_equal(pixels(files.image), scene.pixels)
    np.testing.assert_array_equal(np.load(files.counts), scene.counts)
    assert [done for done, _ in seen] == list(range(1, seen[-1][1] + 1))
    assert len(seen) > 3 * 4 * 5


def test_a_missing_range_is_not_ready_and_named(files: JobFiles) -> None:
    plan = stored(files, Scene(64, 64, 16), [5, 9])
    holed = ComposePlan(plan.grid, plan.outputs, (plan.ranges[0], plan.ranges[2]))
    with pytest.raises(NotReady, match="tile 5 has not been rendered"):
        compose(files, holed)
    with pytest.raises(NotReady, match="tile 9 has not been rendered"):
        compose(files, ComposePlan(plan.grid, plan.outputs, plan.ranges[:2]))


def test_ranges_come_in_any_order_and_one_that_others_cover_is_not_needed(files: JobFiles) -> None:
    scene = Scene(64, 64, 16, kinds=("png", "counts"))
    plan = stored(files, scene, [5, 9])
    ranges = (*reversed(plan.ranges), RangeFile(4, 12, files.range("never-written")))
    compose(files, ComposePlan(plan.grid, frozenset({"counts"}), ranges))
    np.testing.assert_array_equal(pixels(files.image), scene.pixels)


def _lost(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _rotten(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-400:-300] = bytes(100)
    path.write_bytes(data)


def _headless(path: Path) -> None:
    path.write_bytes(b"nothing")


@pytest.mark.parametrize("damage", [_lost, _cut, _rotten, _headless])
@pytest.mark.parametrize("kinds", [("png",), ("png", "counts"), ("counts",)])
def test_a_corrupt_range_is_named_and_nothing_is_published(
    files: JobFiles, damage: Any, kinds: tuple[str, ...]
) -> None:
    plan = stored(files, Scene(64, 64, 16, kinds=kinds), [5, 9])
    damage(plan.ranges[1].path)
    with pytest.raises(CorruptRange, match=r"lease-5.rrmb \(tiles 5 to 8\)") as caught:
        compose(files, plan)
    assert caught.value.range_file == plan.ranges[1]
    assert list(files.folder.iterdir()) == [files.ranges]


def test_a_file_that_holds_other_tiles_is_corrupt(files: JobFiles) -> None:
    plan = stored(files, Scene(64, 64, 16), [5, 9])
    shifted = RangeFile(5, 10, plan.ranges[1].path)
    with pytest.raises(CorruptRange, match="holds tiles 5 to 8"):
        compose(files, ComposePlan(plan.grid, plan.outputs, (plan.ranges[0], shifted, plan.ranges[2])))


def test_composing_again_replaces_equal_files(files: JobFiles) -> None:
    plan = stored(files, Scene(600, 300, 64))
    compose(files, plan)
    zoomable(files, plan)
    before = {path: path.read_bytes() for path in files.folder.rglob("*") if path.is_file()}
    compose(files, plan)
    zoomable(files, plan)
    assert {path: path.read_bytes() for path in files.folder.rglob("*") if path.is_file()} == before


def test_composing_twice_at_once_leaves_whole_results(files: JobFiles) -> None:
    scene = Scene(600, 300, 64)
    plan = stored(files, scene)
    threads = [Thread(target=make, args=(files, plan)) for make in (compose, zoomable) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(pixels(files.image), scene.pixels)
    np.testing.assert_array_equal(pixels(files.pyramid_tile(10, 1, 0)), scene.pixels[:, 512:])
    assert leftovers(files) == []


def test_what_the_progress_callback_raises_stops_the_work(files: JobFiles) -> None:
    def stop(done: int, total: int) -> None:
        raise InterruptedError(f"{done} of {total}")

    with pytest.raises(InterruptedError, match="1 of 12"):
        compose(files, stored(files, Scene(64, 64, 16)), progress=stop)
    assert list(files.folder.iterdir()) == [files.ranges]
