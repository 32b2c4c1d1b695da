"""`session/<anything else>`: GET and PUT go to the session's renderer. It stands before Django, as version 2's does."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.conf import settings
from django.http import HttpResponse

from rrm.api.auth import Scope
from rrm.api.callers import bodiless, recognised, request_of
from rrm.api.carrying import Carrier
from rrm.api.v1 import origins
from rrm.api.v1.answers import refusal
from rrm.api.v1.callers import AUTHENTICATORS
from rrm.api.v1.commands import COMMANDS, GONE
from rrm.api.v1.sessions import session_of
from rrm.api.v1.views import finished
from rrm.api.v2.proxy import raw_path
from rrm.domain.states import SessionState
from rrm.errors import NotFound, RrmError, StateConflict
from rrm.farm import sessions
from rrm.farm.sessions import Way

_App = Callable[[Any, Any, Any], Awaitable[None]]  # every library writes these types in its own way
_Message = MutableMapping[str, Any]

_UUID = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_ROUTE = re.compile(
    rf"(/rendering-resource-manager/v1/session)(/(?!(?:[A-Za-z0-9]+|{_UUID})/\Z)([A-Za-z0-9]+).*)".encode(), re.DOTALL
)
_IDS = (b"session_id", b"sessionid")


class RendererRequests:
    """ASGI: takes what is for renderers, and leaves everything else to `app`."""

    def __init__(self, app: _App) -> None:
        self._app = app
        self._carrier = Carrier(sessions.touch, _refuse)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        is_carried = scope["type"] == "http" and scope["method"] in ("GET", "PUT")
        found = _ROUTE.fullmatch(raw_path(scope)) if is_carried else None
        if found is None or found[3].decode() in _known():
            await self._app(scope, receive, send)
            return
        told = {**scope, "query_string": _without_id(scope["query_string"])}
        sending = _for_pages(scope, send)
        await self._carrier.carry(told, receive, sending, lambda: _permitted(scope), found[1].decode(), found[2])


def _known() -> set[str]:
    return set(COMMANDS) - ({"imagefeed"} if settings.RRM.v1_legacy == "0" else set())


def _permitted(scope: Any) -> Way:
    """Where the renderer of the session is that is asked for. Raises what the client is to be told."""
    request = request_of(scope)
    access = recognised(request, [kind() for kind in AUTHENTICATORS], Scope.RENDER)
    origins.refuse_other_pages(request)
    session = session_of(request, access)
    if session.state == SessionState.FAILED:
        raise NotFound(GONE)
    try:
        return sessions.way_to(session.pk, None if access.operator else access.user)
    except StateConflict as conflict:
        raise RrmError(conflict.detail) from None


def _without_id(query: bytes) -> bytes:
    """Whose session it is concerns the renderer as little as the key to it."""
    return b"&".join(part for part in query.split(b"&") if part.partition(b"=")[0] not in _IDS)


def _for_pages(scope: Any, send: Any) -> Any:
    """`send`, with what lets pages of listed origins use a renderer's answer."""
    if not settings.RRM.v1_origins:
        return send
    added = origins.permissions(dict(scope["headers"]).get(b"origin", b"").decode("latin-1"))
    # Every page that could have caused the request was listed.
    more = [(b"cross-origin-resource-policy", b"cross-origin"), *_encoded(added)]
    replaced = {name for name, _ in more}

    async def sending(message: _Message) -> None:
        if message["type"] == "http.response.start":
            kept = [header for header in message["headers"] if header[0] not in replaced]
            message = {**message, "headers": [*kept, *more]}
        await send(message)

    return sending


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]


async def _refuse(scope: Any, send: Any, error: Exception) -> None:
    """Answer as a view would. What remains of a body is not read, so the connection ends."""
    request = bodiless(scope)
    answer: HttpResponse = refusal(error, {"request": request})
    finished(answer, request)
    headers = [
        *_encoded(dict(answer.items())),
        (b"content-length", str(len(answer.content)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"]):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": answer.content})
