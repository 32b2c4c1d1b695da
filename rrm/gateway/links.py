"""HTTP/1.1 connections to nodes: one request at a time, with its body and its answer under way together if need be.

A link whose exchange came to its end in order waits a few seconds for the next request to the same node.
"""

from __future__ import annotations

import asyncio
import select
import socket
from dataclasses import dataclass, field
from typing import Any

import h11

from rrm.gateway.errors import NodeFailed, NodeTimeout
from rrm.gateway.sockets import open_socket
from rrm.gateway.visit import Way
from rrm.launchers.connection import Target

READ_BYTES = 2**18
SEND_SECONDS = 45.0
_LONGEST_HEAD = 2**16
_STATUS_END = 600
_IDLE_SECONDS = 4.0  # HTTP servers often end a silent connection after five
_MOST_IDLE = 8

_Key = tuple[Target | None, str, int]
_idle: dict[_Key, list[tuple[Link, asyncio.TimerHandle]]] = {}


@dataclass(eq=False)
class Link:
    """`used`: whether an exchange went over it before; `heard`: whether the node has said anything in this one."""

    socket: socket.socket
    key: _Key
    used: bool = False
    heard: bool = False
    _http: h11.Connection = field(
        default_factory=lambda: h11.Connection(h11.CLIENT, max_incomplete_event_size=_LONGEST_HEAD)
    )
    _next: Any = h11.NEED_DATA

    @property
    def _is_tcp(self) -> bool:
        return self.socket.family != socket.AF_UNIX

    async def send(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> None:
        """Raises NodeFailed when the node has closed the connection, NodeTimeout when it does not read."""
        data = self._http.send(event)
        if not data:
            return
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await asyncio.get_running_loop().sock_sendall(self.socket, data)
        except TimeoutError:
            raise NodeTimeout("The node does not read what it is sent.") from None
        except OSError as error:
            raise NodeFailed(f"The node closed the connection: {error.strerror or error}.") from None

    async def head(self) -> h11.Response:
        """The final answer's status and headers. Raises NodeFailed."""
        while True:
            event = await self._event()
            if isinstance(event, h11.Response):
                return _known(event)
            if not isinstance(event, h11.InformationalResponse):
                raise NodeFailed("The node closed the connection and gave no answer.")

    async def piece(self) -> tuple[bytes, bool]:
        """What has arrived of the answer's body, and whether it was the last of it. Raises NodeFailed."""
        event = await self._event()
        if isinstance(event, h11.EndOfMessage):
            return b"", True
        if not isinstance(event, h11.Data):
            raise NodeFailed("The node broke off its answer.")
        # The end has often arrived as well, and can be passed on together with the last piece.
        self._next = self._parsed()
        return bytes(event.data), isinstance(self._next, h11.EndOfMessage)

    async def _event(self) -> Any:
        event, self._next = self._next, h11.NEED_DATA
        while event is h11.NEED_DATA and (event := self._parsed()) is h11.NEED_DATA:
            try:
                if self._is_tcp:  # else a node that sends head and body apart waits 40 ms for our acknowledgement
                    self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                data = await asyncio.get_running_loop().sock_recv(self.socket, READ_BYTES)
            except OSError as error:
                raise NodeFailed(f"The node closed the connection: {error.strerror or error}.") from None
            self.heard = self.heard or bool(data)
            self._http.receive_data(data)
        return event

    def _parsed(self) -> Any:
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise NodeFailed(f"The node's answer is not HTTP: {error}.") from None

    def give_back(self) -> None:
        """Keep the link for the next exchange if this one ended in order, else close it."""
        http, waiting = self._http, _idle.get(self.key, [])
        is_done = http.our_state is h11.DONE and http.their_state is h11.DONE and not http.trailing_data[0]
        if not is_done or len(waiting) >= _MOST_IDLE:
            self.close()
            return
        http.start_next_cycle()
        self.used, self.heard, self._next = True, False, h11.NEED_DATA
        _idle.setdefault(self.key, waiting).append(
            (self, asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._expire))
        )

    def _expire(self) -> None:
        waiting = [entry for entry in _idle.pop(self.key, []) if entry[0] is not self]
        if waiting:
            _idle[self.key] = waiting
        self.close()

    def close(self) -> None:
        self.socket.close()

    def is_quiet(self) -> bool:
        """Whether nothing has happened on an idle connection: neither its end nor an answer that nobody asked for."""
        watch = select.poll()
        watch.register(self.socket, select.POLLIN)
        return not watch.poll(0)


def _known(head: h11.Response) -> h11.Response:
    """Servers cannot write a status line of another class. Raises NodeFailed."""
    if head.status_code >= _STATUS_END:
        raise NodeFailed(f"The node's answer has the status {head.status_code}, which means nothing.")
    return head


async def link_to(way: Way) -> Link:
    """A connection to the node, one that waits for this or a new one. Raises NodeUnreachable or NodeTimeout."""
    key = (way.target, way.host, way.port)
    while waiting := _idle.get(key):
        link, timer = waiting.pop()
        if not waiting:
            del _idle[key]
        timer.cancel()
        if link.is_quiet():
            return link
        link.close()
    return await new_link(way)


async def new_link(way: Way) -> Link:
    """Raises NodeUnreachable or NodeTimeout."""
    return Link(await open_socket(way), (way.target, way.host, way.port))


def close_idle() -> None:
    """End the connections that wait for another request."""
    for link, timer in [entry for waiting in _idle.values() for entry in waiting]:
        timer.cancel()
        link.close()
    _idle.clear()
