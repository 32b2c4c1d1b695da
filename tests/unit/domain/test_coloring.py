"""The colouring of a job: what is accepted, what becomes of it, and what else it needs."""

from __future__ import annotations

import math
from typing import Any

import pytest

from rrm.domain.coloring import METHODS, SHADED, check_kept, check_sampling, check_view, for_nodes, parse
from rrm.domain.palettes import PALETTES, Palette
from rrm.errors import Invalid

ONE_WAY = Palette("grey", ((0.0, "#000000"), (1.0, "#ffffff")), "linear", returns_home=False)


def _refusal(request: object) -> dict[str, list[str]]:
    with pytest.raises(Invalid) as caught:
        parse(request)
    return caught.value.errors


def test_a_coloring_of_nothing_has_the_defaults() -> None:
    assert parse({}) == {
        "stops": [list(stop) for stop in PALETTES["electric"].stops],
        "interpolation": "linear",
        "method": "smooth",
        "cycle": 256.0,
        "offset": 0.0,
        "scale": 1.0,
        "interior": "#000000",
    }


def test_everything_can_be_said() -> None:
    request = {"palette": "Vivid", "method": "bands", "offset": 0.25, "scale": -3, "interior": "#FFAA00"}
    wire = parse(request)
    assert (wire["method"], wire["offset"], wire["scale"], wire["interior"]) == ("bands", 0.25, -3.0, "#ffaa00")
    assert wire["interpolation"] == "cosine"


def test_a_gradient_of_ones_own_is_kept_as_given() -> None:
    wire = parse({"stops": [[0.25, "#AA0000"], [1, "#00aa00"]], "interpolation": "cosine"})
    assert wire["stops"] == [[0.25, "#aa0000"], [1.0, "#00aa00"]]
    assert wire["interpolation"] == "cosine"
    assert parse({"stops": [[0, "#000000"], [0, "#ffffff"]]})["interpolation"] == "linear"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"palette": "rainbow"}, "palette"),
        ({"palette": ["fire"]}, "palette"),
        ({"method": "rainbow"}, "method"),
        ({"method": None}, "method"),
        ({"offset": "1"}, "offset"),
        ({"offset": True}, "offset"),
        ({"offset": math.nan}, "offset"),
        ({"offset": math.inf}, "offset"),
        ({"offset": 10**400}, "offset"),
        ({"scale": 0}, "scale"),
        ({"scale": 1e7}, "scale"),
        ({"scale": False}, "scale"),
        ({"interior": "black"}, "interior"),
        ({"interior": "#00000"}, "interior"),
        ({"interior": 0}, "interior"),
        ({"gamma": 2}, "gamma"),
        ({"interpolation": "cubic"}, "interpolation"),
        ({"interpolation": None}, "interpolation"),
        ({"repeat": "twice"}, "repeat"),
        ({"repeat": None}, "repeat"),
        ({"light_angle": 30}, "light_angle"),
        ({"method": "distance", "light_height": 1}, "light_height"),
        ({"method": "normal", "light_angle": 361}, "light_angle"),
        ({"method": "normal", "light_height": -0.1}, "light_height"),
        ({"method": "normal", "light_height": "high"}, "light_height"),
        ({"method": ["smooth"]}, "method"),
        ({"stops": [[0, "#000000"], [1, "#ffffff"]], "palette": "fire"}, "palette"),
        ({"stops": [[0, "#000000"], [1, "#ffffff"]], "interpolation": "cubic"}, "interpolation"),
        ({"stops": [[0, "#000000"]]}, "stops"),
        ({"stops": "fire"}, "stops"),
        ({"stops": [[0, "#000000"]] * 1025}, "stops"),
        ({"stops": [[0.5, "#000000"], [0.4, "#ffffff"]]}, "stops"),
        ({"stops": [[0, "#000000"], [1.1, "#ffffff"]]}, "stops"),
        ({"stops": [[math.nan, "#000000"], [1, "#ffffff"]]}, "stops"),
        ({"stops": [[0, "#000000"], [1, "white"]]}, "stops"),
        ({"stops": [[0, "#000000"], "#ffffff"]}, "stops"),
        ({"stops": [[0, "#000000"], [1, "#ffffff", 2]]}, "stops"),
    ],
)
def test_each_field_that_cannot_be_accepted_is_named(request_: dict[str, Any], field: str) -> None:
    assert list(_refusal(request_)) == [f"coloring.{field}"]


def test_a_refusal_names_what_exists() -> None:
    errors = _refusal({"palette": "rainbow", "method": "rainbow"})
    assert errors["coloring.method"] == ["Must be one of smooth, bands, histogram, distance, normal."]
    assert "electric" in errors["coloring.palette"][0]


def test_a_coloring_is_an_object() -> None:
    assert list(_refusal("electric")) == ["coloring"]


def test_a_named_palette_may_be_interpolated_in_the_other_way() -> None:
    assert parse({"palette": "Vivid", "interpolation": "linear"})["interpolation"] == "linear"
    assert parse({"palette": "fire", "interpolation": "cosine"})["interpolation"] == "cosine"


def test_a_map_that_ends_elsewhere_runs_forth_and_back_where_values_cycle() -> None:
    known = {"grey": ONE_WAY}
    there_and_back = [[0, "#000000"], [0.5, "#ffffff"], [0.5, "#ffffff"], [1, "#000000"]]
    once = [[0.0, "#000000"], [1.0, "#ffffff"]]
    for method in ("smooth", "bands", "normal"):
        assert parse({"palette": "grey", "method": method}, known)["stops"] == there_and_back
    for method in ("histogram", "distance"):
        assert parse({"palette": "grey", "method": method}, known)["stops"] == once
    assert parse({"palette": "grey", "repeat": "wrap"}, known)["stops"] == once
    assert parse({"stops": once, "repeat": "mirror"})["stops"] == there_and_back


def test_light_belongs_to_the_relief() -> None:
    look = parse({"method": "normal", "light_angle": 30})
    assert (look["light_angle"], look["light_height"]) == (30.0, 1.5)
    assert "light_angle" not in parse({})


@pytest.mark.parametrize("method", METHODS)
def test_nodes_get_a_method_that_they_know(method: str) -> None:
    look = parse({"method": method})
    assert for_nodes(look) == look | {"method": "smooth" if method == "histogram" else method}


def test_a_histogram_takes_one_sample_for_each_pixel() -> None:
    check_sampling(parse({"method": "histogram"}), 1)
    check_sampling(parse({"method": "normal"}), 4)
    with pytest.raises(Invalid) as refused:
        check_sampling(parse({"method": "histogram"}), 2)
    assert list(refused.value.errors) == ["supersample"]


DOUBLES: dict[str, Any] = {"x0": -2.0, "y0": -1.0, "dx": 0.1, "dy": 0.1}
DEEP: dict[str, Any] = {"method": "perturbation", "center": ["0", "0"], "dx": "1e-40", "dy": "1e-40"}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("formula", "view"), [("mandelbrot", DEEP), ("tricorn", DOUBLES), ("mandelbrot", DOUBLES | {"method": "double"})]
)
def test_what_needs_a_derivative_is_refused_where_there_is_none(
    method: str, formula: str, view: dict[str, Any]
) -> None:
    look, params = parse({"method": method}), {"formula": formula}
    if method in SHADED and (formula, view.get("method")) != ("mandelbrot", "double"):
        with pytest.raises(Invalid) as refused:
            check_view(look, params, view)
        assert list(refused.value.errors) == ["coloring.method"]
    else:
        check_view(look, params, view)


@pytest.mark.parametrize(("method", "kept"), [("smooth", "smooth"), ("histogram", "smooth"), ("bands", "counts")])
def test_a_method_can_be_shown_from_the_values_that_it_needs(method: str, kept: str) -> None:
    check_kept(parse({"method": method}), ["png", kept])


@pytest.mark.parametrize(
    ("method", "outputs", "missing"),
    [
        ("smooth", ["png", "counts"], "'smooth' among its outputs"),
        ("histogram", ["png"], "'smooth' among its outputs"),
        ("bands", ["smooth"], "'counts' among its outputs"),
        ("distance", ["counts", "smooth"], "order the view with this method"),
        ("normal", ["counts", "smooth"], "order the view with this method"),
    ],
)
def test_a_method_whose_values_were_not_kept_says_what_to_order(method: str, outputs: list[str], missing: str) -> None:
    look = parse({"method": method})
    with pytest.raises(Invalid) as refused:
        check_kept(look, outputs)
    assert missing in refused.value.errors["coloring.method"][0]
