"""A request reaches the session's node and nothing else, whatever its path and headers name."""

from __future__ import annotations

import pytest

from tests.gateway.asking import (
    code_of,
    raw,
)
from tests.gateway.conftest import Gate
from tests.gateway.servers import RawNode, head, saying


@pytest.mark.parametrize(
    "rest",
    [
        *("/../../../../../healthz", "/..%2f..%2fhealthz", "/%2e%2e/x", "/%00", "/a%0d%0aX-Injected:%201", "/.%252e/x"),
    ],
)
def test_path_games_are_refused(gate: Gate, rest: str) -> None:
    with raw(gate, "GET", gate.path(rest)) as stream:
        said = head(stream)
    assert b" 400 " in said
    assert b"bad-path" in said
    assert not gate.node.requests


def test_other_hosts_in_the_request_change_nothing(gate: Gate) -> None:
    trap = RawNode(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrap"))
    evil = f"127.0.0.1:{trap.port}"
    for target in (gate.path(f"//{evil}/x"), gate.path(f"/http://{evil}/x"), f"http://{evil}{gate.path('/x')}"):
        with raw(gate, "GET", target, f"X-Forwarded-Host: {evil}", f"Forwarded: host={evil}") as stream:
            assert b" 201 " in head(stream)
    hosts = {value for seen in gate.node.requests for name, value in seen["headers"] if name == "host"}
    assert hosts == {f"127.0.0.1:{gate.node_port}"}
    assert len(gate.node.requests) == 3
    assert trap.accepted == 0
    trap.close()


def test_only_a_name_that_leads_to_a_machine_is_connected_to(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    for host in ("169.254.169.254", "0.0.0.0", "224.0.0.1", "::ffff:169.254.169.254"):  # noqa: S104
        session = gate.sessions.add(gate.user, gate.node_port, host=host)
        with gate.client(session=session) as client:
            assert code_of(client.get("/"), 502) == "node-unreachable"
    assert not gate.node.requests
