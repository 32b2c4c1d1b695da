"""Connections of the session side: those on which nobody has shown the key yet are few, and not there for long.

Anybody may connect to a port. Without this, a crowd that says nothing would take all the room that the manager needs.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_STRANGERS = 64
STRANGER_SECONDS = 5.0  # the manager's requests follow its connections at once
ADMIT = "admit"

Strangers = dict["Door", asyncio.TimerHandle]
"""Who has not shown the key, the oldest first, and when each is sent away. Of one server."""


class Door(H11Protocol):
    """Ends a connection that was not admitted in time, and the oldest of those when there are too many.

    The application finds under ADMIT in a scope's `state` what to call when the request has shown the key.
    """

    def __init__(self, strangers: Strangers, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._strangers = strangers
        self.app_state = {**self.app_state, ADMIT: self._forget}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        while len(self._strangers) >= MOST_STRANGERS:
            next(iter(self._strangers))._send_away()
        self._strangers[self] = self.loop.call_later(STRANGER_SECONDS, self._send_away)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _forget(self) -> None:
        if timer := self._strangers.pop(self, None):
            timer.cancel()

    def _send_away(self) -> None:
        self._forget()
        self.transport.abort()
