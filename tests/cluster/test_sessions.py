"""Sessions at nodes of an SSH host that only the host itself reaches: many, and then nothing of them is left."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from deployment.minicluster.sshd import SshHost
from tests.acceptance.stack import Client, Stack, running_rrm
from tests.acceptance.users import resident, use
from tests.cluster.sites import clear, register
from tests.thoroughness import tries

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]
ROUNDS = tries("SESSION_ROUNDS", 3, 4)
USES = tries("SESSIONS", 24, 200)
NODES = 3
POOL = 16  # threads for the database, which are made when there is something for them to do
MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def stack(ssh_host: SshHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {"RRM_AUTOSCALE_SECONDS": "1", "RRM_RECONCILE_SECONDS": "1", "RRM_MAX_SESSIONS": "1000"}
    with running_rrm(tmp_path_factory.mktemp("far"), **settings) as running:
        with running.client() as client:
            client.call("PATCH", "resource/mandelbrot/", json={"min_nodes": 0})
            register(running, client, "one", ssh_host, connection="tunnel", max_nodes=NODES)
            body = {"id": "far", "sites": ["one"], "min_nodes": NODES, "max_nodes": NODES}
            client.call("POST", "resource/", json=body)
            settled(client)
        yield running
        with running.client() as client:
            client.call("PATCH", "resource/far/", json={"min_nodes": 0, "max_nodes": 0})
            clear(client, "one")


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with stack.client() as found:
        yield found


def nodes(client: Client) -> list[dict[str, Any]]:
    return [node for node in client.live_nodes() if node["site"] == "one"]


def settled(client: Client) -> None:
    client.until(lambda: [node["state"] for node in nodes(client)], lambda found: found == ["IDLE"] * NODES, 120)


def at_host(host: SshHost) -> set[int]:
    """Processes of nodes there."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_node = (
                b"renderers" in (folder / "cmdline").read_bytes()
                and b"RRM_NODE_NAME" in (folder / "environ").read_bytes()
            )
            if is_node and folder.owner() == host.account and folder.joinpath("stat").read_text().split()[2] != "Z":
                found.add(int(folder.name))
        except OSError:
            continue
    return found


def connections(client: Client) -> int:
    """Established connections to the session sides of the nodes, whoever made them."""
    ports = {f"{int(node['address'].rpartition(':')[2]):04X}" for node in nodes(client) if node["address"]}
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(fields[2].rpartition(":")[2] in ports and fields[3] == "01" for fields in lines)


def carried(stack: Stack) -> tuple[int, int]:
    """Threads and sockets of the web process."""
    threads = sockets = 0
    for process in stack.processes("web"):
        threads += len(os.listdir(f"/proc/{process.pid}/task"))
        files = Path(f"/proc/{process.pid}/fd").iterdir()
        sockets += sum(os.readlink(file).startswith("socket:") for file in files if os.path.lexists(file))
    return threads, sockets


def gauge(stack: Stack, client: Client, name: str) -> float:
    text = client.http.get(f"{stack.url}/metrics").text
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


def test_nothing_is_left_of_sessions_at_a_host_however_they_end(
    stack: Stack, client: Client, ssh_host: SshHost
) -> None:
    chance, memory, seen = random.Random(6), [], []
    began = time.monotonic()
    with ThreadPoolExecutor(2 * NODES) as pool:
        for _ in range(ROUNDS):
            list(pool.map(lambda seed: use(stack, seed, "far"), [chance.random() for _ in range(USES // ROUNDS)]))
            settled(client)
            client.until(lambda: connections(client), lambda count: count == 0)
            memory.append(resident(stack, "web"))
            seen.append(carried(stack))
    print(f"{USES} sessions took {time.monotonic() - began:.0f} s; MiB {[size >> 20 for size in memory]}, {seen}")
    assert client.get("session/?state=READY&state=PENDING")["results"] == []
    assert len(client.get(f"session/?page_size={USES * 2}&resource=far")["results"]) >= USES
    assert gauge(stack, client, "rrm_gateway_open_streams") == 0
    checked = stack.manage("check_farm")
    assert checked.returncode == 0, checked.stdout
    assert memory[-1] - memory[1] < 40 * MEBIBYTE, memory
    threads, sockets = zip(*seen, strict=True)
    assert threads[-1] < threads[1] + POOL, threads
    client.until(lambda: carried(stack)[1], lambda left: left <= sockets[1] + 2, 60)  # a question may be under way
    pids = {node["handle"]["pid"] for node in nodes(client)}
    client.until(lambda: at_host(ssh_host), lambda left: left == pids, 60)
