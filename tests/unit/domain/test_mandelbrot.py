"""Mandelbrot parameters: what is accepted, one form for equal parameters, and the exact sample grid."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm.domain.mandelbrot import FORMULAS, DeepView, View, canonical, digest, geometry
from rrm.errors import Invalid

VALLEY = {"viewport": [-0.745, -0.735, 0.105, 0.115], "max_iter": 2000}
BURST = {"viewport": [-2.5, 1, -1.25, 1.25], "max_iter": 256, "fit": "stretch"}
ROWS = {"viewport": [-0.0655945, 0.0600945, 0.741986625, 0.836253375], "max_iter": 800}
DEEP = "0.013438870532012129028364919004019686867528573314565492885548699"


def _centered(**changes: Any) -> dict[str, Any]:
    return {"center": ["-0.74", "0.11"], "radius": "0.005", "max_iter": 2000} | changes


def _doubles(params: dict[str, Any], width: int, height: int) -> View:
    """The grid, which must be in doubles."""
    view = geometry(canonical(params), width, height)
    assert isinstance(view, View)
    return view


def _refusal(params: object) -> dict[str, list[str]]:
    with pytest.raises(Invalid) as caught:
        canonical(params)
    return caught.value.errors


def test_parameters_are_completed_and_written_in_one_form() -> None:
    assert canonical(_centered(center=[-0.740, "1.10e-1"], radius=0.005)) == {
        "formula": "mandelbrot",
        "center": ["-0.74", "0.11"],
        "radius": "0.005",
        "max_iter": 2000,
        "escape_radius": 2.0,
    }
    assert canonical(BURST)["viewport"] == ["-2.5", "1", "-1.25", "1.25"]
    assert "fit" not in canonical(VALLEY | {"fit": None})


@pytest.mark.parametrize("text", ["-0.740", "-7.4e-1", "-.74", "-0074E-2", "-0.74000000000000000000", -0.74])
def test_equal_numbers_give_an_equal_digest(text: object) -> None:
    assert digest(canonical(_centered(center=[text, "0.11"]))) == digest(canonical(_centered()))


@pytest.mark.parametrize("zero", ["0", "-0", "0.000", "-0e5", 0, -0.0, "0e999999"])
def test_zero_has_one_form(zero: object) -> None:
    assert canonical(_centered(center=[zero, 1]))["center"] == ["0", "1"]


@pytest.mark.parametrize(
    "changes",
    [
        {"center": ["-0.74", "0.12"]},
        {"radius": "0.0050000000000000000000000000001"},
        {"max_iter": 2001},
        {"escape_radius": 3},
    ],
)
def test_different_parameters_give_different_digests(changes: dict[str, Any]) -> None:
    assert digest(canonical(_centered(**changes))) != digest(canonical(_centered()))


def test_the_digest_does_not_depend_on_the_order_of_keys_and_survives_json() -> None:
    params = canonical(_centered())
    shuffled = json.loads(json.dumps(dict(reversed(params.items()))))
    assert digest(shuffled) == digest(params)
    assert len(digest(params)) == 64


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-1000, max_value=1000, places=40))
def test_the_canonical_text_is_the_same_number_and_its_own_canonical_text(number: Decimal) -> None:
    text = canonical(_centered(center=[str(number), 0]))["center"][0]
    assert Decimal(text) == number
    assert canonical(_centered(center=[text, 0]))["center"][0] == text


@given(st.floats(-1e6, 1e6))
def test_a_double_keeps_its_value(number: float) -> None:
    assert float(canonical(_centered(center=[number, 0]))["center"][0]) == number


def test_sixty_digits_survive() -> None:
    assert canonical(_centered(center=[DEEP, "0"]))["center"][0] == DEEP


def test_tiny_numbers_are_written_with_an_exponent() -> None:
    assert canonical(_centered(radius="0.000000000000123000"))["radius"] == "1.23e-13"
    assert canonical(_centered(radius="0.0000001"))["radius"] == "0.0000001"


@pytest.mark.parametrize(
    "number", ["NaN", "inf", "-Infinity", "1_0", "٣", "", " 1", "0x1", "1e", True, None, [1], math.nan, math.inf]
)
def test_what_is_no_finite_number_is_refused(number: object) -> None:
    assert list(_refusal(_centered(center=["0", number]))) == ["params.center"]


@pytest.mark.parametrize(
    "number",
    ["1000001", 10**400, 1e300, "1e999999", "-1000000.00000000000000000000000000000001", "1e-2001", "1" * 2001],
)
def test_numbers_beyond_reason_are_refused(number: object) -> None:
    assert list(_refusal(_centered(center=[number, "0"]))) == ["params.center"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"formula": "julia"}, "formula"),
        ({"formula": ["mandelbrot"]}, "formula"),
        ({"center": "0"}, "center"),
        ({"center": ["0"]}, "center"),
        ({"center": None}, "center"),
        ({"radius": 0}, "radius"),
        ({"radius": "-1"}, "radius"),
        ({"radius": None}, "radius"),
        ({"max_iter": 0}, "max_iter"),
        ({"max_iter": 10_000_001}, "max_iter"),
        ({"max_iter": 100.0}, "max_iter"),
        ({"max_iter": True}, "max_iter"),
        ({"max_iter": None}, "max_iter"),
        ({"escape_radius": 1.99}, "escape_radius"),
        ({"escape_radius": True}, "escape_radius"),
        ({"escape_radius": "2"}, "escape_radius"),
        ({"escape_radius": math.nan}, "escape_radius"),
        ({"escape_radius": 10**400}, "escape_radius"),
        ({"fit": "expand"}, "fit"),
        ({"zoom": 3}, "zoom"),
    ],
)
def test_each_field_that_cannot_be_accepted_is_named(changes: dict[str, Any], field: str) -> None:
    assert list(_refusal(_centered(**changes))) == [f"params.{field}"]


@pytest.mark.parametrize(
    "viewport", [[1, -1, 0, 1], [0, 1, 1, 0], [0, 0, 0, 1], [0, 1, 2, 2], [0, 1, 2], "0", None, [0, 1, 0, True]]
)
def test_a_viewport_must_be_a_rectangle(viewport: object) -> None:
    assert list(_refusal({"viewport": viewport, "max_iter": 10})) == ["params.viewport"]


def test_a_viewport_and_a_center_exclude_each_other() -> None:
    errors = _refusal(VALLEY | {"radius": "1", "fit": "squeeze", "what": 1})
    assert errors["params.radius"] == ["Give either a viewport or a center and radius, not both."]
    assert errors["params.fit"] == ["Must be one of expand, stretch."]
    assert errors["params.what"] == ["There is no such parameter."]


def test_all_complaints_come_at_once() -> None:
    assert set(_refusal({})) == {"params.center", "params.radius", "params.max_iter"}


@pytest.mark.parametrize("params", [None, [], "mandelbrot"])
def test_parameters_are_an_object(params: object) -> None:
    assert list(_refusal(params)) == ["params"]


def test_the_grid_of_the_valley_is_that_of_the_reference() -> None:
    view = _doubles(VALLEY, 4096, 4096)
    assert view == View(-0.745, 0.105, (-0.735 - -0.745) / 4096, (0.115 - 0.105) / 4096)
    assert view == geometry(canonical(_centered()), 4096, 4096)
    assert view.as_dict() == {"x0": -0.745, "y0": 0.105, "dx": view.dx, "dy": view.dy}


def test_a_stretched_viewport_has_pixels_that_are_not_square() -> None:
    assert geometry(canonical(BURST), 2048, 2048) == View(-2.5, -1.25, 3.5 / 2048, 2.5 / 2048)


def test_the_default_picture_of_the_row_system_has_the_shape_of_its_image() -> None:
    view = _doubles(ROWS, 8192, 6144)
    assert view.x0 == -0.0655945
    assert view.dy == (0.836253375 - 0.741986625) / 6144


def test_a_viewport_of_another_shape_is_refused_with_both_shapes_and_the_ways_out() -> None:
    with pytest.raises(Invalid, match=r"1\.4 times as wide as high and the image 1 times.*'expand'.*'stretch'"):
        geometry(canonical({**BURST, "fit": None}), 2048, 2048)


def test_a_viewport_may_be_off_by_less_than_half_a_pixel() -> None:
    geometry(canonical({"viewport": [0, "1.0004", 0, 1], "max_iter": 9}), 1000, 1000)
    with pytest.raises(Invalid):
        geometry(canonical({"viewport": [0, "1.0006", 0, 1], "max_iter": 9}), 1000, 1000)


@pytest.mark.parametrize(("width", "height", "view"), [
    (400, 200, View(-2.0, -1.0, 0.01, 0.01)), (200, 400, View(-1.0, -2.0, 0.01, 0.01)),
])  # fmt: skip
def test_expanding_shows_more_around_the_same_center(width: int, height: int, view: View) -> None:
    assert geometry(canonical({"viewport": [-1, 1, -1, 1], "max_iter": 9, "fit": "expand"}), width, height) == view


@pytest.mark.parametrize(("width", "height"), [(400, 200), (200, 400), (300, 300)])
def test_the_radius_is_half_of_the_shorter_side(width: int, height: int) -> None:
    view = _doubles(_centered(center=[0, 0], radius=1), width, height)
    assert min(view.dx * width, view.dy * height) == 2
    assert view.dx == view.dy
    assert (view.x0, view.y0) == (-view.dx * width / 2, -view.dy * height / 2)


@given(x=st.integers(-(10**30), 10**30), radius=st.integers(10**22, 10**30), size=st.integers(1, 4096))
def test_the_corner_is_rounded_once(x: int, radius: int, size: int) -> None:
    scale = Fraction(1, 10**30)
    params = _centered(center=[f"{x}e-30", 0], radius=f"{radius}e-30")
    assert _doubles(params, size, size).x0 == float((x - radius) * scale)


@pytest.mark.parametrize(
    "params",
    [
        _centered(radius="9.9e-1001"),
        _centered(radius="1e-1500"),
        {"viewport": [0, "1e-1002", 0, 1], "max_iter": 9, "fit": "stretch"},
    ],
)
def test_a_view_too_deep_is_refused_with_the_limit(params: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match=r"below 1e-1000, the deepest that can be rendered") as caught:
        geometry(canonical(params), 16, 16)
    assert list(caught.value.errors) == ["params.viewport" if "viewport" in params else "params.radius"]


def test_a_view_too_deep_for_doubles_is_given_around_its_centre() -> None:
    view = geometry(canonical(_centered(center=[DEEP, "0.5"], radius="1e-30")), 1024, 1024)
    assert view == DeepView((DEEP, "0.5"), "1.953125e-33", "1.953125e-33")
    assert view.as_dict() == {
        "method": "perturbation",
        "center": [DEEP, "0.5"],
        "dx": "1.953125e-33",
        "dy": "1.953125e-33",
    }


def test_the_change_of_method_is_at_1e_13() -> None:
    assert isinstance(geometry(canonical(_centered(radius="1e-13")), 100, 100), View)
    assert isinstance(geometry(canonical(_centered(radius="9.9e-14")), 100, 100), DeepView)


def test_pixels_that_doubles_cannot_tell_apart_are_given_around_a_centre() -> None:
    params = canonical(_centered(radius="1e-13"))
    assert isinstance(geometry(params, 256, 256), View)
    assert isinstance(geometry(params, 4096, 4096), DeepView)
    distant = {"viewport": [0, 1, 999999, "999999.000000000001"], "max_iter": 9, "fit": "stretch"}
    view = geometry(canonical(distant), 100, 50)
    assert view == DeepView(("0.5", "999999.0000000000005"), "0.01", "2e-14")


@given(
    x=st.integers(-(10**400), 10**400),
    sides=st.tuples(st.integers(1, 10**9), st.integers(1, 10**9)),
    size=st.tuples(st.integers(1, 9999), st.integers(1, 9999)),
)
def test_the_grid_of_a_deep_viewport_is_exact_at_its_centre_and_near_enough_at_its_edges(
    x: int, sides: tuple[int, int], size: tuple[int, int]
) -> None:
    edges = [f"{x}e-400", f"{x + sides[0]}e-400", "0", f"{sides[1]}e-400"]
    view = geometry(canonical({"viewport": edges, "max_iter": 9, "fit": "stretch"}), *size)
    assert isinstance(view, DeepView)
    assert Fraction(view.center[0]) == Fraction(2 * x + sides[0], 2 * 10**400)
    for step, side, count in zip((view.dx, view.dy), sides, size, strict=True):
        wanted = Fraction(side, 10**400)
        assert abs(Fraction(step) * count - wanted) <= wanted / 10**38


@pytest.mark.parametrize("edges", [["-1.8", "-1.7", "1e-400", "3e-400"], ["1e-30", "3e-30", "-1.8", "-1.7"]])
def test_a_deep_view_stretched_beyond_what_doubles_can_tell_apart_is_refused(edges: list[str]) -> None:
    with pytest.raises(Invalid, match=r"may be at most 2\^50 times as long") as caught:
        geometry(canonical({"viewport": edges, "max_iter": 9, "fit": "stretch"}), 16, 16)
    assert list(caught.value.errors) == ["params.viewport"]


def test_other_formulas_are_refused_where_doubles_end() -> None:
    params = canonical(_centered(radius="1e-20")) | {"formula": "tricorn"}
    with pytest.raises(Invalid, match="deep") as caught:
        geometry(params, 16, 16)
    assert list(caught.value.errors) == ["params.formula"]


def test_the_shape_of_a_deep_viewport_matters_too() -> None:
    with pytest.raises(Invalid, match=r"1\.00000e\+900 times as wide as high"):
        geometry(canonical({"viewport": [0, 1, 0, "1e-900"], "max_iter": 9}), 16, 16)


@given(
    x=st.floats(-2, 2),
    y=st.floats(-2, 2),
    radius=st.floats(1e-13, 4),
    width=st.integers(1, 8192),
    height=st.integers(1, 8192),
)
def test_every_accepted_grid_has_distinct_samples(x: float, y: float, radius: float, width: int, height: int) -> None:
    view = geometry(canonical(_centered(center=[x, y], radius=radius)), width, height)
    if isinstance(view, DeepView):
        return
    for start, step, count in ((view.x0, view.dx, width), (view.y0, view.dy, height)):
        for index in (0, count // 2, count - 2):
            assert start + index * step < start + (index + 1) * step


@pytest.mark.parametrize("formula", FORMULAS)
def test_formulas_and_julia_sets_are_models_of_their_own(formula: str) -> None:
    plain = canonical(_centered(formula=formula))
    julia = canonical(_centered(formula=formula, julia=[-0.8, "0.1560"]))
    assert plain["formula"] == julia["formula"] == formula
    assert "julia" not in plain
    assert julia["julia"] == ["-0.8", "0.156"]
    assert digest(plain) != digest(julia)
    assert geometry(julia, 64, 64) == geometry(plain, 64, 64)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"julia": [2, 1]}, "beyond the escape radius of 2"),
        ({"julia": [0.5]}, "as [x, y]"),
        ({"julia": "here"}, "as [x, y]"),
        ({"julia": ["x", "0"]}, "Not a finite decimal"),
    ],
)
def test_a_constant_that_has_no_julia_set_here_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid) as caught:
        canonical(_centered(**changes))
    assert list(caught.value.errors) == ["params.julia"]
    assert said in caught.value.errors["params.julia"][0]


def test_a_julia_set_is_refused_where_doubles_end() -> None:
    with pytest.raises(Invalid) as caught:
        geometry(canonical(_centered(radius="1e-20", julia=[0, 1])), 64, 64)
    assert list(caught.value.errors) == ["params.formula"]
