"""A program written for the first RRM, with the real service: from its configuration to the end of its renderer."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.stack import Client, Stack
from tests.acceptance.test_external import PROGRAM, is_gone, pids

pytestmark = pytest.mark.acceptance


class FirstRrm:
    """What its programs did: no token, the session's id in the query."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=f"{url}/rendering-resource-manager/v1/", timeout=60, trust_env=False)
        self.session = self.configuration = ""

    def call(self, method: str, path: str, **body: Any) -> httpx.Response:
        query = {"session_id": self.session} if self.session else {}
        return self.http.request(method, path, params=query, json=body or None)

    def until(self, code: int, seconds: float = 90) -> dict[str, Any]:
        """The status once it has this number. What was seen on the way was never an error."""
        end = time.monotonic() + seconds
        while True:
            answer = self.call("GET", "session/status")
            assert answer.status_code == 200, answer.text
            body: dict[str, Any] = answer.json()
            if body["code"] == code:
                return body
            assert body["code"] in (1, 2, 4, 8), body
            assert time.monotonic() < end, body
            time.sleep(0.05)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "record"


@pytest.fixture
def program(stack: Stack, tmp_path: Path, record: Path) -> Iterator[FirstRrm]:
    """With a configuration of its own, as the populate file of the first RRM has them."""
    (tmp_path / "viewer.py").write_text(PROGRAM)
    first = FirstRrm(stack.url)
    with first.http:
        answer = first.call(
            *("POST", "config/"),
            id=f"Viewer{os.getpid()}-{time.monotonic_ns()}",
            command_line=f"{sys.executable} {tmp_path}/viewer.py",
            environment_variables="COLOUR=blue",
            modules="",
            process_rest_parameters_format=f"${{rest_hostname}}:${{rest_port}} {record}",
            scheduler_rest_parameters_format=f"${{rest_hostname}}:${{rest_port}} {record}",
            project="proj3",
            queue="interactive",
            exclusive=False,
            nb_nodes=1,
            nb_cpus=1,
            nb_gpus=0,
            graceful_exit=True,
            wait_until_running=True,
            name="Viewer",
            description="",
        )
        assert answer.status_code == 201, answer.text
        first.configuration = answer.json()["contents"].split()[2]
        yield first


def reserve(program: FirstRrm, client: Client) -> str:
    client.until(client.live_nodes, lambda nodes: len(nodes) < 2)  # the site has room for two
    configuration = program.configuration
    answer = program.call("POST", "session/", owner="bbpvizuser", configuration_id=configuration)
    assert answer.status_code == 201, answer.text
    program.session = answer.json()["session_id"]
    return program.session


def test_a_renderer_is_opened_used_and_ended(program: FirstRrm, client: Client, record: Path) -> None:
    id = reserve(program, client)
    answer = program.call("PUT", "session/open", params="demo", environment="COLOUR=red,SIZE=1")
    assert answer.status_code == 200, answer.text
    assert answer.json()["message"] == "Process started"
    assert int(answer.json()["processId"]) > 0
    body = program.until(5)
    assert body["hostname"] == "127.0.0.1"

    page = program.call("GET", "session/anything")
    assert page.status_code == 200, page.text
    assert page.text == f"demo at 127.0.0.1:{body['port']} in red"
    assert program.call("PUT", "session/camera", matrix=[1]).status_code == 200
    assert "the scene is loaded" in program.call("GET", "session/err").json()["contents"]
    assert program.call("GET", "session/log").status_code == 200
    assert "RUNNING" in program.call("GET", "session/job").json()["contents"]
    assert client.get(f"session/{id}/")["state"] == "READY"

    assert program.call("DELETE", "session/").json() == {"contents": "Session successfully destroyed"}
    assert program.call("GET", "session/status").status_code == 404
    client.until(lambda: "left by itself" in record.read_text(), bool)
    client.until(lambda: [pid for pid in pids(record) if not is_gone(pid)], lambda left: not left)


def test_one_that_is_killed_is_told_as_cancelled_once(program: FirstRrm, client: Client, record: Path) -> None:
    reserve(program, client)
    assert program.call("PUT", "session/schedule", params="demo").status_code == 200
    program.until(5)
    os.kill(pids(record)[0], 9)
    end = time.monotonic() + 90
    while (answer := program.call("GET", "session/status")).status_code == 200 and time.monotonic() < end:
        time.sleep(0.05)
    assert answer.status_code == 404
    assert (answer.json()["code"], answer.json()["description"]) == (0, "Job has been cancelled")
    answer = program.call("GET", "session/status")
    assert (answer.status_code, answer.json()) == (404, {"contents": "Session does not exist"})


def own_node(client: Client, session: str) -> dict[str, Any]:
    """The node that is being started for the session."""
    return next(node for node in client.live_nodes() if session in node["reason"])


def session_node(client: Client, session: str) -> str:
    return str(client.get(f"session/{session}/")["node"])


def test_one_that_an_operator_drains_serves_its_user_to_the_end_and_leaves_nothing(
    program: FirstRrm, client: Client, record: Path
) -> None:
    id = reserve(program, client)
    assert program.call("PUT", "session/open", params="demo").status_code == 200
    program.until(5)
    node = client.get(f"node/{session_node(client, id)}/")
    client.call("POST", f"node/{node['id']}/drain")
    end = time.monotonic() + 3  # the loops turn every second
    while time.monotonic() < end:
        answer = program.call("GET", "session/status")
        assert (answer.status_code, answer.json()["code"]) == (200, 5), answer.text
        time.sleep(0.2)
    assert client.get(f"node/{node['id']}/")["reason"].startswith("Leaves when its session ends: drained by")
    assert program.call("GET", "session/anything").status_code == 200
    assert "the scene is loaded" in program.call("GET", "session/err").json()["contents"]
    assert program.call("DELETE", "session/").status_code == 200
    assert program.call("GET", "session/status").status_code == 404
    is_over(client, node["id"], record)


def test_one_that_an_operator_drains_before_it_answers_has_failed_with_the_reason_and_may_be_opened_again(
    program: FirstRrm, client: Client, record: Path
) -> None:
    id = reserve(program, client)
    assert program.call("PUT", "session/open", params="demo", environment="WAIT=60").status_code == 200
    assert program.call("GET", "session/status").json()["code"] == 4
    node = own_node(client, id)
    client.until(record.exists, bool)  # it has begun, and not answered
    client.call("POST", f"node/{node['id']}/drain")
    program.until(7)
    assert "leaving: SIGTERM" in program.call("GET", "session/err").json()["contents"]
    assert "by operator" in client.get(f"session/{id}/")["reason"]
    is_over(client, node["id"], record)
    assert program.call("PUT", "session/open", params="demo").status_code == 200
    program.until(5)
    again = session_node(client, id)
    assert again != node["id"]
    assert program.call("DELETE", "session/").status_code == 200
    is_over(client, again, record)


def is_over(client: Client, node: str, record: Path) -> None:
    """Wait until nothing of the node is left."""
    client.until(lambda: client.get(f"node/{node}/")["state"], lambda state: state == "STOPPED")
    lines = record.read_text().splitlines() if record.exists() else []
    started = [int(pid) for line in lines if line.startswith("started") for pid in line.split()[1:]]
    client.until(lambda: [pid for pid in started if not is_gone(pid)], lambda left: not left)


def test_one_that_does_not_answer_is_busy_and_then_runs_again(program: FirstRrm, client: Client, record: Path) -> None:
    reserve(program, client)
    assert program.call("PUT", "session/open", params="demo").status_code == 200
    program.until(5)
    pid = pids(record)[0]
    os.kill(pid, signal.SIGSTOP)
    try:
        client.until(lambda: program.call("GET", "session/status").json()["code"], lambda code: code == 8)
    finally:
        os.kill(pid, signal.SIGCONT)
    client.until(lambda: program.call("GET", "session/status").json()["code"], lambda code: code == 5)
    program.call("DELETE", "session/")


def test_one_that_cannot_start_fails_and_says_why(program: FirstRrm, client: Client) -> None:
    reserve(program, client)
    # 400 where the end of the process was seen before the answer was given
    assert program.call("PUT", "session/open", params="demo too many words").status_code in {200, 400}
    program.until(7)
    assert "ValueError" in program.call("GET", "session/err").json()["contents"]
    assert program.call("DELETE", "session/").status_code == 200


def test_our_own_renderer_is_looked_at_through_version_1(program: FirstRrm, client: Client) -> None:
    program.configuration = "mandelbrot"
    reserve(program, client)
    assert program.call("PUT", "session/schedule").status_code == 200
    program.until(5)
    assert program.call("GET", "session/registry").status_code == 200
    picture = program.call("GET", "session/frame.jpg")
    assert (picture.status_code, picture.headers["Content-Type"]) == (200, "image/jpeg")
    assert program.call("PUT", "session/camera", radius="0.5").status_code == 200
    with program.http.stream("GET", "session/stream", params={"session_id": program.session}) as stream:
        assert stream.headers["Content-Type"].startswith("multipart/x-mixed-replace")
        assert next(stream.iter_bytes())
    assert program.call("DELETE", "session/").status_code == 200
