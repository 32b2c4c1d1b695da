"""What a job may ask for: each field's complaint, all of them at once, and the defaults."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm.domain import orders
from rrm.errors import Invalid

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LIMITS = orders.Limits(max_pixels=10**6, max_tiles=100)
GOOD = {"model": "valley", "width": 512, "height": 256}


def parse(**changes: Any) -> orders.Order:
    return orders.parse({**GOOD, **changes}, LIMITS, NOW)


def complaints(body: object) -> dict[str, list[str]]:
    with pytest.raises(Invalid) as refused:
        orders.parse(body, LIMITS, NOW)
    return refused.value.errors


def test_what_is_left_out_has_defaults() -> None:
    order = parse()

    assert (order.tile_size, order.outputs, order.priority, order.site_policy) == (256, ("png",), "normal", "any")
    assert (order.name, order.resource, order.deadline, dict(order.coloring)) == ("", None, None, {})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("width", 0),
        ("width", -1),
        ("width", "512"),
        ("width", 1.5),
        ("width", True),
        ("width", None),
        ("height", 2**21),
        ("tile_size", 8),
        ("tile_size", 4096),
        ("outputs", []),
        ("outputs", "png"),
        ("outputs", ["jpeg"]),
        ("outputs", [["png"]]),
        ("kind", "animation"),
        ("supersample", 0),
        ("supersample", 5),
        ("supersample", 1.5),
        ("supersample", "2"),
        ("adaptive", "yes"),
        ("adaptive", 1),
        ("adaptive", True),
        ("priority", "top"),
        ("priority", 3),
        ("name", "x" * 201),
        ("name", "a\nb"),
        ("name", 7),
        ("resource", 5),
        ("coloring", []),
        ("sites", []),
        ("sites", {"policy": "split"}),
        ("sites", {"policy": "near"}),
        ("sites", {"ids": "a"}),
        ("sites", {"policy": "only", "ids": ["a", "a"]}),
        ("sites", {"policy": "split", "ids": ["a", "A"]}),
        ("sites", {"ids": {}}),
        ("sites", {"ids": False}),
        ("sites", {"ids": ["a"]}),
        ("sites", {"policy": "any", "ids": ["a"]}),
        ("sites", {"else": 1}),
        ("deadline", "soon"),
        ("deadline", "2031-01-01T00:00:00"),
        ("deadline", "2029-01-01T00:00:00Z"),
        ("deadline", "9999-12-31T23:59:59-14:00"),
        ("callback_url", "http://example.org/"),
        ("colour", "red"),
    ],
)
def test_a_bad_field_is_named(field: str, value: object) -> None:
    assert set(complaints({**GOOD, field: value})) == {field}


def test_all_bad_fields_are_named_at_once() -> None:
    assert set(complaints({"width": -1, "height": "x", "priority": 1, "stray": 1})) >= {"width", "height", "priority"}


@pytest.mark.parametrize("body", [None, [], "x", 5])
def test_only_an_object_is_an_order(body: object) -> None:
    assert set(complaints(body)) == {"order"}


def test_either_a_model_or_params_is_needed() -> None:
    assert set(complaints({"width": 1, "height": 1})) == {"model"}
    assert set(complaints({**GOOD, "params": {}})) == {"model"}


def test_limits_are_said_in_the_complaint() -> None:
    assert "1000000 pixels" in complaints({**GOOD, "width": 2000, "height": 2000})["width"][0]
    assert "limit of 100" in complaints({**GOOD, "width": 1000, "height": 1000, "tile_size": 16})["tile_size"][0]


def test_outputs_come_in_one_order_and_sites_in_lower_case() -> None:
    order = parse(outputs=["smooth", "png"], sites={"policy": "only", "ids": ["Here"]})

    assert order.outputs == ("png", "smooth")
    assert (order.site_policy, order.site_ids) == ("only", ("here",))


def test_samples_may_be_adaptive_where_there_are_several() -> None:
    assert (parse().supersample, parse().adaptive) == (1, False)
    order = parse(supersample=4, adaptive=True)
    assert (order.supersample, order.adaptive) == (4, True)
    assert "supersample 2, 3 or 4" in complaints({**GOOD, "adaptive": True})["adaptive"][0]


def test_a_recolouring_has_a_name_and_a_coloring_and_nothing_else() -> None:
    assert orders.parse_recolor({"coloring": {"palette": "fire"}}) == ("", {"palette": "fire"})
    assert orders.parse_recolor({"name": "new", "coloring": {}}) == ("new", {})
    wrong: dict[str, object] = {"name": 5, "coloring": "fire", "width": 5}
    with pytest.raises(Invalid) as refused:
        orders.parse_recolor(wrong)
    assert set(refused.value.errors) == {"name", "coloring", "width"}
    nothing: list[object] = [None, [], "fire", {}]
    for body in nothing:
        with pytest.raises(Invalid):
            orders.parse_recolor(body)


def test_a_deadline_is_kept_in_utc() -> None:
    deadline = parse(deadline="2031-01-01T02:00:00+02:00").deadline

    assert deadline is not None
    assert deadline.isoformat() == "2031-01-01T00:00:00+00:00"


def test_only_name_and_priority_may_change() -> None:
    assert orders.parse_changes({"name": "new", "priority": "high"}) == {"name": "new", "priority": "high"}
    refused: list[Any] = [{"width": 5}, {"priority": "top"}, {"priority": None}, [], None]
    for body in refused:
        with pytest.raises(Invalid):
            orders.parse_changes(body)


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*orders.FIELDS, "stray"]), json))
def test_anything_is_either_an_order_or_refused_clearly(body: dict[str, Any]) -> None:
    try:
        order = orders.parse(body, LIMITS, NOW)
    except Invalid as invalid:
        errors = invalid.errors
    else:
        assert order.width * order.height <= LIMITS.max_pixels
        return
    assert errors
    assert all(message for said in errors.values() for message in said)


@pytest.mark.parametrize(("side", "tile"), [(64, 256), (8191, 256), (8192, 512), (16384, 512)])
def test_large_images_have_larger_tiles_unless_the_order_says_otherwise(side: int, tile: int) -> None:
    limits = orders.Limits(2**30, 65536)
    order = {"model": "valley", "width": side, "height": side}
    assert orders.parse(order, limits, NOW).tile_size == tile
    assert orders.parse({**order, "tile_size": 256}, limits, NOW).tile_size == 256
