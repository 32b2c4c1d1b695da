"""People who book a renderer, use it or not, and leave it in one way or another."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from pathlib import Path

import httpx

from tests.acceptance.stack import Client, Stack

VIEW = {"center": ["-0.743643887", "0.131825904"], "radius": "0.01", "max_iter": 500}


def resident(stack: Stack, role: str) -> int:
    """Bytes of memory of the processes of a role."""
    pages = [int(Path(f"/proc/{each.pid}/statm").read_text().split()[1]) for each in stack.processes(role)]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


def use(stack: Stack, seed: float, resource: str = "mandelbrot") -> None:
    """One of them."""
    chance = random.Random(seed)
    with stack.client() as client:
        order = {"resource": resource, "max_wait": chance.choice([0, 10]), "idle_timeout": 1}
        response = client.until(
            lambda: client.http.post("session/", json=order), lambda found: found.status_code != 503, 150
        )
        assert response.is_success, response.text
        session = response.json()["id"]
        with contextlib.suppress(httpx.HTTPError):
            _look(client, session, chance)
        end = chance.random()
        if end < 0.8:
            client.http.delete(f"session/{session}/")
        elif end < 0.83:
            node = client.get(f"session/{session}/")["node"]
            if node:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(client.get(f"node/{node}/")["handle"]["pid"], signal.SIGKILL)


def _look(client: Client, session: str, chance: random.Random) -> None:
    """Some requests; the last is cut in the middle."""
    proxy = f"session/{session}/proxy"
    for _ in range(chance.randrange(4)):
        client.http.put(f"{proxy}/camera", json={**VIEW, "width": 200, "height": 100})
        client.http.get(f"{proxy}/frame.jpg")
    if chance.random() < 0.5:
        with client.http.stream("GET", f"{proxy}/stream") as stream:
            next(stream.iter_raw(), b"")
