"""What single requests cost: reading a job, and a node's way through a lease."""

from __future__ import annotations

import contextlib
import hmac
import http.client
import os
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx

from renderers.lease import parse_lease
from renderers.mandelbrot.render import TilePainter, Work
from tests.acceptance.stack import PREFIX, Client, Stack

RESOURCE = "round-trip"
_PRETENDED_MS = 20.0  # per tile: keeps the ranges small, whatever this program's own speed


def reading(stack: Stack, job: str, seconds: float, connections: int) -> float:
    """GET job/{id}/ per second over so many connections that are kept open."""
    ends, done = time.monotonic() + seconds, []
    headers = {"Authorization": f"Bearer {stack.secret('operator.token')}"}

    def ask() -> None:
        link, count = http.client.HTTPConnection("127.0.0.1", stack.port), 0
        while time.monotonic() < ends:
            link.request("GET", f"{PREFIX}job/{job}/", headers=headers)
            answer = link.getresponse()
            answer.read()
            assert answer.status == 200
            count += 1
        done.append(count)

    threads = [threading.Thread(target=ask) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / seconds


def lease_round_trips(stack: Stack, client: Client, rounds: int) -> dict[str, float]:
    """Median and 95th-percentile milliseconds of asking for a range and of delivering one, with 4 tiles of 64 pixels.

    This program takes the place of a node: it asks, renders nothing worth mentioning, and delivers.
    """
    asked, delivered = [], []
    with _as_node(stack, client) as node:
        order = {"params": {"viewport": [2, 3, 2, 3], "max_iter": 10}, "width": 4096, "height": 4096, "tile_size": 64}
        job = client.submit(**order, resource=RESOURCE)
        body: dict[str, Any] = {"leases": [], "models": [], "cores": 1}
        for _ in range(rounds):
            began = time.perf_counter()
            lease = node.post("lease", json=body).raise_for_status().json()["lease"]
            asked.append(time.perf_counter() - began)
            bundle = _bundle(lease)
            began = time.perf_counter()
            headers = {"Content-Type": "application/vnd.rrm.bundle"}
            node.put(f"lease/{lease['id']}", content=bundle, headers=headers).raise_for_status()
            delivered.append(time.perf_counter() - began)
        client.act(job, "cancel")
    return {
        **{f"ask for a range, {name}": value for name, value in _milliseconds(asked).items()},
        **{f"deliver a range, {name}": value for name, value in _milliseconds(delivered).items()},
    }


def _milliseconds(seconds: list[float]) -> dict[str, float]:
    ranked = sorted(seconds)
    return {
        "median ms": round(statistics.median(ranked) * 1e3, 2),
        "95 % ms": round(ranked[int(0.95 * len(ranked))] * 1e3, 2),
    }


def _bundle(lease: dict[str, Any]) -> bytes:
    work, painter = Work(parse_lease(lease)), TilePainter()
    for tile in range(lease["start"], lease["stop"]):
        result = painter.render(work, tile)
        assert result is not None
        work.results.append(type(result)(result.tile, _PRETENDED_MS, result.parts))
    return work.bundle()


@contextlib.contextmanager
def _as_node(stack: Stack, client: Client) -> Iterator[httpx.Client]:
    """A node of a resource of its own that is this process: its launch is held back until it has checked in."""
    client.call("POST", "resource/", json={"id": RESOURCE, "renderer": "mandelbrot", "sites": ["local"]})
    # The broker sleeps meanwhile. A worker that sleeps might keep the database locked.
    broker = [process.pid for process in stack.processes("broker")]
    _signal(broker, signal.SIGSTOP)
    try:
        name = client.call("POST", "node/", json={"resource": RESOURCE}).json()["name"]
        token = hmac.new(stack.secret("secret.key").encode(), f"launch {name}".encode(), "sha256").hexdigest()
        node = httpx.Client(base_url=f"{stack.url}{PREFIX}node-agent/", timeout=30, trust_env=False)
        node.headers["Authorization"] = f"Bearer {token}"
        told = node.post("register", json={"node": name, "cores": 1}).raise_for_status().json()
        node.headers["Authorization"] = f"Bearer {told['token']}"
    finally:
        _signal(broker, signal.SIGCONT)
    with contextlib.closing(node):
        yield node
        node.post("goodbye", json={"reason": "measured"})


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
