"""From an ASGI route to the gateway: permission first, and again while it lasts; every refusal is answered.

The routes of all versions share it: each says who may go where, and this does the rest.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from django.db import DatabaseError
from rest_framework.exceptions import APIException

from rrm.api.answers import refuse
from rrm.api.threads import in_database
from rrm.errors import NotFound, Unauthorised
from rrm.gateway import Visit, Way, forward, relay
from rrm.gateway.targets import wanted

Refuse = Callable[[Any, Any, Exception], Awaitable[None]]

_TOUCH_SECONDS = 5.0
_TOUCHES = 4  # in the time after which an unused session ends, at least: it must not end in between
_MOST_REMEMBERED = 1000


class Carrier:
    """`touch` is called on a thread that may use the database when a session is used, once in five seconds at most.

    That is more often for one that ends sooner when nobody uses it.

    `refuse` tells a client what went wrong before anything of the node's answer was sent.
    """

    def __init__(self, touch: Callable[[UUID], object], refuse: Refuse = refuse) -> None:
        self._touch = touch
        self._refuse = refuse
        self._touched: dict[UUID, float] = {}
        self._touching: set[asyncio.Task[object]] = set()

    async def carry(
        self, scope: Any, receive: Any, send: Any, permitted: Callable[[], Way], prefix: str, rest: bytes
    ) -> None:
        """Carry a request or WebSocket to the node that `permitted` leads to, or refuse it.

        `permitted` is called on a thread that may use the database, now and every few seconds; it raises whatever the
        caller is to be told. `prefix` is the path of the node's root as the client sees it, `rest` the raw path below.
        """
        if scope["type"] == "websocket":
            await receive()  # the handshake itself
        try:
            way = await in_database(permitted)
            asked = wanted(rest, scope["query_string"])
            self._heard(way)

            async def check() -> None:
                await _recheck(permitted, way)

            visit = Visit(way, asked, prefix, scope, receive, send, lambda: self._heard(way), check)
            await (forward(visit) if scope["type"] == "http" else relay(visit))
        except Exception as error:
            await self._refuse(scope, send, error)

    def _heard(self, way: Way) -> None:
        now, session = time.monotonic(), way.session
        pause = min(_TOUCH_SECONDS, way.idle_seconds / _TOUCHES)
        if now - self._touched.get(session, -pause) < pause:
            return
        if len(self._touched) > _MOST_REMEMBERED:
            self._touched = {id: when for id, when in self._touched.items() if now - when < _TOUCH_SECONDS}
        self._touched[session] = now
        task = asyncio.create_task(in_database(self._touch, session))
        self._touching.add(task)
        task.add_done_callback(self._touching.discard)


async def _recheck(permitted: Callable[[], Way], way: Way) -> None:
    """Raises RrmError when the visit has to end. A database that cannot be asked ends nothing."""
    try:
        now = await in_database(permitted)
    except DatabaseError:
        return
    except APIException as refusal:  # the token was revoked, or the login ended
        raise Unauthorised(str(refusal.detail)) from None
    if (now.host, now.port, now.target) != (way.host, way.port, way.target):
        raise NotFound("The session has another node now.")
