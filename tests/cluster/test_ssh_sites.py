"""Nodes on SSH hosts: started by the service because there is work, through one connection, and never lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from deployment.minicluster.cluster import MiniCluster
from tests.acceptance.stack import Client, Stack
from tests.cluster.sites import WORKING, clear, is_over, node_at, problem_of, register, same_picture, service

pytestmark = pytest.mark.acceptance
BOTH = {"policy": "split", "ids": ["one", "two"]}
LONG = {"params": {"viewport": [-0.745, -0.735, 0.105, 0.115], "max_iter": 100_000}, "width": 2048, "height": 2048}


@pytest.fixture(scope="module")
def running(shared_cluster: MiniCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Client]]:
    """Site `one` is reached through a tunnel alone, `two` directly."""
    with service(tmp_path_factory.mktemp("ssh-sites")) as (stack, client):
        register(stack, client, "one", shared_cluster.hosts[0], connection="tunnel")
        register(stack, client, "two", shared_cluster.hosts[1])
        client.call("POST", "resource/", json={"id": "far", "sites": ["one", "two"], "max_nodes": 2})
        yield stack, client


@pytest.fixture
def stack(running: tuple[Stack, Client], cluster: MiniCluster) -> Stack:
    return running[0]


@pytest.fixture
def client(running: tuple[Stack, Client], cluster: MiniCluster) -> Client:
    return running[1]


def pid_of(node: dict[str, Any]) -> int:
    return int(node["handle"]["pid"])


def test_a_host_is_found_in_order_before_anything_is_brought(client: Client) -> None:
    letter = client.call("POST", "site/one/check", timeout=120).json()
    assert letter["ok"], letter
    assert {"address", "host key", "login", "folder", "python and renderers", "route to the manager"} <= {
        check["name"] for check in letter["checks"]
    }


@pytest.mark.parametrize(("model", "size"), [("valley", 2048), ("burst", 1024)])
def test_two_hosts_render_half_of_a_picture_each_and_the_bytes_are_ours(client: Client, model: str, size: int) -> None:
    body = same_picture(client, model, size, "far", BOTH)
    shares = {share["site"]: share["tiles"] for share in body["by_site"]}
    assert shares == {"one": body["progress"]["tiles"] / 2, "two": body["progress"]["tiles"] / 2}


def test_nodes_of_both_hosts_have_a_connection_and_a_log(client: Client, cluster: MiniCluster) -> None:
    node = node_at(client, "one", *WORKING)
    assert "registered as" in client.content(f"node/{node['id']}/log?stream=err&tail=50").decode()
    metrics = client.http.get(f"{str(client.http.base_url).split('/rendering')[0]}/metrics").text
    assert 'rrm_site_connections_total{site="one"}' in metrics


def test_a_host_that_is_cut_off_for_a_while_loses_no_node(client: Client, cluster: MiniCluster) -> None:
    job = client.submit(resource="far", sites={"policy": "only", "ids": ["one"]}, **LONG)
    node = node_at(client, "one", "BUSY")
    cluster.hosts[0].stop()
    said = problem_of(client, "one", bool)
    assert "Connection refused" in said or "broke" in said
    assert node_at(client, "one", *WORKING)["id"] == node["id"]
    cluster.hosts[0].start()
    problem_of(client, "one", lambda text: not text)
    client.finished(job)
    after = node_at(client, "one", *WORKING)
    assert (after["id"], pid_of(after)) == (node["id"], pid_of(node))


def test_a_restarted_manager_finds_its_nodes_again(stack: Stack, client: Client) -> None:
    before = {site: node_at(client, site, *WORKING) for site in ("one", "two")}
    job = client.submit(resource="far", sites=BOTH, **LONG)
    client.until(lambda: client.job(job), lambda body: body["state"] != "QUEUED")
    stack.restart()
    client.finished(job)
    for site, node in before.items():
        after = node_at(client, site, *WORKING)
        assert (after["id"], pid_of(after)) == (node["id"], pid_of(node))


def test_a_node_that_is_killed_says_so_and_its_work_is_done_by_another(client: Client) -> None:
    job = client.submit(resource="far", sites={"policy": "only", "ids": ["two"]}, **LONG)
    node = node_at(client, "two", "BUSY")
    os.kill(pid_of(node), signal.SIGKILL)
    found = client.until(lambda: client.get(f"node/{node['id']}/"), lambda body: body["state"] == "FAILED")
    assert "ended unexpectedly" in found["reason"]
    client.finished(job)
    assert node_at(client, "two", *WORKING)["id"] != node["id"]


def test_a_refused_key_and_a_changed_host_are_told_and_nothing_is_lost(client: Client, cluster: MiniCluster) -> None:
    host, node = cluster.hosts[1], node_at(client, "two", *WORKING)
    host.refuse_user_key()
    host.cut_sessions()
    assert "refuses the key of two" in problem_of(client, "two", lambda text: "refuses" in text)
    host.accept_user_key()
    problem_of(client, "two", lambda text: not text)

    old = host.host_key
    host.renew_host_key()
    said = problem_of(client, "two", lambda text: "has changed" in text)
    assert node_at(client, "two", *WORKING)["id"] == node["id"]
    offered = said.split("it shows ")[1].split(",")[0]
    client.call("POST", "site/two/accept-host-key", json={"fingerprint": offered})
    problem_of(client, "two", lambda text: not text)
    assert client.get("site/two/")["host_key"] == host.host_key != old


def test_a_stopped_node_is_gone_from_its_host(client: Client) -> None:
    node = node_at(client, "two", *WORKING)
    client.call("POST", f"node/{node['id']}/stop")
    client.until(lambda: client.get(f"node/{node['id']}/"), lambda body: body["state"] == "STOPPED")
    assert is_over(pid_of(node))


def test_any_program_that_answers_http_runs_at_a_host_and_is_gone_when_it_was_stopped(client: Client) -> None:
    body = {
        "id": "pages",
        "renderer": "external",
        "command_line": "/usr/bin/python3 -m http.server --directory /usr/share/doc",
        "process_rest_parameters_format": "${rest_port}",
        "sites": ["one"],
    }
    client.call("POST", "resource/", json=body)
    clear(client, "one")
    asked = client.call("POST", "node/", json={"resource": "pages"}).json()["id"]
    node = client.until(lambda: client.get(f"node/{asked}/"), lambda found: found["state"] == "IDLE")
    assert httpx.get(f"http://{node['address']}/", timeout=30, trust_env=False).status_code == 200
    client.call("POST", f"node/{asked}/stop")
    client.until(lambda: client.get(f"node/{asked}/"), lambda found: found["state"] == "STOPPED")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://{node['address']}/", timeout=30, trust_env=False)
