"""One request or WebSocket of a person who may reach a node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from rrm.launchers.connection import Target

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Way(Protocol):
    """Where the node of a session is; `target` is the site to go through, `key` what the node knows us by.

    The session ends by itself `idle_seconds` after its last use.
    """

    @property
    def session(self) -> UUID: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def target(self) -> Target | None: ...
    @property
    def key(self) -> str: ...
    @property
    def idle_seconds(self) -> int: ...


@dataclass(frozen=True)
class Visit:
    """The ASGI exchange with the client, and what was decided about it.

    `wanted` is the request target for the node, `prefix` the path under which the client sees the node's root. `heard`
    is called when the client sends something; `check` every few seconds, and raises RrmError when the visit has to end.
    """

    way: Way
    wanted: bytes
    prefix: str
    scope: Message
    receive: Receive
    send: Send
    heard: Callable[[], None]
    check: Callable[[], Awaitable[None]]


def authority(way: Way) -> str:
    """`host:port` as it stands in a URL."""
    is_ipv6 = ":" in way.host and not way.host.startswith("[")
    return f"[{way.host}]:{way.port}" if is_ipv6 else f"{way.host}:{way.port}"
