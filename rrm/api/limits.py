"""Refuses bodies that are too large or too slow before they are read: Django begins when all of a body has arrived."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakKeyDictionary

from django.conf import settings

from rrm.api.errors import PROBLEM_JSON, Busy, TooSlow, problem
from rrm.api.threads import in_database
from rrm.errors import RrmError, TooLarge, Unauthorised
from rrm.farm import tokens

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[Any, Any, Any], Awaitable[None]]  # every library writes these types in its own way

_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_RESULTS = re.compile(rf"/rendering-resource-manager/v2/node-agent/lease/{_UUID}/?", re.IGNORECASE)
_UPLOADS = 8  # large bodies taken in at once: each may fill FILE_UPLOAD_MAX_MEMORY_SIZE
_TURN_SECONDS = 10.0  # shorter than a node waits for an answer
_SILENCE_SECONDS = 30.0
_BODY_SECONDS = 600.0

_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


class BodyLimit:
    """ASGI: refuses a body as soon as it is announced, or turns out, to be more than its route and sender may give.

    413 for one that is too large, 401 for results of which the sender is no node, 408 for one that does not come, 503
    when too many nodes deliver at once.
    """

    def __init__(self, app: _App) -> None:
        self._app = app

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            if _may_be_large(scope):
                await self._take_results(scope, receive, send)
            else:
                await self._take(scope, receive, send, int(settings.DATA_UPLOAD_MAX_MEMORY_SIZE))
        except (TooLarge, TooSlow, Unauthorised, Busy) as error:  # Django reads a whole body before it sends anything
            await _refuse(error, send)

    async def _take_results(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        secret = _bearer(scope)
        if not tokens.is_secret(secret) or await in_database(tokens.node_of, secret) is None:
            raise Unauthorised
        async with _turn():
            await self._take(scope, receive, send, int(settings.RRM.max_body_bytes))

    async def _take(self, scope: _Message, receive: _Receive, send: _Send, limit: int) -> None:
        refusal = TooLarge(f"A body may have {limit} bytes here.")
        if _announced(scope) > limit:
            raise refusal
        received, is_whole = 0, False
        ends_at = time.monotonic() + _BODY_SECONDS

        async def counted() -> _Message:
            nonlocal received, is_whole
            message = await (receive() if is_whole else _in_time(receive, ends_at))
            received += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if received > limit:
                raise refusal
            return message

        await self._app(scope, counted, send)


async def _in_time(receive: _Receive, ends_at: float) -> _Message:
    """The next part of a body. Raises TooSlow."""
    try:
        async with asyncio.timeout(min(_SILENCE_SECONDS, ends_at - time.monotonic())):
            return await receive()
    except TimeoutError:
        raise TooSlow from None


@asynccontextmanager
async def _turn() -> AsyncIterator[None]:
    """One of the few large bodies that are taken in at once. Raises Busy when the wait is long."""
    turns = _turns.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(_UPLOADS))
    try:
        await asyncio.wait_for(turns.acquire(), _TURN_SECONDS)
    except TimeoutError:
        raise Busy from None
    try:
        yield
    finally:
        turns.release()


def _may_be_large(scope: _Message) -> bool:
    """Whether this delivers results, and more of them than any body may have."""
    if scope["method"] != "PUT" or not _RESULTS.fullmatch(scope["path"]):
        return False
    is_announced = _header(scope, b"content-length") is not None
    return not is_announced or _announced(scope) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE


def _announced(scope: _Message) -> int:
    value = _header(scope, b"content-length") or b""
    return int(value[:20]) if value.isdigit() else 0


def _bearer(scope: _Message) -> str:
    scheme, _, secret = (_header(scope, b"authorization") or b"").decode("latin-1").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def _header(scope: _Message, wanted: bytes) -> bytes | None:
    return next((bytes(value) for name, value in scope["headers"] if name == wanted), None)


_HEADERS: Mapping[type[RrmError], tuple[bytes, bytes]] = {
    Unauthorised: (b"www-authenticate", b'Bearer realm="rrm-node"'),
    Busy: (b"retry-after", b"1"),
}


async def _refuse(error: RrmError, send: _Send) -> None:
    body = json.dumps(problem(error.status, error.code, error.title, error.detail)).encode()
    headers = [
        (b"content-type", PROBLEM_JSON.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # the rest of the body is never read
        *(header for kind, header in _HEADERS.items() if isinstance(error, kind)),
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
