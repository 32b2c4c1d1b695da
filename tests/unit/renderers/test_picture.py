"""Pictures of tiles: samples within pixels, and where they are taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from renderers.lease import Lease, parse_lease
from renderers.mandelbrot import native
from renderers.mandelbrot.kernel import Limits, View, Window, render_tile
from renderers.mandelbrot.light import LEVELS, LIGHT, averaged, dimmed
from renderers.mandelbrot.methods import painting
from renderers.mandelbrot.picture import CELL, CONTRAST, AnyView, Artist, Sampling, differing, grown, runs
from renderers.mandelbrot.portable.light import average_light
from renderers.mandelbrot.tile import UNSET
from tests.unit.renderers.manager_server import lease_document

SIDE = 48
WHOLE = Window(0, 0, SIDE, SIDE)


def lease(**changes: Any) -> Lease:
    return parse_lease(lease_document(**{"width": SIDE, "height": SIDE, "tile_size": SIDE, "tile_cols": 1, **changes}))


def values(
    view: AnyView, window: Window, wanted: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    shape = (window.rows, window.cols)
    counts, smooth = np.empty(shape, np.uint32), np.empty(shape, np.float32)
    if wanted is not None:
        counts[:], smooth[:] = np.where(wanted, UNSET, 100), 0.0
    assert isinstance(view, View)
    assert render_tile(
        view, window, Limits(100, 2.0), counts, smooth, np.zeros(1, np.uint8), only_unset=wanted is not None
    )
    return counts, smooth


def picture(sampling: Sampling, window: Window = WHOLE, compute: Callable[..., object] = values) -> NDArray[np.uint8]:
    look = lease()
    artist = Artist(look.view, sampling, painting(look))
    base = values(look.view, grown(window, sampling.margin))
    made = artist.picture(window, base, compute)  # type: ignore[arg-type]
    assert made is not None
    return made


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_samples_are_those_of_an_image_so_many_times_as_large(factor: int) -> None:
    look = lease()
    large = Window(0, 0, factor * SIDE, factor * SIDE)
    samples = painting(look)(look.view, large, *values(look.view.finer(factor), large))
    assert np.array_equal(picture(Sampling(factor)), averaged(samples, factor))


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(2), Sampling(3, True), Sampling(4, True)])
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 48), st.integers(1, 48))
def test_a_picture_does_not_depend_on_how_it_is_cut(
    sampling: Sampling, row: int, col: int, rows: int, cols: int
) -> None:
    rows, cols = min(rows, SIDE - row), min(cols, SIDE - col)
    part = picture(sampling, Window(row, col, rows, cols))
    whole = picture(sampling)
    assert np.array_equal(part, whole[SIDE - row - rows : SIDE - row, 3 * col : 3 * (col + cols)])


def test_an_adaptive_picture_is_the_sampled_one_where_neighbours_differ_and_the_plain_one_elsewhere() -> None:
    look = lease()
    surrounded = painting(look)(look.view, grown(WHOLE, 1), *values(look.view, grown(WHOLE, 1)))
    marked = np.repeat(differing(surrounded), 3, axis=1)
    assert 0.1 < marked.mean() < 0.9
    adaptive, sampled, plain = picture(Sampling(3, True)), picture(Sampling(3)), picture(Sampling())
    assert np.array_equal(adaptive, np.where(marked, sampled, plain))


def test_a_picture_that_is_stopped_is_none() -> None:
    look = lease()
    for sampling in (Sampling(2), Sampling(2, True)):
        artist = Artist(look.view, sampling, painting(look))
        assert artist.picture(WHOLE, values(look.view, grown(WHOLE, sampling.margin)), lambda *_: None) is None


def test_pixels_differ_when_any_neighbour_has_another_colour() -> None:
    flat = np.full((7, 9, 3), 100, np.uint8)
    flat[3, 4, 1] += CONTRAST
    assert not differing(flat.reshape(7, 27)).any()
    flat[3, 4, 1] += 1
    marked = differing(flat.reshape(7, 27))
    assert marked.shape == (5, 7)
    assert marked.sum() == 9
    assert marked[1:4, 2:5].all()


@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_runs_hold_all_that_is_marked_and_do_not_overlap(height: int, width: int, seed: int) -> None:
    marked = np.random.default_rng(seed).random((height, width)) < 0.01
    covered = np.zeros((height, width), int)
    for row, rows, col, cols in runs(marked):
        assert row % CELL == col % CELL == 0
        assert marked[row : row + rows, col : col + cols].any()
        covered[row : row + rows, col : col + cols] += 1
    assert covered.max(initial=0) <= 1
    assert covered[marked].all()


def test_levels_survive_the_way_to_light_and_back() -> None:
    assert np.array_equal(LEVELS[LIGHT], np.arange(256))
    assert (np.diff(LIGHT.astype(int)) >= 19).all()


def test_light_is_averaged_and_not_levels() -> None:
    checkered = np.zeros((4, 12), np.uint8)
    checkered[::2, :] = 255
    assert (averaged(checkered, 2) == 188).all()  # half the light; the mean level would be 128


def test_an_even_picture_is_its_own_average() -> None:
    even = np.tile(np.array([7, 130, 255], np.uint8), (6, 6))
    assert np.array_equal(averaged(even, 3), even[:2, :6])


def test_dimming_halves_light() -> None:
    white = np.full((1, 6), 255, np.uint8)
    assert dimmed(white, np.array([[0.5, 0.0]], np.float32)).tolist() == [[188, 188, 188, 0, 0, 0]]


@pytest.mark.parametrize("name", native.names())
@pytest.mark.parametrize(("height", "width", "factor"), [(1, 1, 1), (5, 7, 2), (3, 40, 3), (2, 9, 4)])
def test_all_paths_average_to_the_same_bytes(name: str, height: int, width: int, factor: int) -> None:
    rows = np.random.default_rng(4).integers(0, 256, (height * factor, 3 * width * factor)).astype(np.uint8)
    made, expected = np.zeros((height, 3 * width), np.uint8), np.zeros((height, 3 * width), np.uint8)
    for out, average in ((made, native.made(name).function("average_light")), (expected, average_light)):
        pixels, light, levels, target = (array.ctypes.data for array in (rows, LIGHT, LEVELS, out))
        assert average(pixels, light, levels, target, height, width, factor) == 0
    boxes = LIGHT[rows].reshape(height, factor, width, factor, 3).astype(float)
    assert np.array_equal(made, expected)
    assert np.array_equal(made.reshape(height, width, 3), LEVELS[np.floor(boxes.mean(axis=(1, 3)) + 0.5).astype(int)])
