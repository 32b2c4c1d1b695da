"""Whose turn it is, and where a node is found."""

import socket
from fractions import Fraction
from typing import Any

import pytest

from renderers.streaming.desk import Desk, Ended, place
from renderers.streaming.place import ALONE, Place, is_loopback, place_for

PARAMS = {"center": ["0.25", "0.5"], "radius": "0.125", "max_iter": 700, "formula": "tricorn", "escape_radius": 4.0}


def test_a_request_without_a_session_is_of_the_present_one() -> None:
    desk = Desk(1)
    studio = desk.studio("one")
    assert desk.studio("") is studio
    assert desk.session == "one"


def test_a_session_that_had_its_turn_does_not_come_back() -> None:
    desk = Desk(1)
    desk.studio("one")
    desk.studio("two")
    with pytest.raises(Ended):
        desk.studio("one")
    desk.announce({"id": "one", "params": {}})
    assert desk.session == "two"


def test_a_session_that_came_before_its_announcement_keeps_its_camera() -> None:
    desk = Desk(1)
    desk.studio("one").change({"radius": "0.5"})
    desk.announce({"id": "one", "params": PARAMS})
    assert desk.studio("one").subject.camera.radius == "0.5"


def test_a_session_that_has_not_moved_begins_with_its_model() -> None:
    desk = Desk(1)
    desk.studio("one")
    desk.announce({"id": "one", "params": PARAMS})
    camera = desk.studio("one").subject.camera
    assert (camera.center, camera.radius, camera.max_iter) == (("0.25", "0.5"), "0.125", 700)
    assert (camera.formula, camera.escape_radius) == ("tricorn", 4.0)


def test_only_an_announced_session_is_ended_by_silence() -> None:
    """The answer to a request for work may have been on its way when the session began."""
    desk = Desk(1)
    desk.studio("one")
    desk.announce(None)
    assert desk.session == "one"
    desk.announce({"id": "one", "params": PARAMS})
    desk.announce(None)
    assert desk.session == ""


@pytest.mark.parametrize("params", [{"center": "x"}, {"viewport": [0, 1]}, {"radius": "0"}, {"viewport": ["a"] * 4}])
def test_a_model_that_cannot_be_shown_leaves_the_whole_set(params: dict[str, Any]) -> None:
    desk = Desk(1)
    desk.announce({"id": "one", "params": params})
    assert desk.studio("one").subject.camera.radius == "1.25"


def test_a_viewport_becomes_a_centre_exactly() -> None:
    """Of one that is wider than high, all is shown: its shorter side is the camera's."""
    tiny = "0.0000000000000000000000000000000000002"
    shown = place({"viewport": ["-2.5", "1", "-1", f"1{tiny[1:]}"], "max_iter": 9})
    assert [Fraction(part) for part in shown["center"]] == [Fraction("-0.75"), Fraction(tiny) / 2]
    assert Fraction(shown["radius"]) == 1 + Fraction(tiny) / 2
    assert shown["max_iter"] == 9


@pytest.mark.parametrize(
    ("manager", "environment", "expected"),
    [
        ("127.0.0.1", {}, ALONE),
        ("localhost", {}, ALONE),
        ("::1", {}, ALONE),
        ("127.0.0.1", {"SLURM_JOB_ID": "7"}, Place("node-1", on_loopback=False)),
        ("manager.example.org", {}, Place("node-1", on_loopback=False)),
        ("10.0.0.1", {}, Place("node-1", on_loopback=False)),
    ],
)
def test_where_a_node_is_found(manager: str, environment: dict[str, str], expected: Place) -> None:
    assert place_for(manager, "node-1", environment) == expected


def test_a_name_is_not_taken_for_loopback() -> None:
    assert not is_loopback("127.0.0.1.example.org")


def test_beside_its_manager_a_node_listens_on_loopback_alone() -> None:
    with ALONE.listen() as own:
        assert own.getsockname()[0] == "127.0.0.1"


def test_elsewhere_it_is_reached_by_any_address() -> None:
    with Place("node-1", on_loopback=False).listen() as own:
        port = own.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), 2.0):
            pass
