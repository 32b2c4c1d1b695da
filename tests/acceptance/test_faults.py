"""Real nodes that are sick or asleep, and a tile that nobody can render."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.long_job import ORDER, PATIENCE, flaws, outcome, progress, wait_for_order
from tests.acceptance.sick.sitecustomize import POISON_TILE, POISON_WIDTH
from tests.acceptance.stack import FINAL, ROOT, Client, Failed, Stack, running_rrm

pytestmark = [pytest.mark.acceptance, pytest.mark.slow_kill, pytest.mark.timeout(600)]
NODES = 10
SMALL = {"params": {"center": [-0.75, 0.1], "radius": 0.05, "max_iter": 2000}, "height": 320, "tile_size": 16}
LONG = {**ORDER, "params": {**ORDER["params"], "max_iter": 500_000}}
MOST_JOBS = 30


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A copy with ten nodes, of which one fails on every tile."""
    folder = tmp_path_factory.mktemp("sick")
    variables = f"PYTHONPATH={Path(__file__).with_name('sick')}:{ROOT} SICK_FOLDER={folder}"
    with running_rrm(tmp_path_factory.mktemp("ward")) as own:
        with own.client() as client:
            client.call("PATCH", "resource/mandelbrot/", json={"min_nodes": 0, "max_nodes": 0})
            wait_for_order(own, client, 0)
            client.call("PATCH", "site/local/", json={"max_nodes": NODES})
            change = {"min_nodes": NODES, "max_nodes": NODES, "environment_variables": variables}
            client.call("PATCH", "resource/mandelbrot/", json=change)
            wait_for_order(own, client, NODES)
            client.until(lambda: states(client), lambda seen: seen == ["IDLE"] * NODES, 120.0)
        yield own


def states(client: Client) -> list[str]:
    return [node["state"] for node in client.live_nodes()]


def blocks(client: Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("block/?in_force=true")["results"]
    return found


def test_one_bad_node_of_ten_is_blocked_and_replaced_and_every_job_completes(ward: Stack) -> None:
    with ward.client() as client:
        for count in range(MOST_JOBS):
            client.finished(client.submit(**SMALL, width=320), PATIENCE)
            if blocks(client) and count >= 3:
                break

        (block,) = blocks(client)
        bad = next(node for node in client.get("node/?page_size=100")["results"] if node["name"] == block["node"])
        assert bad["reason"].startswith("Blocked until")
        assert bad["tiles_done"] == 0
        client.until(lambda: states(client), lambda seen: len(seen) == NODES and set(seen) <= {"IDLE", "BUSY"}, 120.0)
        client.finished(client.submit(**SMALL, width=320), PATIENCE)
        assert len(blocks(client)) == 1
        client.call("DELETE", f"block/{block['id']}/")
        assert blocks(client) == []
    checked = ward.manage("check_farm")
    assert checked.returncode == 0, checked.stdout


def test_a_poison_tile_fails_its_job_alone_and_is_named(ward: Stack) -> None:
    with ward.client() as client:
        before = blocks(client)
        poisoned = client.submit(**SMALL, width=POISON_WIDTH)
        sound = [client.submit(**SMALL, width=320) for _ in range(2)]

        body = client.until(lambda: client.job(poisoned), lambda seen: seen["state"] in FINAL, PATIENCE)

        assert body["state"] == "FAILED"
        assert body["reason"].startswith(f"Tile {POISON_TILE} (row 0, column {POISON_TILE}) failed 3 times")
        assert "division by zero" in body["reason"]
        for job in sound:
            client.finished(job, PATIENCE)
        assert blocks(client) == before
        assert set(states(client)) <= {"IDLE", "BUSY"}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A copy with two nodes."""
    with running_rrm(tmp_path_factory.mktemp("pair")) as own:
        with own.client() as client:
            client.call("PATCH", "resource/mandelbrot/", json={"min_nodes": 2, "max_nodes": 2})
            wait_for_order(own, client, 2)
        yield own


def put_to_sleep(pair: Stack, client: Client, job: str) -> tuple[int, str] | None:
    """Stop a node in the middle of a range of the job; its process and name, or None if none was met in time."""
    for process in pair.processes("node") * 20:
        variables = Path(f"/proc/{process.pid}/environ").read_bytes().decode().split("\0")
        name = next(each.partition("=")[2] for each in variables if each.startswith("RRM_NODE_NAME="))
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(0.1)
        if in_hand := ranges_of(client, job, name):
            time.sleep(0.5)  # until what it has sent is dealt with
            if in_hand & ranges_of(client, job, name):
                return process.pid, name
        os.kill(process.pid, signal.SIGCONT)
    return None


def ranges_of(client: Client, job: str, node: str) -> set[str]:
    """The leases of the job that the node works on."""
    leases = client.get(f"job/{job}/timeline")["leases"]
    return {lease["id"] for lease in leases if lease["state"] == "ACTIVE" and lease["node_name"] == node}


def rendered_without(pair: Stack, client: Client) -> tuple[str, str, dict[str, Any], list[dict[str, Any]]]:
    """A job during which a node fell asleep for good with a range in hand: its id, the node, its body and leases."""
    for _ in range(5):
        job = client.submit(**LONG)
        client.until(lambda: progress(client, job), lambda done: done > 0.6, PATIENCE, most=0.05)  # noqa: B023
        asleep = put_to_sleep(pair, client, job)
        if asleep is None:
            client.finished(job, PATIENCE)
            continue
        sleeper, name = asleep
        try:
            body = client.finished(job, PATIENCE)
            leases = client.get(f"job/{job}/timeline")["leases"]
        finally:
            os.kill(sleeper, signal.SIGCONT)
        if any(lease["node_name"] == name and lease["state"] != "DONE" for lease in leases):
            return job, name, body, leases
    raise Failed("no node was ever stopped with a range in hand that it had not sent")


def test_a_node_that_sleeps_in_its_last_range_holds_nobody_up(pair: Stack) -> None:
    with pair.client() as client:
        model = client.submit(**LONG)
        client.finished(model, PATIENCE)
        expected = outcome(client, model)
        job, name, body, leases = rendered_without(pair, client)

        copies = [lease for lease in leases if lease["copy"]]
        assert copies
        assert {lease["state"] for lease in copies} == {"DONE"}
        slept_through = [lease for lease in leases if lease["state"] == "RETURNED"]
        assert {lease["reason"] for lease in slept_through} == {"another node was faster with the same tiles"}
        assert {lease["node_name"] for lease in slept_through} == {name}
        client.until(lambda: _log(client, name), lambda text: "was finished elsewhere" in text or "taken back" in text)
        assert client.job(job)["progress"] == body["progress"]
        assert flaws(pair, client, job, expected) == []


def _log(client: Client, name: str) -> str:
    (node,) = [node for node in client.live_nodes() if node["name"] == name]
    return client.call("GET", f"node/{node['id']}/log?stream=err&tail=500").text
