"""Refusals where there is no view: problem documents for ASGI requests, and for WebSockets before they are opened."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from rrm.api.errors import PROBLEM_JSON, problem_response

_PASSED = ("WWW-Authenticate", "Retry-After")

_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


async def refuse(scope: Mapping[str, Any], send: _Send, error: Exception) -> None:
    """Answer as a view would that raised the error. What remains of a body is not read, so the connection ends."""
    answer = problem_response(error, {})
    body = json.dumps(answer.data).encode()
    headers = [
        (b"content-type", PROBLEM_JSON.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        *((name.lower().encode(), value.encode()) for name, value in answer.headers.items() if name in _PASSED),
    ]
    if scope["type"] == "http" and _has_body(scope):
        headers.append((b"connection", b"close"))
    kind = "http.response" if scope["type"] == "http" else "websocket.http.response"
    await send({"type": f"{kind}.start", "status": answer.status_code, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})


def _has_body(scope: Mapping[str, Any]) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
