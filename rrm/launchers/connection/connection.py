"""A site's one connection in this process: opened when it is needed, opened again when it broke, shared by threads."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import paramiko

from rrm.errors import LauncherError, SiteUnavailable
from rrm.launchers.connection import command as commands
from rrm.launchers.connection import relay as relays
from rrm.launchers.connection.circuit import Circuit
from rrm.launchers.connection.command import FAR, MARK, Completed, Dead
from rrm.launchers.connection.forward import Address, Forward, carried
from rrm.launchers.connection.relay import Relay
from rrm.launchers.connection.target import Target
from rrm.launchers.connection.transport import BROKEN, Refused, SafeTransport, open_transport

MOST_CHANNELS = 8  # sshd's MaxSessions is 10 by default
OUTPUT_LIMIT = 4 * 2**20
_CHANNEL_SECONDS = 5.0
_ROOM_SECONDS = 30.0
_NO_SUCH_PROGRAM = (126, 127)


@dataclass
class Traffic:
    """What the connection has cost its site so far."""

    connections: int = 0
    channels: int = 0
    failures: int = 0


class Connection:
    """See the package. Every method raises SiteUnavailable with a sentence that says what to do."""

    def __init__(self, target: Target, circuit: Circuit | None = None) -> None:
        self.target = target
        self.circuit = circuit or Circuit()
        self.traffic = Traffic()
        self._opening = threading.Lock()
        self._room = threading.BoundedSemaphore(MOST_CHANNELS)
        self._transport: SafeTransport | None = None
        self._forwards: list[Forward] = []

    def run(
        self,
        command: Sequence[str],
        stdin: bytes | Iterable[bytes] = b"",
        timeout: float = 15.0,
        limit: int = OUTPUT_LIMIT,
    ) -> Completed:
        """Run a command at the site, `timeout` in seconds, its output together at most `limit` bytes."""
        pieces = (stdin,) if isinstance(stdin, bytes) else stdin
        if any("\0" in word for word in command):
            raise LauncherError("A command cannot have a NUL character in it.")
        with self._session() as (channel, transport):
            try:
                return commands.run(channel, command, pieces, timeout, limit)
            except Dead:
                self._give_up(transport)
                raise

    def call(self, source: str, request: Any, timeout: float = 15.0, data: Iterable[bytes] = ()) -> Any:
        """The answer of `main(request)` of the Python text `source`, run at the site; both are JSON.

        `data` follows on the standard input of `main`. Only the standard library is there. Raises LauncherError when
        the site has no such Python or the program fails.
        """
        program, asked = source.encode(), json.dumps(request).encode()
        head = b"%d %d\n" % (len(program), len(asked)) + program + asked
        done = self.run([self.target.python, "-I", "-c", FAR], _after(head, data), timeout)
        _, _, answer = done.stdout.rpartition(MARK)
        if done.status == 0 and answer:
            return json.loads(answer)
        if done.status in _NO_SUCH_PROGRAM:
            raise LauncherError(
                f"There is no {self.target.python} at {self.target.host} ({done.complaint}). Set the site's `python` to"
                " the path of Python 3.11 to 3.13 there."
            )
        raise LauncherError(f"A program at {self.target.host} failed: {done.complaint}.")

    def open(self, host: str, port: int) -> paramiko.Channel:
        """A stream to a port that the site's host can reach; has recv, sendall, settimeout, shutdown and close."""
        transport = self._connected()
        try:
            channel = transport.open_channel("direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=_CHANNEL_SECONDS)
        except BROKEN as error:
            raise SiteUnavailable(f"{self.target.host} does not lead to {host}:{port}: {error}.") from None
        self.traffic.channels += 1
        return channel

    def stream(self, host: str, port: int) -> socket.socket:
        """The same as a socket, of which either end may be closed at any time."""
        return carried(self.open(host, port))

    def listen(self, address: str, port: int, to: Address) -> Forward:
        """Have the site's host listen, and lead what connects to `to`, seen from here; stays over reconnections."""
        transport = self._connected()
        forward = Forward(address, port, to)
        try:
            forward.open_on(transport)
        except BROKEN as error:
            raise SiteUnavailable(f"{self.target.host} does not let us listen there: {error}.") from None
        self._forwards.append(forward)
        return forward

    def relay(self, port: int, to: int) -> Relay:
        """Have the site's host listen for all machines, on `port` if that is free, and lead to its own port `to`.

        It ends with the connection.
        """
        channel, _ = self._open_session()
        return relays.start(channel, self.target.python, port, to)

    def unlisten(self, forward: Forward) -> None:
        """End a forward; nothing happens when it has ended."""
        with contextlib.suppress(ValueError):
            self._forwards.remove(forward)
        if self._transport is not None:
            forward.cancel_on(self._transport)

    def close(self) -> None:
        with self._opening:
            transport, self._transport, self._forwards = self._transport, None, []
        if transport is not None:
            transport.close()

    @contextlib.contextmanager
    def _session(self) -> Iterator[tuple[paramiko.Channel, SafeTransport]]:
        """A session channel while there is room for one."""
        if not self._room.acquire(timeout=_ROOM_SECONDS):
            raise SiteUnavailable(f"{MOST_CHANNELS} commands are being run at {self.target.host} and none ends.")
        try:
            yield self._open_session()
        finally:
            self._room.release()

    def _open_session(self) -> tuple[paramiko.Channel, SafeTransport]:
        """A connection that broke unnoticed is replaced once: nothing was asked on it yet."""
        transport = self._connected()
        try:
            return self._session_on(transport), transport
        except BROKEN:
            self._give_up(transport)
        transport = self._connected()
        try:
            return self._session_on(transport), transport
        except BROKEN as error:
            self._give_up(transport)
            raise SiteUnavailable(f"The connection to {self.target.host} broke twice: {error}.") from None

    def _session_on(self, transport: SafeTransport) -> paramiko.Channel:
        """A host may still count a session that we have closed: it is asked again for a while.

        Of two refusals at the same moment paramiko gives only one to its caller, and the other gets an error of no
        kind, at once; silence is another matter.
        """
        patience = time.monotonic() + _CHANNEL_SECONDS
        while True:
            asked = time.monotonic()
            try:
                channel = transport.open_session(timeout=_CHANNEL_SECONDS)
            except paramiko.SSHException as error:
                now = time.monotonic()
                if not transport.is_active() or now - asked >= _CHANNEL_SECONDS:
                    raise
                if now > patience:
                    raise SiteUnavailable(f"{self.target.host} opens no more sessions: {error}.") from None
                time.sleep(0.02)
            else:
                self.traffic.channels += 1
                return channel

    def _connected(self) -> SafeTransport:
        """The living transport; one caller opens it while the others wait for that."""
        with self._opening:
            if self._transport is not None and self._transport.is_active():
                return self._transport
            self.circuit.check()
            try:
                transport = open_transport(self.target)
            except SiteUnavailable as error:
                self.traffic.failures += 1
                self.circuit.failed(error.detail, refused=isinstance(error, Refused))
                raise
            self.circuit.succeeded()
            self.traffic.connections += 1
            self._transport = transport
            self._reopen_forwards(transport)
            return transport

    def _reopen_forwards(self, transport: SafeTransport) -> None:
        for forward in self._forwards:
            with contextlib.suppress(*BROKEN):
                forward.open_on(transport)

    def _give_up(self, transport: SafeTransport) -> None:
        """Close a transport that does not work any more, unless somebody has replaced it already."""
        with self._opening:
            if self._transport is transport:
                self._transport = None
                self.traffic.failures += 1
        transport.close()

    def costs(self) -> dict[str, int]:
        return asdict(self.traffic)


def _after(head: bytes, data: Iterable[bytes]) -> Iterator[bytes]:
    yield head
    yield from data


_connections: dict[Target, Connection] = {}
_registry = threading.Lock()


def connection_to(target: Target) -> Connection:
    """This process's connection to the target."""
    with _registry:
        return _connections.setdefault(target, Connection(target))


def _forget_after_fork() -> None:
    """A child must not speak on its parent's connections; they stay open there."""
    global _registry
    _registry = threading.Lock()
    _connections.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
