"""A running service whose nodes are at the hosts of the test cluster."""

from __future__ import annotations

import operator
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deployment.minicluster.sshd import SshHost
from tests.acceptance.stack import Client, Failed, Stack, running_rrm
from tests.pictures import are_same

POLL = 2
WORKING = ("IDLE", "BUSY")
COLOURS = {"one": "#e11d48", "two": "#16a34a", "slurm": "#2563eb"}


@contextmanager
def service(folder: Path) -> Iterator[tuple[Stack, Client]]:
    """The whole service with loops that tick each second; nodes far away are stopped before it is."""
    with (
        running_rrm(folder, RRM_AUTOSCALE_SECONDS="1", RRM_RECONCILE_SECONDS="1") as stack,
        stack.client() as client,
    ):
        yield stack, client
        client.http.timeout = 60
        clear(client, *COLOURS)


def clear(client: Client, *sites: str) -> None:
    """Stop every node at the sites, so that there is room for those of another resource."""
    for node in client.live_nodes():
        if node["site"] in sites:
            client.http.post(f"node/{node['id']}/stop")  # one that is leaving already answers 409
    client.until(lambda: [node for node in client.live_nodes() if node["site"] in sites], lambda left: not left, 120)


def register(stack: Stack, client: Client, site: str, host: SshHost, **settings: Any) -> None:
    """Add a site at `host`; its key lies in the service's key directory, and its things in a folder of its own."""
    keys = stack.data / "keys"
    keys.mkdir(mode=0o700, exist_ok=True)
    shutil.copy(host.key_file, keys / site)
    os.chmod(keys / site, 0o600)
    body = {
        "id": site,
        "kind": "ssh",
        "color": COLOURS[site],
        "host": "127.0.0.1",
        "port": host.port,
        "username": host.account,
        "identity": site,
        "host_key": host.host_key,
        "poll_interval": POLL,
        "python": "/usr/bin/python3",
        "directory": f".rrm-test-{uuid.uuid4().hex[:8]}",
        **settings,
    }
    client.call("POST", "site/", json=body)


def node_at(client: Client, site: str, *states: str, seconds: float = 120) -> dict[str, Any]:
    """The newest node of a site that is in one of the states, once there is one."""

    def fitting() -> list[dict[str, Any]]:
        nodes: list[dict[str, Any]] = client.get(f"node/?site={site}&page_size=100")["results"]
        return [node for node in nodes if node["state"] in states]

    found: dict[str, Any] = client.until(fitting, bool, seconds)[0]
    return found


def problem_of(client: Client, site: str, holds: Callable[[str], bool], seconds: float = 90) -> str:
    """What is wrong with a site, once it is what somebody waits for."""
    return str(client.until(lambda: client.get(f"site/{site}/")["problem"], holds, seconds))


def same_picture(client: Client, model: str, size: int, resource: str, sites: dict[str, Any]) -> dict[str, Any]:
    """Render a view at `sites` and on this machine; the body of the first. Raises Failed when the results differ."""
    order = {"model": model, "width": size, "height": size, "outputs": ["png", "counts"]}
    there = client.finished(client.submit(resource=resource, sites=sites, **order), 240)
    here = client.finished(client.submit(resource="mandelbrot", **order), 240)
    for name, is_same in (("image.png", are_same), ("counts.npy", operator.eq)):
        if not is_same(*(client.content(f"job/{job['id']}/{name}") for job in (there, here))):
            raise Failed(f"{name} of {model} differs between {sites} and this machine")
    return there


def is_over(pid: int) -> bool:
    """Whether a process has ended, collected by whoever adopted it or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
