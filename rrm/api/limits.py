"""Refuses oversized bodies before they are read: what Django does with a body begins when all of it has arrived."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.conf import settings

from rrm.api.errors import PROBLEM_JSON, problem
from rrm.errors import TooLarge

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[Any, Any, Any], Awaitable[None]]  # every library writes these types in its own way

_RESULTS = re.compile(r"/rendering-resource-manager/v2/node-agent/lease/[0-9a-f-]+/?")


class BodyLimit:
    """ASGI: 413 as soon as a body is announced, or turns out, to be larger than its route takes."""

    def __init__(self, app: _App) -> None:
        self._app = app

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = limit_of(scope["method"], scope["path"])
        if _announced(scope) > limit:
            await _refuse(limit, send)
            return
        await self._count(scope, receive, send, limit)

    async def _count(self, scope: _Message, receive: _Receive, send: _Send, limit: int) -> None:
        received = 0

        async def counted() -> _Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise TooLarge
            return message

        try:
            await self._app(scope, counted, send)
        except TooLarge:  # Django reads the whole body before it sends anything
            await _refuse(limit, send)


def limit_of(method: str, path: str) -> int:
    """How many bytes a body may have: uploads of results are large, everything else is text."""
    if method == "PUT" and _RESULTS.fullmatch(path):
        return int(settings.RRM.max_body_bytes)
    return int(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)


def _announced(scope: _Message) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def _refuse(limit: int, send: _Send) -> None:
    detail = f"A body may have {limit} bytes here."
    body = json.dumps(problem(TooLarge.status, TooLarge.code, TooLarge.title, detail)).encode()
    headers = [
        (b"content-type", PROBLEM_JSON.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # the rest of the body is never read
    ]
    await send({"type": "http.response.start", "status": TooLarge.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
