"""What people do to running jobs, and nodes that come with work and go without."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.stack import Client, Failed, Stack

pytestmark = pytest.mark.acceptance
# The valley with far more steps: seconds of work, in tiles that each take a little of it.
LONG: dict[str, Any] = {
    "params": {"viewport": [-0.745, -0.735, 0.105, 0.115], "max_iter": 150_000},
    "width": 1024,
    "height": 1024,
    "tile_size": 64,
    "outputs": ["png", "counts"],
}


@pytest.fixture(scope="module")
def undisturbed(client: Client) -> str:
    """What the long job's counts are when nothing happens to it."""
    return digest(client, client.finished(client.submit(**LONG))["id"])


@pytest.fixture
def hasty(client: Client) -> Iterator[None]:
    """Nodes leave after a second without work."""
    path = "resource/mandelbrot/"
    before = client.get(path)["idle_timeout"]
    client.call("PATCH", path, json={"idle_timeout": 1})
    yield
    client.call("PATCH", path, json={"idle_timeout": before})


def digest(client: Client, job: str) -> str:
    return hashlib.sha256(client.content(f"job/{job}/counts.npy")).hexdigest()


def begun(client: Client) -> str:
    """A long job some tiles of which are done."""
    for _ in range(10):
        job = client.submit(**LONG)
        seen = client.until(lambda: client.job(job), lambda body: body["progress"]["done"], most=0.05)  # noqa: B023
        if seen["progress"]["done"] < 200:
            return job
        client.finished(job)  # nobody looked while it was rendered
    raise Failed("no job was met in its middle")


def test_a_paused_job_rests_until_it_is_resumed(client: Client, undisturbed: str) -> None:
    job = begun(client)
    assert client.act(job, "pause")["state"] == "PAUSED"
    client.until(lambda: active(client, job), lambda leases: not leases)
    rested = client.job(job)["progress"]["done"]
    time.sleep(0.7)
    body = client.job(job)
    assert (body["state"], body["progress"]["done"]) == ("PAUSED", rested)
    assert rested < body["progress"]["tiles"]
    assert client.act(job, "resume")["state"] == "RUNNING"
    client.finished(job)
    assert digest(client, job) == undisturbed


def test_a_cancelled_job_stops_at_once_and_a_retry_renders_only_the_rest(client: Client, undisturbed: str) -> None:
    job = begun(client)
    body = client.act(job, "cancel")
    kept = body["progress"]["done"]
    assert body["state"] == "CANCELLED"
    assert not active(client, job)
    assert 0 < kept < body["progress"]["tiles"]
    assert client.act(job, "retry")["state"] in ("QUEUED", "RUNNING")  # a node may have taken a range of it already
    client.finished(job)
    assert digest(client, job) == undisturbed
    done = [lease for lease in client.get(f"job/{job}/timeline")["leases"] if lease["state"] == "DONE"]
    assert sum(lease["stop"] - lease["start"] for lease in done) == body["progress"]["tiles"]


def active(client: Client, job: str) -> list[Any]:
    return [lease for lease in client.get(f"job/{job}/timeline")["leases"] if lease["state"] == "ACTIVE"]


@pytest.mark.usefixtures("hasty")
def test_nodes_come_because_there_is_work_and_go_when_there_is_none(stack: Stack, client: Client) -> None:
    client.until(client.live_nodes, lambda nodes: not nodes)
    assert stack.processes("node") == []
    job = client.submit(model="burst", width=256, height=256)
    client.finished(job)
    (worked,) = client.job(job)["by_site"][0]["nodes"]
    client.until(client.live_nodes, lambda nodes: not nodes)
    assert stack.processes("node") == []
    node = client.get(f"node/{worked['node']}/")
    assert (node["state"], node["tiles_done"]) == ("STOPPED", 1)
    assert node["reason"]


def test_a_job_waits_with_a_reason_until_a_node_is_there(client: Client) -> None:
    for node in client.live_nodes():
        client.call("POST", f"node/{node['id']}/stop")
    client.until(client.live_nodes, lambda nodes: not nodes)
    job = client.submit(model="burst", width=256, height=256)
    body = client.job(job)
    assert body["pending_reason"] or body["state"] not in ("PENDING", "QUEUED")
    client.finished(job)
    assert client.job(job)["pending_reason"] == ""


def test_what_a_node_writes_can_be_read(client: Client, burst: dict[str, Any]) -> None:
    node = burst["by_site"][0]["nodes"][0]
    text = client.call("GET", f"node/{node['node']}/log?stream=err&tail=1000").text
    assert f"registered as {node['name']}" in text
    assert len(client.call("GET", f"node/{node['node']}/log?stream=err&tail=1").text.splitlines()) == 1
