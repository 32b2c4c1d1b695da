"""Renderers booked for people, through the real service: shown at once, and nothing left of them afterwards."""

from __future__ import annotations

import contextlib
import io
import os
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.acceptance.stack import Client, Stack, running_rrm

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]
VIEW = {"center": ["-0.743643887", "0.131825904"], "radius": "0.01", "max_iter": 500}
NODES = 2
MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("sessions")
    settings = {"RRM_AUTOSCALE_SECONDS": "1", "RRM_RECONCILE_SECONDS": "1", "RRM_MAX_SESSIONS": "1000"}
    with running_rrm(folder, **settings) as own:
        with own.client() as client:
            client.call("PATCH", "resource/mandelbrot/", json={"min_nodes": NODES, "max_nodes": NODES})
            client.until(lambda: states(client), lambda found: found == ["IDLE"] * NODES, 60)
        yield own


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with stack.client() as found:
        yield found


def states(client: Client) -> list[str]:
    return sorted(node["state"] for node in client.live_nodes())


def book(client: Client, **order: Any) -> dict[str, Any]:
    body: dict[str, Any] = client.call("POST", "session/", json={"resource": "mandelbrot", **order}).json()
    return body


def ready(client: Client, **order: Any) -> dict[str, Any]:
    """A session that has its node."""
    session = book(client, **order)
    found: dict[str, Any] = client.until(
        lambda: client.get(f"session/{session['id']}/"), lambda body: body["state"] != "PENDING"
    )
    assert found["state"] == "READY", found["reason"]
    return found


def test_a_warm_renderer_shows_a_picture_and_then_works_for_jobs_again(stack: Stack, client: Client) -> None:
    job = client.submit(params=VIEW, width=512, height=512)
    client.finished(job)
    client.until(lambda: states(client), lambda found: found == ["IDLE"] * NODES)
    session = ready(client, params=VIEW)
    assert session["warm"]
    camera = {**VIEW, "width": 512, "height": 512}
    client.call("PUT", f"session/{session['id']}/proxy/camera", json=camera)
    shown = client.content(f"session/{session['id']}/proxy/frame.png")
    assert np.array_equal(pixels(shown), pixels(client.content(f"job/{job}/image.png")))
    client.call("DELETE", f"session/{session['id']}/")
    client.until(lambda: states(client), lambda found: found == ["IDLE"] * NODES)
    assert stack.manage("check_farm").returncode == 0


def pixels(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_who_waits_comes_before_a_job_that_takes_every_node(client: Client) -> None:
    job = client.submit(params={**VIEW, "max_iter": 200_000}, width=2048, height=2048)
    client.until(lambda: states(client), lambda found: found == ["BUSY"] * NODES)
    began = time.monotonic()
    session = ready(client, max_wait=30)
    assert time.monotonic() - began < 15
    client.call("DELETE", f"session/{session['id']}/")
    client.finished(job, 120)


def test_a_refusal_is_quick_and_leaves_nothing(client: Client) -> None:
    held = [ready(client) for _ in range(NODES)]
    began = time.monotonic()
    response = client.http.post("session/", json={"resource": "mandelbrot", "max_wait": 60})
    assert time.monotonic() - began < 1.0
    assert (response.status_code, response.json()["code"]) == (503, "no-capacity")
    assert "allow no further node" in response.json()["detail"]
    for session in held:
        client.call("DELETE", f"session/{session['id']}/")


def test_a_node_that_is_killed_fails_its_session_with_a_reason_and_the_next_can_be_booked(
    stack: Stack, client: Client
) -> None:
    session = ready(client)
    node = client.get(f"node/{session['node']}/")
    os.kill(node["handle"]["pid"], signal.SIGKILL)
    over = client.until(lambda: client.get(f"session/{session['id']}/"), lambda body: body["state"] != "READY")
    assert over["state"] == "FAILED"
    assert "Its node is FAILED" in over["reason"]
    again = ready(client, max_wait=60)
    client.call("DELETE", f"session/{again['id']}/")


def test_the_memory_of_a_node_is_level_over_many_users(stack: Stack, client: Client) -> None:
    settled(client)
    memory = []
    for number in range(60):
        session = ready(client)
        proxy = f"session/{session['id']}/proxy"
        center = [str(-0.7 + 0.001 * number), "0.1"]
        client.call("PUT", f"{proxy}/camera", json={**VIEW, "center": center, "width": 640, "height": 360})
        client.content(f"{proxy}/frame.jpg")
        client.call("DELETE", f"session/{session['id']}/")
        memory.append(resident(stack, "node"))
    assert memory[-1] - memory[20] < 24 * MEBIBYTE, memory


USES = 200


def test_nothing_is_left_of_sessions_however_they_end(stack: Stack, client: Client) -> None:
    chance = random.Random(5)
    memory = []
    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            list(pool.map(lambda seed: use(stack, seed), [chance.random() for _ in range(USES // 4)]))
            settled(client)
            memory.append(resident(stack, "web"))
    assert client.get("session/?state=READY&state=PENDING")["results"] == []
    assert len(client.get(f"session/?page_size={USES * 2}")["results"]) >= USES
    checked = stack.manage("check_farm")
    assert checked.returncode == 0, checked.stdout
    assert memory[-1] - memory[1] < 40 * MEBIBYTE, memory
    assert len([process for process in stack.processes("node") if process.leads]) == NODES


def settled(client: Client) -> None:
    client.until(lambda: states(client), lambda found: found == ["IDLE"] * NODES, 60)


def resident(stack: Stack, role: str) -> int:
    """Bytes of memory of the processes of a role."""
    pages = [int(Path(f"/proc/{each.pid}/statm").read_text().split()[1]) for each in stack.processes(role)]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


def use(stack: Stack, seed: float) -> None:
    """One person, who uses a session or not, and leaves it in one way or another."""
    chance = random.Random(seed)
    with stack.client() as client:
        order = {"resource": "mandelbrot", "max_wait": chance.choice([0, 10]), "idle_timeout": 1}
        response = client.until(
            lambda: client.http.post("session/", json=order), lambda found: found.status_code != 503, 60
        )
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
