"""Models that a node is told to load before anybody needs them."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from renderers.lease import parse_lease, parse_preload
from renderers.mandelbrot.deep import model as deep_model
from tests.unit.renderers.manager_server import Manager, deep_lease, lease_document
from tests.unit.renderers.test_agent import delivered, farm

DEEP = deep_lease()["model"]
SHALLOW = lease_document()["model"]


def test_what_is_preloaded_is_what_a_lease_needs() -> None:
    wanted = parse_preload(DEEP)
    assert wanted.reference == parse_lease(deep_lease()).reference
    assert wanted.view is not None


def test_a_viewport_is_loaded_like_its_centre() -> None:
    x, y = (f"{value}" for value in ("0", "1"))
    edges = ["-1e-30", "1e-30", "0.999999999999999999999999999999", "1.000000000000000000000000000001"]
    params = {key: value for key, value in DEEP["params"].items() if key not in ("center", "radius")}
    by_edges = parse_preload({**DEEP, "params": {**params, "viewport": edges}}).reference
    by_center = parse_preload({**DEEP, "params": {**DEEP["params"], "center": [x, y]}}).reference
    assert by_edges == by_center


def test_a_model_in_double_precision_needs_no_orbit() -> None:
    wanted = parse_preload(SHALLOW)
    assert (wanted.digest, wanted.reference, wanted.view) == ("digest-1", None, None)


@pytest.mark.parametrize(
    "change",
    [
        {"renderer": "other"},
        {"params": {}},
        {"params": {**DEEP["params"], "radius": "1e-2000"}},
        {"params": {**DEEP["params"], "max_iter": 10**9}},
        {"params": {**DEEP["params"], "formula": "tricorn"}},
    ],
)
def test_what_cannot_be_loaded_is_said(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_preload({**DEEP, **change})


def test_an_idle_node_loads_what_it_is_told_to_and_says_that_it_holds_it() -> None:
    with farm(preloads=[SHALLOW, DEEP]) as (manager, _):
        manager.wait_for(lambda: any(len(body["models"]) == 2 for body in manager.bodies("lease")))
        held = {model["digest"]: model for model in manager.bodies("lease")[-1]["models"]}
        assert held.keys() == {"digest-1", "deep"}
        assert held["deep"]["load_seconds"] > 0
        assert manager.bodies("lease")[-1]["memory"] == 1 << 30


def test_work_that_comes_during_a_preload_is_done() -> None:
    slow = {**DEEP["params"], "max_iter": 10_000_000, "center": ["-1", "0"], "radius": "1e-300"}
    with farm(preloads=[{**DEEP, "params": slow}]) as (manager, _):
        manager.wait_for(lambda: not manager.preloads)
        manager.leases.append(lease_document("quick"))
        manager.wait_for(delivered(manager, "quick"))


def told_as_unloaded(manager: Manager) -> list[Any]:
    calls = [*manager.bodies("lease"), *manager.bodies("heartbeat")]
    return [body["unloaded"] for body in calls if "unloaded" in body]


def test_a_preload_that_fails_is_told_once_and_the_node_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError("no room for the orbit")

    monkeypatch.setattr(deep_model, "reference_orbit", fail)
    with farm(preloads=[DEEP]) as (manager, _):
        manager.wait_for(lambda: told_as_unloaded(manager))
        manager.leases.append(lease_document("good"))
        manager.wait_for(delivered(manager, "good"))
        assert told_as_unloaded(manager) == [["deep"]]


def test_a_preload_that_fails_is_told_while_the_node_waits_for_work(monkeypatch: pytest.MonkeyPatch) -> None:
    has_asked = threading.Event()

    def fail(*_: Any) -> None:
        has_asked.wait(60)
        raise MemoryError("no room for the orbit")

    monkeypatch.setattr(deep_model, "reference_orbit", fail)
    with farm(preloads=[DEEP], lease_wait=3.0) as (manager, _):
        manager.wait_for(lambda: len(manager.bodies("lease")) > 1)
        has_asked.set()
        manager.wait_for(lambda: told_as_unloaded(manager))


def test_pins_arrive_with_the_heartbeat() -> None:
    with farm(lease_document("one"), pinned=["digest-1"]) as (manager, life):
        manager.wait_for(lambda: len(manager.bodies("heartbeat")) > 2)
        assert life.agent._models._pinned == {"digest-1"}
