"""Distances and reliefs, against the definitions and against what is known of the set."""

from __future__ import annotations

import cmath
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from renderers.lease import parse_lease
from renderers.mandelbrot import native
from renderers.mandelbrot.kernel import Limits, View, Window, render_tile
from renderers.mandelbrot.layout import FAR
from renderers.mandelbrot.light import dimmed
from renderers.mandelbrot.methods import painting
from renderers.mandelbrot.portable.derivative import derivative
from renderers.mandelbrot.shading import Slopes, distances, facing, slopes
from renderers.mandelbrot.tile import Counts
from tests.unit.renderers.manager_server import lease_document

LIMITS = Limits(500, 2.0)


def point(view: View, window: Window, pixel: int) -> complex:
    row, col = divmod(pixel, window.cols)
    return complex(view.x0 + (window.col0 + col) * view.dx, view.y0 + (window.row0 + row) * view.dy)


def orbit(c: complex) -> tuple[complex, complex]:
    """z and dz/dc when z is far."""
    z, dz = 0j, 0j
    while abs(z) ** 2 < FAR:
        z, dz = z * z + c, 2 * z * dz + 1
    return z, dz


def counted(view: View, window: Window, limits: Limits = LIMITS) -> Counts:
    shape = (window.rows, window.cols)
    counts, smooth = np.empty(shape, np.uint32), np.empty(shape, np.float32)
    assert render_tile(view, window, limits, counts, smooth, np.zeros(1, np.uint8))
    return counts


def found(view: View, window: Window, limits: Limits = LIMITS) -> Slopes:
    return slopes(view, window, counted(view, window, limits), limits)


@settings(max_examples=30, deadline=None)
@given(
    st.floats(-2, 0.5),
    st.floats(-1.2, 1.2),
    st.integers(0, 12),
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(0, 99),
)
def test_every_outside_point_is_followed_with_its_derivative(
    x: float, y: float, depth: int, rows: int, cols: int, col0: int
) -> None:
    view, window = View(x, y, 10.0**-depth / 64, 10.0**-depth / 50), Window(3, col0, rows, cols)
    counts = counted(view, window)
    result = found(view, window)
    assert sorted(result.pixels) == np.flatnonzero(counts.reshape(-1) < 500).tolist()
    for place, pixel in list(enumerate(result.pixels))[:: max(1, len(result.pixels) // 5)]:
        z, dz = orbit(point(view, window, int(pixel)))
        assert complex(*result.z[:, place]) == pytest.approx(z, rel=1e-12)
        assert complex(*result.dz[:, place]) == pytest.approx(dz, rel=1e-9)


def test_left_of_the_needle_the_distance_lies_within_its_bounds() -> None:
    view, window = View(-2.1, 0.0, 0.001, 1.0), Window(0, 0, 1, 90)
    estimate, true = distances(found(view, window)), np.empty(90)
    true[...] = [abs(point(view, window, int(pixel)) + 2) for pixel in found(view, window).pixels]
    assert (estimate / 4 <= true * 1.000001).all()
    assert (true <= estimate * 1.000001).all()


def test_far_from_the_set_the_slope_points_away_from_it() -> None:
    view, window = View(-8.0, -8.0, 2.0, 2.0), Window(0, 0, 9, 9)
    result = found(view, window)
    for angle in (0.0, 60.0, 200.0):
        light = cmath.rect(1.0, math.radians(angle))
        for place, pixel in enumerate(result.pixels):
            c = point(view, window, int(pixel))
            if abs(c) > 3:
                expected = (c * light.conjugate()).real / abs(c)
                assert facing(result, angle)[place] == pytest.approx(expected, abs=0.25)


def test_derivatives_beyond_doubles_count_as_no_distance_and_no_slope() -> None:
    z, dz = np.array([[1e6, 1e6], [0.0, 1.0]]), np.array([[np.inf, np.nan], [1.0, np.nan]])
    extreme = Slopes(np.arange(2), z, dz)
    assert distances(extreme).tolist() == [0.0, 0.0]
    assert np.isfinite(facing(extreme, 45.0)).all()


def painted(method: str, **changes: object) -> tuple[NDArray[np.uint8], Counts, NDArray[np.uint8]]:
    """The picture by this method, the counts in its order, and the picture in smooth colours."""
    look = parse_lease(lease_document(coloring=lease_document()["coloring"] | {"method": method} | changes))
    plain = replace(look, coloring=replace(look.coloring, method="smooth"))
    window = Window(0, 0, 64, 64)
    counts, smooth = np.empty((64, 64), np.uint32), np.empty((64, 64), np.float32)
    assert isinstance(look.view, View)
    assert render_tile(look.view, window, look.limits, counts, smooth, np.zeros(1, np.uint8))
    pictures = [painting(each)(look.view, window, counts, smooth).reshape(64, 64, 3) for each in (look, plain)]
    return pictures[0], counts[::-1], pictures[1]


def test_distances_darken_towards_the_set_and_leave_the_inside_alone() -> None:
    picture, counts, _ = painted("distance", stops=[[0.0, "#000000"], [1.0, "#ffffff"]])
    inside = counts == 100
    assert (picture[inside] == (0x10, 0x20, 0x30)).all()
    beside = np.zeros_like(inside)
    beside[:, 1:] |= inside[:, :-1]
    near, far = picture[beside & ~inside].mean(), picture[:, 0].mean()
    assert near < 200 < far


def test_a_relief_is_the_smooth_picture_in_another_light() -> None:
    lit, counts, plain = painted("normal", light_angle=90.0, light_height=0.0)
    inside = counts == 100
    assert np.array_equal(lit[inside], plain[inside])
    top, bottom = lit[0].astype(int), lit[-1].astype(int)
    assert top.sum() > 0
    assert bottom.sum() == 0
    even = dimmed(plain.reshape(64, 192), np.ones((64, 64), np.float32)).reshape(64, 64, 3)
    assert (lit <= even).all()


@pytest.mark.parametrize("name", native.names())
def test_all_paths_follow_points_to_the_same_bytes(name: str) -> None:
    rng = np.random.default_rng(11)
    steps = np.sort(rng.integers(1, 60, 75).astype(np.uint32))[::-1].copy()
    c = rng.uniform(-2, 2, (2, 75))
    made, expected = np.full((4, 75), 7.0), np.empty((4, 75))
    for out, follow in ((made, native.made(name).function("derivative")), (expected, derivative)):
        cx, cy, due, target = (array.ctypes.data for array in (c[0], c[1], steps, out))
        assert follow(cx, cy, due, target, 75) == 0
    np.testing.assert_array_equal(made, expected)
