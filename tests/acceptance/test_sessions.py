"""Renderers booked for people, through the real service: shown at once, and nothing left of them afterwards."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from tests.acceptance.stack import Client, Stack, running_rrm
from tests.acceptance.users import VIEW, resident, use
from tests.pictures import pixels
from tests.thoroughness import tries

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]
NODES = 2
MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("sessions")
    settings = {"RRM_AUTOSCALE_SECONDS": "1", "RRM_RECONCILE_SECONDS": "1", "RRM_MAX_SESSIONS": "1000"}
    with running_rrm(folder, **settings) as own:
        with own.client() as client:
            client.call("PATCH", "resource/mandelbrot/", json={"min_nodes": NODES, "max_nodes": NODES})
            client.until(lambda: states(client), lambda found: found == ["IDLE"] * NODES, 150)
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


def test_who_waits_comes_before_a_job_that_takes_every_node(client: Client) -> None:
    job = client.submit(params={**VIEW, "max_iter": 500_000}, width=2048, height=2048)
    client.until(lambda: states(client), lambda found: found == ["BUSY"] * NODES)
    session = ready(client, max_wait=150)
    client.call("DELETE", f"session/{session['id']}/")
    came, over = session["ready_at"], client.finished(job)["finished_at"]
    assert datetime.fromisoformat(came) < datetime.fromisoformat(over), "it waited for the end of the job"


def test_a_refusal_is_quick_and_leaves_nothing(client: Client) -> None:
    settled(client)
    held = [ready(client) for _ in range(NODES)]
    began = time.monotonic()
    response = client.http.post("session/", json={"resource": "mandelbrot", "max_wait": 60})
    assert time.monotonic() - began < 30, "it waited for the time that somebody would wait"
    assert (response.status_code, response.json()["code"]) == (503, "no-capacity")
    assert "max_nodes" in response.json()["detail"]
    for session in held:
        client.call("DELETE", f"session/{session['id']}/")


def test_a_node_that_is_killed_fails_its_session_with_a_reason_and_the_next_can_be_booked(
    stack: Stack, client: Client
) -> None:
    settled(client)
    session = ready(client)
    node = client.get(f"node/{session['node']}/")
    os.kill(node["handle"]["pid"], signal.SIGKILL)
    over = client.until(lambda: client.get(f"session/{session['id']}/"), lambda body: body["state"] != "READY")
    assert over["state"] == "FAILED"
    assert "Its node is FAILED" in over["reason"]
    again = ready(client, max_wait=150)
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


ROUNDS = tries("SESSION_ROUNDS", 3, 4)
USES = tries("SESSIONS", 30, 200)


def test_nothing_is_left_of_sessions_however_they_end(stack: Stack, client: Client) -> None:
    chance = random.Random(5)
    memory = []
    with ThreadPoolExecutor(4) as pool:
        for _ in range(ROUNDS):
            list(pool.map(lambda seed: use(stack, seed), [chance.random() for _ in range(USES // ROUNDS)]))
            settled(client)
            memory.append(resident(stack, "web"))
    assert client.get("session/?state=READY&state=PENDING")["results"] == []
    assert len(client.get(f"session/?page_size={USES * 2}")["results"]) >= USES
    checked = stack.manage("check_farm")
    assert checked.returncode == 0, checked.stdout
    assert memory[-1] - memory[1] < 40 * MEBIBYTE, memory
    assert len([process for process in stack.processes("node") if process.leads]) == NODES


def settled(client: Client) -> None:
    client.until(lambda: states(client), lambda found: found == ["IDLE"] * NODES, 150)
