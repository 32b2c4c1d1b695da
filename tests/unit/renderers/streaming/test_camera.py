"""What a camera may be asked to show, and what it says when it may not."""

from typing import Any

import pytest

from renderers.streaming.camera import Camera, Refused, changed

DIGITS = "-0." + "1234567890" * 30


def errors_of(request: object, camera: Camera | None = None) -> dict[str, list[str]]:
    with pytest.raises(Refused) as caught:
        changed(camera or Camera(), request)
    return caught.value.errors


def test_only_what_is_sent_changes() -> None:
    camera = changed(Camera(palette="fire", width=640), {"radius": "0.5"})

    assert (camera.radius, camera.palette, camera.width) == ("0.5", "fire", 640)


def test_decimals_keep_all_their_digits() -> None:
    camera = changed(Camera(), {"center": [DIGITS, "1e-300"], "radius": "3.7e-290"})

    assert (camera.center, camera.radius) == ((DIGITS, "1e-300"), "3.7e-290")


def test_json_numbers_are_taken_by_their_shortest_decimals() -> None:
    assert changed(Camera(), {"center": [0.1, -1], "radius": 1e-7}).center == ("0.1", "-1")


@pytest.mark.parametrize("zero", ["0e999999", "-0e-999999", "0.000"])
def test_a_zero_costs_nothing_however_it_is_written(zero: str) -> None:
    assert changed(Camera(), {"center": [zero, "1"]}).center == ("0", "1")


def test_every_wrong_field_is_named_at_once() -> None:
    found = errors_of({"radius": "-1", "width": 5, "palette": "none", "colour": 1, "max_iter": 2.5})

    assert set(found) == {"radius", "width", "palette", "colour", "max_iter"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("center", ["0"]),
        ("center", "0,0"),
        ("center", ["nan", "0"]),
        ("center", ["1e7", "0"]),
        ("center", ["0" * 2001, "0"]),
        ("center", [float("inf"), 0]),
        ("center", [True, 0]),
        ("radius", "0"),
        ("radius", "1e-1001"),
        ("radius", "1e999999"),
        ("radius", None),
        ("width", True),
        ("height", 8193),
        ("max_iter", 0),
        ("max_iter", 10_000_001),
        ("escape_radius", 1.5),
        ("formula", "sine"),
        ("julia", ["1"]),
        ("julia", ["3", "0"]),
        ("stops", [[0, "#000000"]]),
        ("stops", [[0.5, "#000000"], [0.1, "#ffffff"]]),
        ("stops", [[0, "black"], [1, "#ffffff"]]),
        ("stops", [[0, "#000000"]] * 1025),
        ("palette", ["fire"]),
        ("method", "histogram"),
        ("interpolation", "cubic"),
        ("offset", float("nan")),
        ("scale", 0),
        ("interior", "#12345"),
        ("light_angle", 361),
        ("format", "webp"),
        ("id", [1]),
        ("id", "x" * 65),
    ],
)
def test_what_cannot_be_shown_is_refused_by_its_field(field: str, value: Any) -> None:
    assert set(errors_of({field: value})) == {field}


@pytest.mark.parametrize("request_", [[], "camera", None, 3])
def test_a_camera_is_an_object(request_: object) -> None:
    assert set(errors_of(request_)) == {"camera"}


def test_an_image_has_no_more_pixels_than_memory_allows() -> None:
    assert changed(Camera(), {"width": 4096, "height": 4096}).width == 4096
    assert set(errors_of({"width": 8192, "height": 2049})) == {"width"}


def test_stops_take_the_place_of_a_palette_and_the_other_way_round() -> None:
    striped = changed(Camera(), {"stops": [[0, "#FF0000"], [1, "#0000ff"]]})
    named = changed(striped, {"palette": "ocean"})

    assert (striped.palette, striped.stops) == (None, ((0.0, "#ff0000"), (1.0, "#0000ff")))
    assert (named.palette, named.stops) == ("ocean", None)
    assert set(errors_of({"palette": "ocean", "stops": [[0, "#ff0000"], [1, "#0000ff"]]})) == {"palette"}
    assert set(errors_of({"palette": None})) == {"palette"}
