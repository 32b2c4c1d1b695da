"""The kernel against the definition of counts."""

import random
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import floats, integers, sampled_from

from renderers.mandelbrot.formulas import MANDELBROT, Formula
from renderers.mandelbrot.kernel import Limits, View, Window, render_tile
from renderers.mandelbrot.tile import Counts, Smooth
from tests.unit.renderers.orbits import FAMILIES, JULIA_SETS, escape, potential_value


def view_of(xmin: float, xmax: float, ymin: float, ymax: float, width: int, height: int) -> View:
    return View(xmin, ymin, (xmax - xmin) / width, (ymax - ymin) / height)


VALLEY = view_of(-0.745, -0.735, 0.105, 0.115, 4096, 4096)
BURST = view_of(-2.5, 1.0, -1.25, 1.25, 2048, 2048)
VIEWS = {
    "valley": (VALLEY, Window(1000, 2000, 40, 56)),
    "burst": (BURST, Window(900, 700, 64, 64)),
    "edge of burst": (BURST, Window(2040, 2047, 8, 1)),
    "far outside": (view_of(-1e6, 1e6, -1e6, 1e6, 128, 128), Window(0, 0, 128, 128)),
    "needle": (view_of(-2.0, -1.9, -1e-9, 1e-9, 100, 3), Window(0, 0, 3, 100)),
    "seahorses": (view_of(-0.7436, -0.7435, 0.1314, 0.1315, 300, 300), Window(7, 131, 33, 65)),
}


def render(view: View, window: Window, limits: Limits, formula: Formula = MANDELBROT) -> tuple[Counts, Smooth]:
    shape = (window.rows, window.cols)
    counts, smooth = np.full(shape, 123456789, np.uint32), np.full(shape, np.nan, np.float32)
    assert render_tile(view, window, limits, counts, smooth, np.zeros(1, np.uint8), formula)
    return counts, smooth


def assert_defined(
    view: View, window: Window, limits: Limits, formula: Formula = MANDELBROT, samples: int = 60
) -> None:
    """Random pixels of the window have the counts of the definition."""
    counts, smooth = render(view, window, limits, formula)
    chance = random.Random(f"{window} {limits} {formula}")
    for _ in range(samples):
        row, col = chance.randrange(window.rows), chance.randrange(window.cols)
        assert counts[row, col] == escape(view, window.row0 + row, window.col0 + col, limits, formula)[0]
    assert np.isfinite(smooth).all()
    assert (smooth[counts == limits.max_iter] == limits.max_iter).all()


def whole(view: View, size: int, max_iter: int) -> tuple[int, int]:
    counts, _ = render(view, Window(0, 0, size, size), Limits(max_iter, 2.0))
    return int(counts.sum(dtype=np.int64)), int((counts == max_iter).sum())


@pytest.mark.parametrize("max_iter", [1, 2, 16, 17, 24, 25, 39, 40, 41, 700])
@pytest.mark.parametrize("name", VIEWS)
def test_counts_equal_the_definition_at_random_pixels(name: str, max_iter: int) -> None:
    view, window = VIEWS[name]
    limits = Limits(max_iter, 2.0)
    assert_defined(view, window, limits)


@pytest.mark.parametrize("radius", [2.5, 16.0, 1000.0, 1e100])
@pytest.mark.parametrize("name", ["burst", "seahorses", "far outside"])
def test_counts_follow_the_escape_radius(name: str, radius: float) -> None:
    view, window = VIEWS[name]
    limits = Limits(500, radius)
    assert_defined(view, window, limits)


def test_the_known_sums_of_burst_are_met() -> None:
    assert whole(BURST, 2048, 256) == (200_817_516, 729_803)


def test_the_known_sums_of_valley_are_met() -> None:
    assert whole(VALLEY, 4096, 2000) == (24_748_266_121, 11_508_716)


@given(
    x=floats(-2.2, 1.0),
    y=floats(-1.3, 1.3),
    size=floats(-12.0, 0.5),
    rows=integers(1, 70),
    cols=integers(1, 70),
    max_iter=integers(1, 600),
    radius=sampled_from([2.0, 2.0, 10.0, 1e10]),
    formula=sampled_from(FAMILIES + JULIA_SETS),
)
@settings(max_examples=100, deadline=None)
def test_counts_equal_the_definition_in_any_view(
    x: float, y: float, size: float, rows: int, cols: int, max_iter: int, radius: float, formula: Formula
) -> None:
    view = view_of(x, x + 10**size, y, y + 10**size, cols, rows)
    assert_defined(view, Window(0, 0, rows, cols), Limits(max_iter, radius), formula, samples=12)


@pytest.mark.parametrize("window", [Window(0, 0, 1, 1), Window(5, 0, 1, 300), Window(0, 7, 300, 1)])
@pytest.mark.parametrize("formula", [MANDELBROT, JULIA_SETS[0]])
def test_one_pixel_one_row_and_one_column_are_rendered(window: Window, formula: Formula) -> None:
    assert_defined(BURST, window, Limits(300, 2.0), formula)


def test_a_view_at_the_end_of_double_precision_is_rendered() -> None:
    view = view_of(-0.7436438870371587, -0.7436438870371567, 0.131825904205312, 0.131825904205314, 40, 40)
    assert_defined(view, Window(0, 0, 40, 40), Limits(3000, 2.0))


def test_pixels_that_all_have_the_same_point_get_the_same_count() -> None:
    counts, smooth = render(View(-0.75, 0.1, 1e-30, 1e-30), Window(0, 0, 33, 47), Limits(1000, 2.0))
    assert len(np.unique(counts)) == len(np.unique(smooth)) == 1


def test_the_highest_limit_is_counted_to() -> None:
    view, limits = View(-0.75, 1e-6, 1e-12, 1e-12), Limits(10_000_000, 2.0)
    counts, _ = render(view, Window(0, 0, 2, 1), limits)
    assert counts[0, 0] == 3_141_592  # the well-known approach to the neck at -3/4: π / 1e-6
    assert counts[1, 0] == escape(view, 1, 0, limits)[0]
    inside, _ = render(View(-0.1225611, 0.7448617, 1e-9, 1e-9), Window(0, 0, 1, 2), limits)
    assert (inside == 10_000_000).all()


@pytest.mark.parametrize("max_iter", [0, -1, 2**31])
def test_a_limit_that_cannot_be_counted_to_is_refused(max_iter: int) -> None:
    counts, smooth = np.empty((1, 1), np.uint32), np.empty((1, 1), np.float32)
    with pytest.raises(ValueError, match="max_iter must be"):
        render_tile(BURST, Window(0, 0, 1, 1), Limits(max_iter, 2.0), counts, smooth, np.zeros(1, np.uint8))


def test_a_julia_set_whose_constant_lies_beyond_the_radius_is_refused() -> None:
    counts, smooth = np.empty((1, 1), np.uint32), np.empty((1, 1), np.float32)
    with pytest.raises(ValueError, match="beyond the radius"):
        render_tile(
            BURST, Window(0, 0, 1, 1), Limits(9, 2.0), counts, smooth, np.zeros(1, np.uint8), Formula(julia=(2.0, 0.1))
        )


@pytest.mark.parametrize(("family", "power"), [("multibrot", 2), ("mandelbrot", 3), ("newton", 2)])
def test_a_formula_that_is_not_known_is_refused(family: str, power: int) -> None:
    with pytest.raises(ValueError, match="is not known"):
        Formula(family, power)


def test_a_tile_equals_the_same_pixels_of_a_larger_one() -> None:
    limits = Limits(300, 2.0)
    large, large_smooth = render(BURST, Window(900, 700, 90, 110), limits)
    small, small_smooth = render(BURST, Window(931, 745, 17, 23), limits)
    assert np.array_equal(small, large[31:48, 45:68])
    assert np.array_equal(small_smooth, large_smooth[31:48, 45:68])


@pytest.mark.parametrize("radius", [2.0, 30.0])
def test_the_smooth_value_approaches_the_potential_whatever_the_radius(radius: float) -> None:
    view, window = VIEWS["burst"]
    limits = Limits(400, radius)
    counts, smooth = render(view, window, limits)
    outside = np.argwhere(counts < limits.max_iter)
    chance = random.Random(7)
    for row, col in chance.sample(list(outside), 80):
        wanted = potential_value(view, window.row0 + int(row), window.col0 + int(col), limits)
        assert smooth[row, col] == pytest.approx(wanted, abs=2e-6, rel=2e-7)


@pytest.mark.parametrize("formula", FAMILIES[1:] + JULIA_SETS, ids=str)
def test_the_smooth_value_approaches_the_potential_of_every_formula(formula: Formula) -> None:
    view, limits = view_of(-2.0, 2.0, -2.0, 2.0, 60, 60), Limits(200, 3.0)
    counts, smooth = render(view, Window(0, 0, 60, 60), limits, formula)
    chance = random.Random(8)
    for row, col in chance.sample(list(np.argwhere(counts < limits.max_iter)), 30):
        wanted = potential_value(view, int(row), int(col), limits, formula)
        assert smooth[row, col] == pytest.approx(wanted, abs=2e-6, rel=2e-7)


def test_the_smooth_value_has_no_step_where_the_count_has_one() -> None:
    view = view_of(-1.6, -0.7, 0.2, 0.6, 40_000, 400)
    counts, smooth = render(view, Window(150, 0, 1, 40_000), Limits(1000, 2.0))
    steps = np.flatnonzero(np.diff(counts[0].astype(int)))
    calm = [at for at in steps if counts[0, at] < 9]
    slopes = np.abs(np.diff(smooth[0].astype(float)))
    assert len(calm) > 4
    assert all(slopes[at] <= 1.1 * max(slopes[at - 1], slopes[at + 1]) for at in calm)


def test_inside_pixels_have_the_limit_as_smooth_value() -> None:
    counts, smooth = render(BURST, Window(900, 700, 64, 64), Limits(256, 2.0))
    inside = counts == 256
    assert inside.any()
    assert (smooth[inside] == 256.0).all()


def test_every_smooth_value_is_finite_even_where_orbits_overflow() -> None:
    huge = view_of(-1e140, 1e140, -1e140, 1e140, 64, 64)
    _, smooth = render(huge, Window(0, 0, 64, 64), Limits(50, 2.0))
    assert np.isfinite(smooth).all()


@pytest.mark.parametrize("knows_components", [True, False])
def test_a_flag_raised_meanwhile_ends_the_tile_soon(knows_components: bool) -> None:
    counts, smooth, stop = np.empty((64, 64), np.uint32), np.empty((64, 64), np.float32), np.zeros(1, np.uint8)
    near_the_neck = View(-0.75, 1e-7, 1e-12, 1e-12)
    raised: list[float] = []

    def raise_flag() -> None:
        raised.append(time.monotonic())
        stop[0] = 1

    threading.Timer(0.05, raise_flag).start()
    limits = Limits(10_000_000, 2.0)
    done = render_tile(
        near_the_neck, Window(0, 0, 64, 64), limits, counts, smooth, stop, knows_components=knows_components
    )
    assert not done
    assert time.monotonic() - raised[0] < 20  # all of it would take a minute


def test_the_hot_loop_is_vectorised() -> None:
    """Scalar code reaches 0.45 G steps/s on the machines at hand, 256-bit vectors 4 and 512-bit vectors 6."""
    window, limits = Window(0, 0, 64, 64), Limits(20_000, 2.0)
    component = View(-0.1225611, 0.7448617, 1e-5, 1e-5)
    best = 1e9
    for _ in range(4):
        started = time.thread_time()
        counts, _ = render(component, window, limits)
        best = min(best, time.thread_time() - started)
    assert (counts == limits.max_iter).all()
    assert counts.sum(dtype=np.int64) / best > 1e9
