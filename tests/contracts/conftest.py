"""Connections to a real sshd."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deployment.minicluster.sshd import SshHost
from rrm.launchers.connection import Connection, Target
from rrm.launchers.connection.circuit import Circuit
from tests.contracts.lines import Echo
from tests.hosts import running_host, target_of


@pytest.fixture
def target(ssh_host: SshHost) -> Target:
    return target_of(ssh_host)


@pytest.fixture
def connection(target: Target) -> Iterator[Connection]:
    made = Connection(target)
    yield made
    made.close()


@pytest.fixture
def breakable() -> Iterator[tuple[SshHost, Connection]]:
    """A host of the test's own, and a connection that tries again at once."""
    with running_host() as host:
        made = Connection(target_of(host), Circuit(clock=lambda: 0.0))
        made.circuit.check = lambda: None  # type: ignore[method-assign]
        yield host, made
        made.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.listener.close()
