"""Nodes as Slurm jobs: submitted by the service over SSH because there is work, and told of truly."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from deployment.minicluster.cluster import MiniCluster
from tests.acceptance.stack import Client, Stack
from tests.cluster.sites import POLL, WORKING, clear, node_at, problem_of, register, same_picture, service

pytestmark = pytest.mark.acceptance
ONLY = {"policy": "only", "ids": ["slurm"]}
LONG = {"params": {"viewport": [-0.745, -0.735, 0.105, 0.115], "max_iter": 200_000}, "width": 2048, "height": 2048}


@pytest.fixture(scope="module")
def running(shared_cluster: MiniCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Client]]:
    """The cluster's nodes reach the manager through the tunnel alone; host `one` is a plain one beside it."""
    with service(tmp_path_factory.mktemp("slurm-sites")) as (stack, client):
        slurm = {"kind": "slurm", "connection": "tunnel", "gateway": "127.0.0.2", "max_nodes": 4}
        register(stack, client, "slurm", shared_cluster.login, **slurm)
        register(stack, client, "one", shared_cluster.hosts[0])
        resource = {"id": "batch", "sites": ["slurm"], "max_nodes": 2, "queue": "batch", "nb_cpus": 1, "memory": 400}
        client.call("POST", "resource/", json=resource)
        client.call("POST", "resource/", json={**resource, "id": "both", "sites": ["slurm", "one"]})
        yield stack, client


@pytest.fixture
def client(running: tuple[Stack, Client], cluster: MiniCluster) -> Client:
    return running[1]


def job_of(node: dict[str, Any]) -> str:
    return str(node["handle"]["job"])


def ended(client: Client, node: dict[str, Any], seconds: float = 90) -> dict[str, Any]:
    """The node once it is over."""
    found: dict[str, Any] = client.until(
        lambda: client.get(f"node/{node['id']}/"), lambda body: body["state"] in ("FAILED", "STOPPED"), seconds
    )
    return found


def test_a_cluster_is_found_in_order(client: Client) -> None:
    letter = client.call("POST", "site/slurm/check", timeout=120).json()
    assert letter["ok"], [check for check in letter["checks"] if not check["ok"]]


@pytest.mark.parametrize(("model", "size"), [("valley", 2048), ("burst", 1024)])
def test_slurm_nodes_give_the_bytes_that_local_ones_give(client: Client, model: str, size: int) -> None:
    body = same_picture(client, model, size, "batch", ONLY)
    assert [share["site"] for share in body["by_site"]] == ["slurm"]


def test_a_cluster_and_a_host_share_a_picture_in_two_colours(client: Client) -> None:
    body = same_picture(client, "valley", 2048, "both", {"policy": "split", "ids": ["slurm", "one"]})
    half = body["progress"]["tiles"] / 2
    assert {share["site"]: share["tiles"] for share in body["by_site"]} == {"slurm": half, "one": half}
    assert len({share["color"] for share in body["by_site"]}) == 2
    free = same_picture(client, "valley", 2048, "both", {"policy": "any", "ids": []})
    assert sum(share["tiles"] for share in free["by_site"]) == free["progress"]["tiles"]


def test_a_job_that_the_administrator_cancels_says_so_and_its_work_is_done_by_another(
    client: Client, cluster: MiniCluster
) -> None:
    job = client.submit(resource="batch", sites=ONLY, **LONG)
    node = node_at(client, "slurm", "BUSY")
    cluster.slurm.ask("scancel", job_of(node))
    over = ended(client, node)
    assert "ancel" in over["reason"]
    client.finished(job)


def test_a_scheduler_that_is_away_loses_no_node(client: Client, cluster: MiniCluster) -> None:
    node = node_at(client, "slurm", *WORKING)
    cluster.slurm.fault("squeue", "echo 'slurm_load_jobs error: Socket timed out on send/recv operation' >&2; exit 1")
    assert "Socket timed out" in problem_of(client, "slurm", bool)
    cluster.slurm.heal()
    problem_of(client, "slurm", lambda text: not text)
    cluster.slurm.fault("squeue", "exit 0")
    problem_of(client, "slurm", bool)
    cluster.slurm.heal()
    problem_of(client, "slurm", lambda text: not text)
    assert node_at(client, "slurm", *WORKING)["id"] == node["id"]


def test_the_scheduler_is_asked_once_in_an_interval(client: Client, cluster: MiniCluster) -> None:
    node_at(client, "slurm", *WORKING)
    before, began = cluster.slurm.asked("squeue"), time.monotonic()
    time.sleep(3 * POLL)
    asked = cluster.slurm.asked("squeue") - before
    assert asked <= (time.monotonic() - began) / POLL + 1


def test_a_batch_job_of_two_machines_has_a_renderer_on_each(client: Client, cluster: MiniCluster) -> None:
    wide = {"id": "wide", "sites": ["slurm"], "max_nodes": 2, "queue": "batch", "nb_cpus": 1, "memory": 400}
    client.call("POST", "resource/", json={**wide, "nb_nodes": 2})
    clear(client, "slurm")
    client.call("POST", "node/", json={"resource": "wide"})

    def pair() -> list[dict[str, Any]]:
        return [node for node in client.get("node/?resource=wide")["results"] if node["state"] in WORKING]

    nodes = client.until(pair, lambda found: len(found) == 2)
    assert len({job_of(node) for node in nodes}) == 1
    body = client.finished(client.submit(resource="wide", **LONG))
    seen = client.get("node/?resource=wide")["results"]
    assert len([node for share in body["by_site"] for node in share["nodes"]]) == 2, seen
    for node in nodes:
        client.call("POST", f"node/{node['id']}/stop")
    for node in nodes:
        ended(client, node)
    client.call("DELETE", f"job/{body['id']}")


def test_a_job_that_fails_before_its_node_checks_in_says_so(client: Client) -> None:
    brief = {"id": "brief", "sites": ["slurm"], "max_nodes": 1, "queue": "batch", "nb_cpus": 1}
    client.call("POST", "resource/", json={**brief, "prologue": "exit 1"})
    started = client.call("POST", "node/", json={"resource": "brief"}).json()
    over = ended(client, started)
    assert over["state"] == "FAILED"
    assert "before it checked in" in over["reason"]


def test_any_program_that_answers_http_runs_as_a_job_with_its_number_and_port(client: Client) -> None:
    body = {
        "id": "pages",
        "renderer": "external",
        "command_line": "/bin/sh -c 'echo job $1 >&2; exec python3 -m http.server --directory /usr/share $2' sh",
        "scheduler_rest_parameters_format": "${job_id} ${rest_port}",
        "sites": ["slurm"],
        "queue": "batch",
        "memory": 200,
    }
    client.call("POST", "resource/", json=body)
    clear(client, "slurm")
    asked = client.call("POST", "node/", json={"resource": "pages"}).json()["id"]
    node = client.until(lambda: client.get(f"node/{asked}/"), lambda found: found["state"] == "IDLE")
    assert httpx.get(f"http://{node['address']}/", timeout=30, trust_env=False).status_code == 200
    assert f"job {job_of(node)}\n" in client.content(f"node/{asked}/log?stream=err&tail=50").decode()
    client.call("POST", f"node/{asked}/stop")
    assert ended(client, node)["state"] == "STOPPED"
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://{node['address']}/", timeout=30, trust_env=False)


def ready(client: Client, resource: str) -> dict[str, Any]:
    """A session on a node of the cluster, once it has one."""
    asked = client.call("POST", "session/", json={"resource": resource, "max_wait": 150}).json()["id"]
    found: dict[str, Any] = client.until(
        lambda: client.get(f"session/{asked}/"), lambda body: body["state"] != "PENDING", 150
    )
    assert found["state"] == "READY", found["reason"]
    return found


def test_a_person_looks_at_what_a_node_behind_the_login_host_draws(client: Client) -> None:
    clear(client, "slurm")
    session = ready(client, "batch")
    proxy = f"session/{session['id']}/proxy"
    camera = {"center": ["-0.5", "0"], "radius": "1.2", "width": 320, "height": 200}
    assert client.call("PUT", f"{proxy}/camera", json=camera).json()["width"] == 320
    assert client.content(f"{proxy}/frame.jpg").startswith(b"\xff\xd8")
    assert "JobState=RUNNING" in client.content(f"session/{session['id']}/job").decode()
    client.call("DELETE", f"session/{session['id']}/")
    client.until(lambda: client.get(f"node/{session['node']}/"), lambda body: body["state"] == "IDLE")


def test_a_program_that_somebody_has_booked_ends_with_the_session(client: Client, cluster: MiniCluster) -> None:
    clear(client, "slurm")
    client.call("PATCH", "resource/pages/", json={"max_nodes": 1})
    session = ready(client, "pages")
    assert b"<html" in client.content(f"session/{session['id']}/proxy/").lower()
    job = job_of(client.get(f"node/{session['node']}/"))
    client.call("DELETE", f"session/{session['id']}/")
    over = ended(client, {"id": session["node"]})
    assert over["state"] == "STOPPED"
    assert job not in cluster.slurm.ask("squeue", "-h", "-o", "%i", "-t", "RUNNING,PENDING").split()
