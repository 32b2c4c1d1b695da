"""The gateway behind a real nginx with the configuration that we ship."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from rrm.gateway.slots import traffic
from tests.gateway.asking import raw
from tests.gateway.conftest import Gate
from tests.gateway.servers import head, until
from tests.services import free_port

CONFIGURATION = Path(__file__).parents[2] / "deployment" / "nginx.conf"


@pytest.fixture
def behind(gate: Gate, tmp_path: Path) -> Iterator[Gate]:
    """The gate, reached through nginx; without TLS, for which there is no certificate."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("nginx is not installed")
    port = free_port()
    ours = CONFIGURATION.read_text().replace("127.0.0.1:9000", f"127.0.0.1:{gate.port}")
    ours = re.sub(r"server \{\s+listen 80;.*?\n\}\n", "", ours, flags=re.DOTALL)
    ours = re.sub(r"listen 443 ssl http2", f"listen 127.0.0.1:{port}", ours)
    ours = re.sub(r"\n *(listen \[::\]|ssl_certificate).*", "", ours)
    folders = "".join(f"{kind}_temp_path {tmp_path}/{kind}; " for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    paths = f"{folders}client_body_temp_path {tmp_path}/body; access_log off;"
    file = tmp_path / "nginx.conf"
    file.write_text(
        f"user root; worker_processes 1; daemon off; pid {tmp_path}/pid; error_log {tmp_path}/log;\n"
        f"events {{ }}\nhttp {{ gzip on; gzip_types *; {paths}\n{ours}\n}}\n"
    )
    running = subprocess.Popen([program, "-c", file, "-p", tmp_path], stderr=subprocess.DEVNULL)
    try:
        until(lambda: (tmp_path / "pid").exists())
        yield replace(gate, port=port)
    finally:
        running.terminate()
        running.wait(10)


def test_event_streams_pass_nginx_at_once(behind: Gate) -> None:
    with behind.client() as client, client.stream("GET", "/events") as answer:
        pieces = answer.iter_raw()
        assert next(pieces) == b"data: 1\n\n"
        assert "content-encoding" not in answer.headers
        behind.node.released.set()
        assert b"".join(pieces) == b"data: 2\n\n"


def test_uploads_pass_nginx_while_they_are_being_sent(behind: Gate) -> None:
    with raw(behind, "POST", behind.path("/upload"), "Transfer-Encoding: chunked", "Connection: close") as stream:
        stream.sendall(b"5\r\nfirst\r\n")
        until(lambda: b"first" in behind.node.bodies)
        stream.sendall(b"0\r\n\r\n")
        assert b" 200 " in head(stream)
    announced = f"Content-Length: {300 * 2**20}"  # more than other routes take
    with raw(behind, "PUT", behind.path("/upload"), announced) as stream:
        stream.sendall(b"other")
        until(lambda: b"other" in behind.node.bodies)


def test_websockets_pass_nginx(behind: Gate) -> None:
    url = f"ws://127.0.0.1:{behind.port}{behind.path('/ws')}"
    names = [Subprotocol("a")]
    with connect(url, additional_headers=behind.owner.headers, proxy=None, subprotocols=names) as opened:
        for message in ("x", bytes(900_000)):
            opened.send(message)
            assert opened.recv(20) == message
        assert opened.subprotocol == "a"
    until(lambda: behind.node.closes == [1000])


def test_who_leaves_nginx_leaves_the_node(behind: Gate) -> None:
    with raw(behind, "GET", behind.path("/silent")):
        until(lambda: traffic.open["http"] == 1)
    until(lambda: traffic.open["http"] == 0, 2)


@pytest.mark.parametrize("rest", ["/../../../../../healthz", "/%2e%2e/%2e%2e/x", "/a/..%2f..%2fx"])
def test_path_games_are_refused_behind_nginx_too(behind: Gate, rest: str) -> None:
    with raw(behind, "GET", behind.path(rest)) as stream:
        assert b" 400 " in head(stream)
    assert not behind.node.requests
