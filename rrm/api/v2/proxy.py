"""`session/{id}/proxy/<path>`: any method, and WebSockets. It stands before Django, which reads whole bodies."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Protocol
from uuid import UUID

from django.contrib.auth.models import User

from rrm.api.answers import refuse
from rrm.api.auth import Scope
from rrm.api.callers import caller
from rrm.api.carrying import Carrier
from rrm.errors import NotFound
from rrm.gateway import Way

_App = Callable[[Any, Any, Any], Awaitable[None]]  # every library writes these types in its own way

_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_ROUTE = re.compile(
    rf"(/rendering-resource-manager/v2/session/({_UUID})/proxy)(/.*)?".encode(), re.IGNORECASE | re.DOTALL
)


class Sessions(Protocol):
    """What is asked of the sessions. Both are called on a thread that may use the database."""

    def way_to(self, session: UUID, user: User | None) -> Way:
        """`user` None may reach everybody's. Raises RrmError when no such session has a node."""

    def touch(self, session: UUID) -> object:
        """Somebody uses the session."""


class SessionProxy:
    """ASGI: takes the requests and WebSockets for nodes of sessions, and leaves every other request to `app`."""

    def __init__(self, app: _App, sessions: Sessions) -> None:
        self._app = app
        self._sessions = sessions
        self._carrier = Carrier(sessions.touch)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        found = _ROUTE.fullmatch(raw_path(scope)) if scope["type"] in ("http", "websocket") else None
        if found is not None:
            prefix, session, rest = found[1].decode(), UUID(found[2].decode()), found[3] or b""
            await self._carrier.carry(scope, receive, send, lambda: self._permitted(scope, session), prefix, rest)
        elif scope["type"] == "websocket":
            await receive()  # the handshake
            await refuse(scope, send, NotFound("There is no WebSocket here."))
        else:
            await self._app(scope, receive, send)

    def _permitted(self, scope: Any, session: UUID) -> Way:
        access = caller(scope, Scope.RENDER)
        return self._sessions.way_to(session, None if access.operator else access.user)


def raw_path(scope: Any) -> bytes:
    """The path as it came; servers that do not tell it have decoded it, and nothing encoded is left in it."""
    return bytes(scope.get("raw_path") or scope["path"].encode())
