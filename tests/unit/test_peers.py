"""Whose connection over loopback it is, by the kernel's own table."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rrm.api.v1.peers import is_own

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


@pytest.fixture(params=["127.0.0.1", "::1"])
def meta(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """What a request over a real connection tells."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family) as server:
        client = socket.create_connection(server.getsockname()[:2])
        accepted, peer = server.accept()
        with client, accepted:
            yield {
                "REMOTE_ADDR": peer[0],
                "REMOTE_PORT": peer[1],
                "SERVER_PORT": str(server.getsockname()[1]),
                "client": client,
            }


def test_a_connection_of_this_account_is_own(meta: dict[str, Any]) -> None:
    assert is_own(meta)


def test_one_that_was_closed_is_nobodys(meta: dict[str, Any]) -> None:
    meta["client"].close()
    assert not is_own(meta)


@pytest.mark.parametrize(
    "change",
    [
        {"REMOTE_PORT": 0},  # as a proxy's headers have it
        {"REMOTE_PORT": 1},
        {"SERVER_PORT": "1"},
        {"REMOTE_ADDR": "10.0.0.1"},
        {"REMOTE_ADDR": "somewhere"},
        {"REMOTE_ADDR": ""},
    ],
)
def test_what_is_not_in_the_table_is_not_own(meta: dict[str, Any], change: dict[str, Any]) -> None:
    assert not is_own({**meta, **change})


def row(uid: int, state: str = "01", inode: int = 77) -> str:
    return f"   0: 0100007F:C350 0100007F:2328 {state} 00000000:00000000 00:00000000 00000000 {uid} 0 {inode} 1\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (row(os.geteuid()), True),
        (row(0), True),
        (row(os.geteuid() + 1), False),
        (row(0, state="06"), False),
        (row(0, inode=0), False),
        ("", False),
    ],
)
def test_only_this_account_and_root_count(tmp_path: Path, line: str, expected: bool) -> None:
    table = tmp_path / "tcp"
    table.write_text(HEADER + line)
    meta = {"REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": 50000, "SERVER_PORT": "9000"}
    assert is_own(meta, (str(table), str(tmp_path / "none"))) is expected
