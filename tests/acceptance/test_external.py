"""Somebody else's renderer, from `POST node/` to its end, as the service runs it."""

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

from tests.acceptance.stack import Client

pytestmark = pytest.mark.acceptance
PROGRAM = """
import os, subprocess, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
address, record, name = sys.argv[1:]
child = subprocess.Popen(["sleep", "731"])
def note(*words):
    with open(record, "a") as file:
        print(*words, file=file)
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{name} at {address} in {os.environ['COLOUR']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_PUT(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        note(self.path)
        if self.path == "/v1/exit":
            note("left", "by", "itself")
            os._exit(0)
    def log_message(self, *words): pass
note("started", os.getpid(), child.pid)
host, port = address.split(":")
time.sleep(float(os.environ.get("WAIT", 0)))
print("the scene is loaded", file=sys.stderr, flush=True)
HTTPServer((host, int(port)), Handler).serve_forever()
"""


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "record"


@pytest.fixture
def viewer(client: Client, tmp_path: Path, record: Path) -> Iterator[str]:
    """A resource whose nodes run the program above; its id."""
    (tmp_path / "viewer.py").write_text(PROGRAM)
    name = f"viewer{os.getpid()}-{time.monotonic_ns()}"
    body = {
        "id": name,
        "renderer": "external",
        "command_line": f"{sys.executable} '{tmp_path}/viewer.py'",
        "process_rest_parameters_format": f"${{rest_hostname}}:${{rest_port}} {record} ${{rest_schema}}",
        "environment_variables": "COLOUR='deep blue'",
        "sites": [client.get("resource/mandelbrot/")["sites"][0]],
        "max_nodes": 2,
    }
    client.call("POST", "resource/", json=body)
    yield name
    client.call("PATCH", f"resource/{name}/", json={"enabled": False, "min_nodes": 0})
    client.until(lambda: of(client, name), lambda nodes: not nodes)


def of(client: Client, resource: str) -> list[dict[str, Any]]:
    return [node for node in client.live_nodes() if node["resource"] == resource]


def node(client: Client, id: str) -> dict[str, Any]:
    body: dict[str, Any] = client.get(f"node/{id}/")
    return body


def started(client: Client, resource: str) -> dict[str, Any]:
    """A node that answers."""
    asked = client.call("POST", "node/", json={"resource": resource}).json()["id"]
    body: dict[str, Any] = client.until(lambda: node(client, asked), lambda found: found["state"] == "IDLE")
    return body


def pids(record: Path) -> list[int]:
    return [int(pid) for pid in record.read_text().split("\n")[0].split()[1:]]


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_program_is_started_reached_asked_to_leave_and_leaves_nothing(
    client: Client, viewer: str, record: Path
) -> None:
    running = started(client, viewer)

    page = httpx.get(f"http://{running['address']}/", timeout=30, trust_env=False)
    assert page.text == f"rest{viewer}{running['name']} at {running['address']} in deep blue"
    assert "the scene is loaded" in client.call("GET", f"node/{running['id']}/log?stream=err").text
    client.call("POST", f"node/{running['id']}/stop")

    client.until(lambda: node(client, running["id"]), lambda body: body["state"] == "STOPPED")
    assert record.read_text().splitlines()[-2:] == ["/v1/exit", "left by itself"]
    client.until(lambda: [pid for pid in pids(record) if not is_gone(pid)], lambda left: not left)


def test_drained_it_leaves_in_order(client: Client, viewer: str, record: Path) -> None:
    running = started(client, viewer)
    client.call("POST", f"node/{running['id']}/drain")

    client.until(lambda: node(client, running["id"]), lambda body: body["state"] == "STOPPED")
    assert "left by itself" in record.read_text()
    client.until(lambda: [pid for pid in pids(record) if not is_gone(pid)], lambda left: not left)


def test_one_that_dies_fails_with_its_last_words_and_another_takes_its_place(
    client: Client, viewer: str, record: Path
) -> None:
    client.call("PATCH", f"resource/{viewer}/", json={"min_nodes": 1})
    (first,) = client.until(lambda: of(client, viewer), lambda nodes: [node["state"] for node in nodes] == ["IDLE"])
    os.kill(pids(record)[0], signal.SIGKILL)

    failed = client.until(lambda: node(client, first["id"]), lambda body: body["state"] == "FAILED")
    assert "ended by SIGKILL; its last line: the scene is loaded" in failed["reason"]
    client.until(
        lambda: [other["state"] for other in of(client, viewer) if other["id"] != first["id"]], lambda s: s == ["IDLE"]
    )
    client.until(lambda: is_gone(pids(record)[1]), bool)


def test_one_that_cannot_start_says_why(client: Client, viewer: str) -> None:
    client.call("PATCH", f"resource/{viewer}/", json={"command_line": f"{sys.executable} /no/such/program.py"})
    asked = client.call("POST", "node/", json={"resource": viewer}).json()["id"]

    failed = client.until(lambda: node(client, asked), lambda body: body["state"] == "FAILED")
    assert "ended with status 2; its last line:" in failed["reason"]
    assert "No such file or directory" in failed["reason"]
