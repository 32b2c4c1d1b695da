"""Palettes and the colouring of a job."""

from __future__ import annotations

import math
from typing import Any

import pytest

from rrm.domain.palettes import PALETTES, coloring, coloring_stops
from rrm.errors import Invalid


def _refusal(request: object) -> dict[str, list[str]]:
    with pytest.raises(Invalid) as caught:
        coloring(request)
    return caught.value.errors


def test_eleven_palettes_ship() -> None:
    linear = [name for name, palette in PALETTES.items() if palette.interpolation == "linear"]
    cosine = [name for name, palette in PALETTES.items() if palette.interpolation == "cosine"]
    assert linear == ["electric", "fire", "ocean", "cosmic"]
    assert sorted(cosine) == ["AfternoonBlue", "Biochemist", "Fiesta", "Hippi", "Plan9", "SummerBeach", "Vivid"]


@pytest.mark.parametrize("name", PALETTES)
def test_every_palette_ascends_from_0_to_1_and_is_accepted_as_stops(name: str) -> None:
    palette = coloring_stops(name)
    positions = [position for position, _ in palette.stops]
    assert positions == sorted(positions)
    assert (positions[0], positions[-1]) == (0, 1)
    assert all(positions.count(position) <= 2 for position in positions)
    wire = coloring({"palette": name})
    assert coloring({"stops": wire["stops"], "interpolation": wire["interpolation"]}) == wire


def test_stops_are_placed_as_their_family_does() -> None:
    assert coloring_stops("electric").stops[1] == (0.2, "#000764")
    assert coloring_stops("AfternoonBlue").stops[1] == (0.2, "#6c98b8")
    assert [position for position, _ in coloring_stops("Fiesta").stops] == [0, 0.4, 0.6, 0.8, 1]
    assert coloring_stops("Hippi").stops[:3] == ((0.0, "#00040f"), (0.12, "#032628"), (0.18, "#073e1e"))


def test_colors_that_share_a_hundredth_keep_its_two_sides() -> None:
    assert coloring_stops("Plan9").stops[:4] == ((0, "#000000"), (0, "#000044"), (0.01, "#000088"), (0.01, "#004400"))


def test_a_coloring_of_nothing_has_the_defaults() -> None:
    assert coloring({}) == {
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
    wire = coloring(request)
    assert (wire["method"], wire["offset"], wire["scale"], wire["interior"]) == ("bands", 0.25, -3.0, "#ffaa00")
    assert wire["interpolation"] == "cosine"


def test_a_gradient_of_ones_own_is_kept_as_given() -> None:
    wire = coloring({"stops": [[0.25, "#AA0000"], [1, "#00aa00"]], "interpolation": "cosine"})
    assert wire["stops"] == [[0.25, "#aa0000"], [1.0, "#00aa00"]]
    assert wire["interpolation"] == "cosine"
    assert coloring({"stops": [[0, "#000000"], [0, "#ffffff"]]})["interpolation"] == "linear"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"palette": "rainbow"}, "palette"),
        ({"palette": ["fire"]}, "palette"),
        ({"method": "histogram"}, "method"),
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
        ({"interpolation": "linear"}, "interpolation"),
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
    errors = _refusal({"palette": "rainbow", "method": "histogram"})
    assert errors["coloring.method"] == ["Must be one of smooth, bands."]
    assert "electric" in errors["coloring.palette"][0]


def test_a_coloring_is_an_object() -> None:
    assert list(_refusal("electric")) == ["coloring"]
