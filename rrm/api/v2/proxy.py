"""`session/{id}/proxy/<path>`: any method, and WebSockets. It stands before Django, which reads whole bodies."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol
from uuid import UUID

from django.contrib.auth.models import User
from django.db import DatabaseError

from rrm.api.answers import refuse
from rrm.api.auth import Scope
from rrm.api.callers import caller
from rrm.api.threads import in_database
from rrm.errors import NotFound
from rrm.gateway import Visit, Way, forward, relay
from rrm.gateway.targets import wanted

_App = Callable[[Any, Any, Any], Awaitable[None]]  # every library writes these types in its own way

_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_ROUTE = re.compile(
    rf"(/rendering-resource-manager/v2/session/({_UUID})/proxy)(/.*)?".encode(), re.IGNORECASE | re.DOTALL
)
_TOUCH_SECONDS = 5.0


class Sessions(Protocol):
    """What is asked of the sessions. Both are called on a thread that may use the database."""

    def way_to(self, session: UUID, user: User | None) -> Way:
        """`user` None may reach everybody's. Raises RrmError when no such session has a node."""

    def touch(self, session: UUID) -> object:
        """Somebody uses the session."""


class SessionProxy:
    """ASGI: takes the requests and WebSockets for nodes of sessions, and leaves every other to `app`."""

    def __init__(self, app: _App, sessions: Sessions) -> None:
        self._app = app
        self._sessions = sessions
        self._touched: dict[UUID, float] = {}
        self._touching: set[asyncio.Task[object]] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        found = _ROUTE.fullmatch(_raw_path(scope)) if scope["type"] in ("http", "websocket") else None
        if found is None and scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await receive()  # the handshake itself
        try:
            if found is None:
                raise NotFound("There is no WebSocket here.")
            visit = await self._admitted(found, scope, receive, send)
            await (forward(visit) if scope["type"] == "http" else relay(visit))
        except Exception as error:
            await refuse(scope, send, error)

    async def _admitted(self, found: re.Match[bytes], scope: Any, receive: Any, send: Any) -> Visit:
        """Raises what the client is to be told."""
        session = UUID(found[2].decode())
        way = await in_database(self._permitted, scope, session)

        async def check() -> None:
            try:
                now = await in_database(self._permitted, scope, session)
            except DatabaseError:
                return  # not knowing ends nothing
            if (now.host, now.port, now.target) != (way.host, way.port, way.target):
                raise NotFound("The session has another node now.")

        asked = wanted(found[3] or b"", scope["query_string"])
        self._heard(session)
        return Visit(way, asked, found[1].decode(), scope, receive, send, lambda: self._heard(session), check)

    def _permitted(self, scope: Any, session: UUID) -> Way:
        access = caller(scope, Scope.RENDER)
        return self._sessions.way_to(session, None if access.operator else access.user)

    def _heard(self, session: UUID) -> None:
        """Renew the session's lease, at most once in a while."""
        now = time.monotonic()
        if now - self._touched.get(session, -_TOUCH_SECONDS) < _TOUCH_SECONDS:
            return
        if len(self._touched) > 1000:
            self._touched = {id: when for id, when in self._touched.items() if now - when < _TOUCH_SECONDS}
        self._touched[session] = now
        task = asyncio.create_task(in_database(self._sessions.touch, session))
        self._touching.add(task)
        task.add_done_callback(self._touching.discard)


def _raw_path(scope: Any) -> bytes:
    """The path as it came; servers that do not tell it have decoded it, and nothing encoded is left in it."""
    return bytes(scope.get("raw_path") or scope["path"].encode())
