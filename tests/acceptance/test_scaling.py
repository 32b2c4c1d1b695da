"""Models that are there before they are needed, and nodes that make place for others: with real nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.stack import Client, Stack

pytestmark = pytest.mark.acceptance
DEEP = {"center": ["-1", "0"], "radius": "1e-40", "max_iter": 200_000}


@pytest.fixture
def one_place(client: Client) -> Iterator[None]:
    """This machine has room for one node, and a second resource."""
    before = {path: client.get(path) for path in ("site/local/", "resource/mandelbrot/")}
    client.call("PATCH", "site/local/", json={"max_nodes": 1})
    client.call("PATCH", "resource/mandelbrot/", json={"idle_timeout": 600})
    order = {"id": "second", "renderer": "mandelbrot", "sites": ["local"], "max_nodes": 1, "idle_timeout": 600}
    client.call("POST", "resource/", json=order)
    yield
    client.call("PATCH", "resource/second/", json={"enabled": False})
    client.until(lambda: [node["resource"] for node in client.live_nodes()], lambda there: "second" not in there)
    client.call("PATCH", "site/local/", json={"max_nodes": before["site/local/"]["max_nodes"]})
    timeout = before["resource/mandelbrot/"]["idle_timeout"]
    client.call("PATCH", "resource/mandelbrot/", json={"idle_timeout": timeout})


def test_a_preloaded_model_is_warm_for_the_first_lease(client: Client) -> None:
    model = client.call("POST", "model/", json={"params": DEEP}).json()["id"]
    there = f"model/{model}/preload"
    assert client.call("POST", there, json={"resource": "mandelbrot", "nodes": 1}).status_code == 202

    client.until(lambda: client.get(there)[0], lambda order: order["holding"] == 1 and not order["loading"])

    job = client.submit(model=model, width=64, height=64, tile_size=64, outputs=["counts"])
    body = client.finished(job)
    assert (body["warm_hits"], body["loads"]) == (1, 0)
    client.call("DELETE", f"{there}?resource=mandelbrot")


@pytest.mark.usefixtures("one_place")
def test_an_idle_node_makes_place_for_the_work_of_another_resource(client: Client) -> None:
    order: dict[str, Any] = {"model": "burst", "width": 256, "height": 256, "tile_size": 128, "outputs": ["counts"]}
    client.finished(client.submit(resource="mandelbrot", **order))
    client.until(client.live_nodes, lambda nodes: [node["state"] for node in nodes] == ["IDLE"])

    client.finished(client.submit(resource="second", **order))

    assert [node["resource"] for node in client.live_nodes()] == ["second"]


def test_the_plan_is_told_by_the_command_and_the_farm(client: Client, stack: Stack) -> None:
    text = stack.manage("plan", "--explain").stdout
    assert "mandelbrot: " in text
    plan = client.get("farm/")["resources"][0]["plan"]
    assert plan["reason"].startswith(f"{plan['want']} wanted, {plan['have']} exist")
    assert plan["next_at"] > plan["at"]
