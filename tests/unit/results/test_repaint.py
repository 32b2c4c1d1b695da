"""Pictures painted from kept values: what nodes would paint, in rows that compose and zoom like theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from renderers.lease import parse_lease
from renderers.mandelbrot.methods import painting
from rrm.domain.coloring import parse
from rrm.domain.palettes import PALETTES
from rrm.domain.tiling import TileGrid
from rrm.errors import NotReady
from rrm.results import shelf
from rrm.results.bundle import tile_png
from rrm.results.colors import painter
from rrm.results.compose import compose
from rrm.results.histogram import Histogram, counted
from rrm.results.layout import JobFiles
from rrm.results.repaint import Repaint, painted_ranges, repaint
from rrm.results.shelf import CorruptRange
from tests.unit.renderers.manager_server import lease_document
from tests.unit.results.test_compose import SHAPES, leftovers, pixels, stored
from tests.unit.results.writer import Scene

BOTH = frozenset({"counts", "smooth"})


def look(**changes: Any) -> dict[str, Any]:
    return parse({"palette": "Vivid", "scale": 3, "offset": 0.25, "interior": "#0a0b0c", **changes})


def by_a_node(scene: Scene, colors: Mapping[str, Any]) -> Any:
    """The pixels that a node paints from the scene's values."""
    model = {"digest": "d", "renderer": "mandelbrot", "params": {"max_iter": scene.max_iter}}
    lease = parse_lease(lease_document(coloring=colors, model=model))
    picture = painting(lease)(lease.view, lease.window(0), scene.counts, scene.smooth)
    return picture.reshape(scene.height, scene.width, 3)


def plan_of(scene: Scene, files: JobFiles, colors: Mapping[str, Any]) -> Repaint:
    ranges = stored(files, scene).ranges
    return Repaint(TileGrid(scene.width, scene.height, scene.tile_size), ranges, BOTH, colors, scene.max_iter)


def values_alone(width: int, height: int, tile_size: int) -> Scene:
    """Counts and smooth values as the kernel gives them: inside, both are the limit."""
    scene = Scene(width, height, tile_size, kinds=("preview", "counts", "smooth"), scale=2)
    scene.smooth[scene.counts == scene.max_iter] = scene.max_iter
    return scene


@pytest.fixture
def files(tmp_path: Path) -> JobFiles:
    return JobFiles(tmp_path, "job")


@pytest.mark.parametrize(("width", "height", "tile_size"), SHAPES)
@pytest.mark.parametrize("method", ["smooth", "bands"])
def test_it_is_what_nodes_would_have_painted(
    files: JobFiles, width: int, height: int, tile_size: int, method: str
) -> None:
    scene, colors = values_alone(width, height, tile_size), look(method=method)
    plan = plan_of(scene, files, colors)

    repaint(files, plan)

    pictures = painted_ranges(files, plan.grid)
    composed = replace(stored(files, scene), outputs=frozenset({"png"}), pictures=pictures)
    assert compose(files, composed) == {"image"}
    expected = by_a_node(scene, colors)
    assert np.array_equal(pixels(files.image), expected)
    assert leftovers(files) == []
    (files.folder / "tile.png").write_bytes(tile_png(pictures[-1].path, plan.grid.tiles - 1, plan.grid))
    box = plan.grid.box(plan.grid.tiles - 1)
    assert np.array_equal(pixels(files.folder / "tile.png"), expected[: box.rows, box.col0 :])


def test_slabs_and_threads_leave_no_trace(files: JobFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = values_alone(1030, 530, 256)
    repaint(files, plan_of(scene, files, look()), threads=1)
    monkeypatch.setattr(shelf, "SLAB_BYTES", 2**18)
    again = JobFiles(tmp_path, "again")
    steps: list[tuple[int, int]] = []

    repaint(again, plan_of(scene, again, look()), threads=3, progress=lambda done, total: steps.append((done, total)))

    for row in range(3):
        assert again.painted_row(row).read_bytes() == files.painted_row(row).read_bytes()
    assert steps == [(done, len(steps)) for done in range(1, len(steps) + 1)]
    assert len(steps) == 5


def test_without_counts_the_smooth_value_says_what_is_inside(files: JobFiles) -> None:
    scene = values_alone(300, 200, 64)
    plan = replace(plan_of(scene, files, look()), kept=frozenset({"smooth"}))

    repaint(files, plan)

    picture = tile_png(files.painted_row(0), 0, plan.grid)
    (files.folder / "tile.png").write_bytes(picture)
    assert np.array_equal(pixels(files.folder / "tile.png"), by_a_node(scene, look())[-64:, :64])


def test_a_range_that_is_not_there_or_not_itself_is_named_and_nothing_is_left(files: JobFiles) -> None:
    plan = plan_of(values_alone(300, 200, 64), files, look())
    with pytest.raises(NotReady):
        repaint(files, replace(plan, ranges=plan.ranges[1:]))
    plan.ranges[1].path.write_bytes(plan.ranges[1].path.read_bytes()[:-9])
    with pytest.raises(CorruptRange) as damaged:
        repaint(files, plan)
    assert damaged.value.range_file == plan.ranges[1]
    assert not files.painted.exists()
    assert leftovers(files) == []


@pytest.mark.parametrize("name", PALETTES)
def test_tables_are_those_of_nodes(name: str) -> None:
    scene, colors = values_alone(256, 64, 64), parse({"palette": name, "scale": 0.71})
    painted = painter(colors, None)(scene.smooth[::-1], scene.counts[::-1] == scene.max_iter)
    assert np.array_equal(painted, by_a_node(scene, colors))


def shares_of(values: np.ndarray[Any, Any]) -> Any:
    whole = Histogram()
    whole.add(counted(values))
    return whole.shares()(values)


@given(st.lists(st.floats(-3.5, 1e7, width=32), min_size=1, max_size=200))
def test_shares_ascend_with_the_values_from_0_to_below_1(numbers: list[float]) -> None:
    values = np.sort(np.array(numbers, np.float32))
    shares = shares_of(values)
    assert (np.diff(shares) >= 0).all()
    assert 0 <= shares[0] <= shares[-1] < 1


@pytest.mark.parametrize(("low", "high"), [(0.5, 3.0), (100.0, 5000.0), (10_009.0, 20_000.0)])
def test_shares_are_ranks(low: float, high: float) -> None:
    values = np.random.default_rng(5).uniform(low, high, 100_000).astype(np.float32)
    ranks = np.argsort(np.argsort(values)) / len(values)
    assert abs(shares_of(values) - ranks).max() < 1e-3


def test_a_picture_all_inside_has_no_histogram_and_one_colour(files: JobFiles) -> None:
    scene = values_alone(100, 60, 32)
    scene.counts[:], scene.smooth[:] = scene.max_iter, scene.max_iter

    repaint(files, plan_of(scene, files, look(method="histogram")))

    (files.folder / "tile.png").write_bytes(tile_png(files.painted_row(0), 0, TileGrid(100, 60, 32)))
    assert (pixels(files.folder / "tile.png") == (10, 11, 12)).all()
