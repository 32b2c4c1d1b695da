"""Ports and streams through the SSH connection, in both directions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from deployment.minicluster.sshd import SshHost
from rrm.launchers.connection import REACHES, Connection
from tests.contracts.lines import Echo, complaint, listens, there_and_back, until


def test_a_port_of_the_host_leads_here(connection: Connection, echo: Echo) -> None:
    forward = connection.listen("127.0.0.1", 0, ("127.0.0.1", echo.port))
    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(lambda size: there_and_back(forward.port, size), [0, 1, 100_000, 2_000_000] * 6))
    connection.unlisten(forward)
    with pytest.raises(OSError):  # noqa: PT011 - refused or cut off, as it comes
        assert there_and_back(forward.port, 10)


def test_a_port_of_the_host_comes_back_with_the_connection(breakable: tuple[SshHost, Connection], echo: Echo) -> None:
    host, connection = breakable
    forward = connection.listen("127.0.0.1", 0, ("127.0.0.1", echo.port))
    port = forward.port
    host.cut_sessions()
    until(lambda: connection.run(["true"]).status == 0)
    assert forward.port == port
    assert there_and_back(port, 1000)


def test_a_host_that_keeps_forwarded_ports_to_itself_is_helped_by_a_program_of_ours(
    breakable: tuple[SshHost, Connection], echo: Echo
) -> None:
    host, connection = breakable
    forward = connection.listen("0.0.0.0", 0, ("127.0.0.1", echo.port))  # noqa: S104 - what is asked of the host
    others = "127.0.0.2"
    assert not connection.call(REACHES, {"host": others, "port": forward.port})
    relay = connection.relay(0, forward.port)
    assert connection.call(REACHES, {"host": others, "port": relay.port})
    assert there_and_back(relay.port, 3_000_000)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda size: there_and_back(relay.port, size), [50_000] * 100))
    host.cut_sessions()
    until(lambda: not relay.is_alive, 30)
    until(lambda: not listens(relay.port), 30)
    again = connection.relay(relay.port, forward.port)
    assert again.port == relay.port
    assert there_and_back(again.port, 1000)
    again.close()
    until(lambda: not listens(again.port), 30)


def test_a_stream_leads_to_what_the_host_can_reach(connection: Connection, echo: Echo) -> None:
    stream = connection.open("127.0.0.1", echo.port)
    stream.sendall(b"hello")
    assert stream.recv(100) == b"hello"
    stream.close()
    assert "does not lead to 127.0.0.1:1" in complaint(lambda: connection.open("127.0.0.1", 1))
