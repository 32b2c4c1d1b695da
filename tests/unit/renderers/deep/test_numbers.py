"""Scaled numbers, the reference orbit and its tables."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renderers.mandelbrot.deep import bla, orbit
from renderers.mandelbrot.deep.layout import BLOCK, NOTHING, PADDING, SHORTEST, TINY
from renderers.mandelbrot.deep.model import Tables
from renderers.mandelbrot.deep.orbit import Orbit, OrbitInterrupted, precision, reference_orbit
from renderers.mandelbrot.deep.scaled import Complexes, Reals, Scaled, normal
from tests.unit.renderers.deep.places import MINIBROT, SPIRALS, WIDE_MINIBROT
from tests.unit.renderers.deep.precise import exact, place

parts = st.floats(-1e6, 1e6, allow_nan=False, allow_subnormal=False)
exponents = st.integers(-5000, 5000)


def complexes(re: float, im: float, e: int) -> Complexes:
    return normal(np.array([re]), np.array([im]), np.array([e], np.int32))


def value(number: Complexes) -> tuple[Fraction, Fraction]:
    scale = Fraction(2) ** int(number.e[0]) if number.e[0] != NOTHING else Fraction(0)
    return Fraction(number.re[0]) * scale, Fraction(number.im[0]) * scale


def real(m: float, e: int) -> Reals:
    return Reals(np.array([m]), np.array([e], np.int32))


@settings(deadline=None)
@given(st.fractions(max_denominator=10**400), st.integers(-3000, 3000))
def test_a_scaled_number_is_the_nearest(number: Fraction, exponent: int) -> None:
    wanted = number * Fraction(2) ** exponent
    got = Scaled.of(wanted)
    assert abs(exact(got) - wanted) <= abs(wanted) / 2**52
    assert not number or 0.5 <= abs(got.mantissa) <= 1.0


@settings(deadline=None)
@given(parts, parts, exponents, parts, parts, exponents)
def test_sums_and_products_are_near_whatever_the_exponents(
    a: float, b: float, e: int, c: float, d: float, f: int
) -> None:
    one, other = complexes(a, b, e), complexes(c, d, f)
    (x, y), (u, v) = value(one), value(other)
    largest = max(map(abs, (x, y))), max(map(abs, (u, v)))
    for got, wanted, size in (
        (one.plus(other), (x + u, y + v), max(largest)),
        (one.times(other), (x * u - y * v, x * v + y * u), largest[0] * largest[1]),
    ):
        assert all(abs(mine - right) <= size / 2**50 for mine, right in zip(value(got), wanted, strict=True))


@pytest.mark.parametrize(
    ("got", "wanted"),
    [
        (real(0.75, 4000).over(real(0.5, -4000)), (0.75, 8001)),
        (real(0.5, -4000).over(real(0.0, NOTHING)), (0.0, NOTHING)),
        (real(0.5, 10).less(real(0.75, 10)), (0.0, NOTHING)),
        (real(0.75, 10).less(real(0.5, 10)), (0.5, 9)),
        (real(0.75, 10).at_most(real(0.5, 11)), (0.75, 10)),
        (real(0.75, -3000).at_most(real(0.0, NOTHING)), (0.0, NOTHING)),
    ],
)
def test_real_arithmetic_keeps_its_range(got: Reals, wanted: tuple[float, int]) -> None:
    assert (got.m[0], got.e[0]) == wanted


def test_the_orbit_is_that_of_full_precision() -> None:
    reference, _ = place(SPIRALS, "1e-30", (8, 8), 3000)
    found = reference.orbit()
    assert found.last == 3000
    x = y = Fraction(0)
    scale = 1 << 400
    for step in range(301):
        assert found.twice[step] == pytest.approx([float(2 * x), float(2 * y)], rel=2**-52, abs=0)
        x, y = x * x - y * y + reference.center[0], 2 * x * y + reference.center[1]
        x, y = (Fraction(round(part * scale), scale) for part in (x, y))


def test_the_orbit_does_not_depend_on_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    reference, _ = place(WIDE_MINIBROT, "1e-346", (8, 8), 9000)
    found = reference.orbit()
    monkeypatch.setattr(orbit, "whole_number", int)
    other = reference.orbit()
    assert found.twice.tobytes() == other.twice.tobytes()
    assert found.tiny.tobytes() == other.tiny.tobytes()


def test_an_orbit_ends_with_its_first_value_beyond_the_radius() -> None:
    reference, _ = place(("1", "0"), "1e-20", (8, 8), 100, 10.0)
    found = reference.orbit()
    assert found.twice[: found.last + 1, 0].tolist() == [0.0, 2.0, 4.0, 10.0, 52.0]
    assert (found.twice[found.last + 1 :] == 0.0).all()
    assert len(found.twice) == found.last + 1 + PADDING


def test_values_below_the_range_of_doubles_keep_their_exponent() -> None:
    half = Fraction(1, 3 * 10**400)
    found = reference_orbit((half, -half), 1600, 10, 2.0, lambda: False)
    assert found.tiny["step"].tolist() == list(range(1, 11))
    first = found.doubled(1, 2)
    assert value(first)[0] == pytest.approx(2 * half, rel=1e-15)
    assert value(first)[1] == -value(first)[0]
    assert (found.twice == 0.0).all()
    assert abs(found.twice).max() < TINY


def test_precision_follows_the_radius() -> None:
    assert precision(Fraction(1, 2**300)) == pytest.approx(364, abs=1)
    assert precision(Fraction(10)) == 64


def test_an_orbit_that_is_not_wanted_any_more_is_given_up() -> None:
    reference, _ = place(SPIRALS, "1e-30", (8, 8), 10_000_000)
    with pytest.raises(OrbitInterrupted):
        reference.orbit(lambda: True)


@pytest.mark.parametrize(("center", "radius"), [(MINIBROT, "1e-49"), (WIDE_MINIBROT, "1e-340")])
def test_a_stretch_is_as_exact_as_its_steps(center: tuple[str, str], radius: str) -> None:
    """dz at half of what a stretch allows, with the farthest dc, by the stretch and step by step in full precision."""
    reference, view = place(center, radius, (8, 8), 1200)
    found = reference.orbit()
    table = bla.levels(found, view.farthest)
    assert len(table) > 2
    for level in range(len(table)):
        valid = np.flatnonzero(table[level].r.m > 0.0)
        for number in valid[:: max(1, len(valid) // 2)]:
            assert _error(found, table, level, int(number), view.farthest) < 2.0**-50 * (16 << level)


def _error(found: Orbit, table: list[bla.Level], level: int, number: int, farthest: Scaled) -> float:
    """Of a stretch, relative to its result."""
    stretch = table[level]
    dz = exact(Scaled(float(stretch.r.m[number]), int(stretch.r.e[number]) - 1)), Fraction(0)
    dc = Fraction(0), exact(farthest)
    (ax, ay), (bx, by) = (value(part[number : number + 1]) for part in (stretch.a, stretch.b))
    linear = ax * dz[0] - ay * dz[1] + bx * dc[0] - by * dc[1], ax * dz[1] + ay * dz[0] + bx * dc[1] + by * dc[0]
    length = BLOCK << level
    x, y = dz
    for step in range(1 + number * length, 1 + (number + 1) * length):
        p, q = (part + own for part, own in zip(value(found.doubled(step, step + 1)), (x, y), strict=True))
        x, y = p * x - q * y + dc[0], p * y + q * x + dc[1]
        x, y = (Fraction(round(part * 2**3000), 2**3000) for part in (x, y))
    size = max(abs(x), abs(y))
    return float(max(abs(x - linear[0]), abs(y - linear[1])) / size)


def test_no_stretch_ends_at_the_last_value() -> None:
    for last in (1, 2, BLOCK, BLOCK + 1, BLOCK + 2, BLOCK + 3, 70):
        reference, view = place(MINIBROT, "1e-49", (8, 8), last)
        for level, stretches in enumerate(bla.levels(reference.orbit(), view.farthest)):
            assert 1 + (len(stretches) << (SHORTEST + level)) < last


def test_the_tables_of_a_wide_view_have_entries_with_exponents() -> None:
    for radius, wide in (("1e-280", False), ("1e-300", True)):
        reference, view = place(WIDE_MINIBROT, radius, (8, 8), 1000)
        tables = Tables.of(reference.orbit(), view.farthest)
        assert len(tables.entries) == tables.starts[-1]
        assert len(tables.wide_entries) == (tables.starts[-1] if wide else 0)
