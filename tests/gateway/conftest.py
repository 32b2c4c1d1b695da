"""A manager with its gateway, people with and without a session, and a node."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from uuid import UUID

import httpx
import pytest
import uvicorn
from django.contrib.auth.models import User

from rrm.api.limits import BodyLimit
from rrm.api.v2.proxy import SessionProxy
from rrm.asgi import ThreadedHandler
from rrm.gateway import links
from rrm.gateway.slots import traffic
from tests.factories import Caller, caller, person
from tests.gateway.servers import PROXY, BookedSessions, Node, front, serving, until


@dataclass
class Gate:
    """`session` is that of `owner`, at `node`; `port` is the manager's."""

    port: int
    sessions: BookedSessions
    node: Node
    node_port: int
    user: User
    owner: Caller
    session: UUID

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def path(self, rest: str = "/", session: UUID | None = None) -> str:
        return PROXY.format(session or self.session) + rest

    def client(self, by: Caller | None = None, session: UUID | None = None) -> httpx.Client:
        """Sends requests to the session's node; paths are below the proxy."""
        base = self.url + self.path("", session)
        return httpx.Client(base_url=base, headers=(by or self.owner).headers, timeout=20, trust_env=False)

    def book(self, port: int) -> UUID:
        """Another session of the owner, whose node listens on this port."""
        return self.sessions.add(self.user, port)


@pytest.fixture
def stranger(gate: Gate) -> Caller:
    return caller(person("eve"))


@pytest.fixture
def operator(gate: Gate) -> Caller:
    return caller(person("olga", is_operator=True))


@pytest.fixture
def reader(gate: Gate) -> Caller:
    """A token of the owner that only looks at things."""
    return caller(gate.user, "read")


@pytest.fixture
def pings() -> float:
    """The seconds between the manager's pings, and those that an answer may take."""
    return 20.0


@pytest.fixture
def gate(transactional_db: None, pings: float) -> Iterator[Gate]:
    user, sessions, node = person("ada"), BookedSessions(), Node()
    config = uvicorn.Config(node, http="httptools", ws="websockets-sansio", lifespan="off", log_level="critical")
    config.timeout_graceful_shutdown = 1
    with ExitStack() as stack:
        node_port = stack.enter_context(serving(config))
        port = stack.enter_context(front(SessionProxy(BodyLimit(ThreadedHandler()), sessions), pings))
        session = sessions.add(user, node_port)
        yield Gate(port, sessions, node, node_port, user, caller(user), session)
        until(lambda: not +traffic.open)
        node.released.set()
    links.close_idle()
