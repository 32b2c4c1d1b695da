"""Deep pictures against full precision, and against themselves in other pieces and on other processors."""

import random
import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renderers.mandelbrot import kernel
from renderers.mandelbrot.deep import native
from renderers.mandelbrot.deep.model import DeepModel, DeepView, Reference
from renderers.mandelbrot.kernel import Limits, View, Window
from renderers.mandelbrot.simd.target import available
from renderers.mandelbrot.tile import Counts, Smooth
from tests.unit.renderers.deep.places import DENDRITE, MINIBROT, SEAHORSES, SPIRALS, TIP, WIDE_MINIBROT
from tests.unit.renderers.deep.precise import count, place

Place = tuple[Reference, DeepView]

PLACES = {
    "spirals": place(SPIRALS, "1e-30", (80, 64), 20_000),
    "around a minibrot": place(MINIBROT, "1e-49", (64, 64), 4_000),
    "a minibrot": place(MINIBROT, "1e-56", (64, 48), 6_000),
    "the tip": place(TIP, "1e-60", (48, 64), 400, 3.0),
    "a dendrite": place(DENDRITE, "1e-120", (64, 64), 900),
    "just past double": place(SEAHORSES, "9e-14", (64, 64), 6_000),
    "the least for doubles": place(DENDRITE, "1e-289", (33, 31), 3_000),
    "the tip, wide": place(TIP, "1e-291", (64, 48), 1_500, 3.0),
    "a dendrite, wide": place(DENDRITE, "1e-400", (48, 64), 3_000),
    "the deepest": place(TIP, "1e-1000", (40, 40), 5_000, 3.0),
}


def loaded(reference: Reference) -> DeepModel:
    return DeepModel(reference, reference.orbit())


def draw(model: DeepModel, view: DeepView, window: Window | None = None) -> tuple[Counts, Smooth]:
    window = window or Window(0, 0, view.height, view.width)
    shape = (window.rows, window.cols)
    counts, smooth = np.full(shape, 123456789, np.uint32), np.full(shape, np.nan, np.float32)
    assert model.render_tile(view, window, counts, smooth, np.zeros(1, np.uint8))
    return counts, smooth


def wrong(where: Place, counts: Counts, pixels: int, seed: str) -> int:
    """How many of some random pixels differ from full precision."""
    reference, view = where
    chance = random.Random(seed)
    places = [(chance.randrange(view.height), chance.randrange(view.width)) for _ in range(pixels)]
    return sum(counts[row, col] != count(reference, view, row, col) for row, col in places)


@pytest.mark.parametrize("name", PLACES)
def test_counts_equal_full_precision_at_random_pixels(name: str) -> None:
    reference, view = PLACES[name]
    counts, _ = draw(loaded(reference), view)
    assert len(np.unique(counts)) > 3
    assert wrong(PLACES[name], counts, 25, name) <= 1  # chaotic pixels depend on the last digit of any arithmetic


def test_a_minibrot_beyond_the_exponents_of_doubles_is_drawn() -> None:
    reference, view = place(WIDE_MINIBROT, "1e-346", (48, 48), 72_000)
    counts, _ = draw(loaded(reference), view)
    assert 20 < (counts == reference.max_iter).sum() < 2000
    assert wrong((reference, view), counts, 4, "wide") == 0


def test_an_outside_pixel_never_has_the_smooth_value_of_the_inside() -> None:
    reference, view = PLACES["spirals"]
    counts, smooth = draw(loaded(reference), view)
    whole = smooth[(smooth == np.rint(smooth)) & (counts < smooth)]  # as floats round them
    limited = replace(reference, max_iter=int(whole.min()))

    counts, smooth = draw(loaded(limited), view)

    assert np.array_equal(smooth == limited.max_iter, counts == limited.max_iter)


@pytest.mark.parametrize("name", ["spirals", "a minibrot", "a dendrite, wide", "just past double"])
def test_a_pixel_is_the_same_whatever_the_tile(name: str) -> None:
    reference, view = PLACES[name]
    model = loaded(reference)
    counts, smooth = draw(model, view)
    chance = random.Random(name)
    for _ in range(12):
        rows, cols = chance.randint(1, view.height), chance.randint(1, view.width)
        window = Window(chance.randint(0, view.height - rows), chance.randint(0, view.width - cols), rows, cols)
        part = (slice(window.row0, window.row0 + rows), slice(window.col0, window.col0 + cols))
        tile_counts, tile_smooth = draw(model, view, window)
        assert np.array_equal(tile_counts, counts[part])
        assert np.array_equal(tile_smooth, smooth[part])


@pytest.mark.parametrize("name", ["spirals", "a minibrot", "a dendrite, wide"])
@pytest.mark.parametrize("instructions", available())
def test_every_instruction_set_gives_the_same_bytes(
    name: str, instructions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those without a fused multiply-add, which then is a slow call."""
    reference, view = PLACES[name]
    model, window = loaded(reference), Window(10, 12, 21, 19)
    expected = draw(model, view, window)
    monkeypatch.setattr(native, "instruction_set", lambda: instructions)
    assert all(np.array_equal(mine, other) for mine, other in zip(expected, draw(model, view, window), strict=True))


def test_threads_do_not_disturb_each_other() -> None:
    reference, view = PLACES["spirals"]
    model = loaded(reference)
    expected, _ = draw(model, view)
    found: list[bool] = []

    def work() -> None:
        found.append(np.array_equal(draw(model, view)[0], expected))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 4


def test_the_picture_goes_on_where_doubles_end() -> None:
    """The same pixels by both methods, where both have digits to spare: chaotic ones may differ."""
    radius, size = 1e-8, 128
    reference, view = place(SEAHORSES, "1e-8", (size, size), 5000)
    deep, deep_smooth = draw(loaded(reference), view)
    x0, y0 = (float(part) - radius for part in reference.center)
    grid = View(x0, y0, 2 * radius / size, 2 * radius / size)
    counts, smooth = np.empty((size, size), np.uint32), np.empty((size, size), np.float32)
    limits, flag = Limits(5000, 2.0), np.zeros(1, np.uint8)
    assert kernel.render_tile(grid, Window(0, 0, size, size), limits, counts, smooth, flag)
    same = counts == deep
    assert same.mean() > 0.95
    assert np.quantile(np.abs(smooth[same] - deep_smooth[same]), 0.95) < 0.02


@pytest.mark.parametrize("escape", [2.5, 100.0, 1e10])
@pytest.mark.parametrize("name", ["spirals", "a dendrite, wide"])
def test_counts_follow_the_escape_radius(name: str, escape: float) -> None:
    reference, view = PLACES[name]
    wider = Reference("d", reference.center, reference.radius, reference.max_iter, escape)
    counts, smooth = draw(loaded(wider), view)
    assert wrong((wider, view), counts, 6, name) <= 1
    outside = counts < wider.max_iter
    _, usual = draw(loaded(reference), view)
    assert np.median(np.abs(smooth[outside] - usual[outside])) < 0.01


@pytest.mark.parametrize("max_iter", [1, 2, 3, 16, 17, 18, 33, 100, 441, 442, 443, 2048])
@pytest.mark.parametrize("center", [MINIBROT, DENDRITE, ("3", "1"), ("0", "0")])
def test_any_limit_is_met(max_iter: int, center: tuple[str, str]) -> None:
    reference, view = place(center, "1e-40", (5, 3), max_iter)
    counts, smooth = draw(loaded(reference), view)
    for row in range(3):
        for col in range(5):
            assert counts[row, col] == count(reference, view, row, col)
    assert (smooth[counts == max_iter] == max_iter).all()


@pytest.mark.parametrize("radius", ["1e-40", "1e-400"])
@pytest.mark.parametrize("center", [("0.1", "0"), ("-0.1225611668766536", "0.7448617666197442")])
def test_a_view_that_is_all_inside_is(center: tuple[str, str], radius: str) -> None:
    reference, view = place(center, radius, (33, 17), 30_000)
    counts, smooth = draw(loaded(reference), view)
    assert (counts == 30_000).all()
    assert (smooth == 30_000).all()


def test_ten_million_steps_are_possible() -> None:
    reference, view = place(("-1.7548776662466927600495088963585286918946066", "0"), "1e-18", (2, 2), 10_000_000)
    short = Reference("d", reference.center, reference.radius, 20_000, 2.0)
    limited = DeepModel(reference, short.orbit())
    counts, _ = draw(limited, view)
    assert (counts == 10_000_000).all()


@settings(max_examples=40, deadline=None)
@given(
    x=st.fractions(-2, 1, max_denominator=1000),
    y=st.fractions(-1, 1, max_denominator=1000),
    digits=st.integers(14, 330),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    max_iter=st.integers(1, 700),
)
def test_random_views_equal_full_precision(x: Any, y: Any, digits: int, size: tuple[int, int], max_iter: int) -> None:
    reference, view = place((str(x), str(y)), f"1e-{digits}", size, max_iter, 3.7)
    counts, smooth = draw(loaded(reference), view)
    row, col = view.height - 1, view.width - 1
    assert counts[row, col] == count(reference, view, row, col)
    assert np.isfinite(smooth).all()
    assert counts.max() <= max_iter


def test_a_raised_flag_ends_the_tile_early() -> None:
    reference, view = place(("-0.1225611668766536", "0.7448617666197442"), "1e-40", (256, 256), 3_000_000)
    model = DeepModel(reference, Reference("d", reference.center, reference.radius, 50_000, 2.0).orbit())
    model.tables(view.farthest)
    native.perturb()
    counts, smooth, stop = np.empty((256, 256), np.uint32), np.empty((256, 256), np.float32), np.zeros(1, np.uint8)
    raised: list[float] = []

    def raise_it() -> None:
        time.sleep(0.1)
        raised.append(time.monotonic())
        stop[0] = 1

    threading.Thread(target=raise_it).start()
    assert not model.render_tile(view, Window(0, 0, 256, 256), counts, smooth, stop)
    assert time.monotonic() - raised[0] < 20  # all of it would take minutes
