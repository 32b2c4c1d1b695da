"""The lobby: the nodes whose requests wait in this process, and the one look that calls those who should ask."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID
from weakref import WeakKeyDictionary

from django.utils import timezone

from rrm.api.threads import in_database
from rrm.farm import beckoning
from rrm.farm.wakeups import WORK

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 2.0
_REST = 4.0  # times what a look takes: however often the bell rings, looking takes a fifth of the time at most
_ANYWAY = 4  # at each look so many ask who have not for longest, whatever the look says


@dataclass(eq=False, slots=True)
class Seat:
    """One waiting request."""

    node: UUID
    session: str | None
    """The one that the node knows it serves."""
    asked: float
    _bell: asyncio.Event = field(default_factory=asyncio.Event)

    def call(self) -> None:
        self.asked = time.monotonic()
        self._bell.set()

    async def called(self, timeout: float) -> bool:
        """Wait to be called, `timeout` seconds at most; whether it was."""
        try:
            await asyncio.wait_for(self._bell.wait(), timeout)
        except TimeoutError:
            return False
        self._bell.clear()
        return True


class Lobby:
    """Those who wait in one event loop. It looks for them as long as there are any."""

    def __init__(self) -> None:
        self._seats: set[Seat] = set()
        self._usher: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def seat(self, node: UUID, session: str | None, asked: float) -> AsyncIterator[Seat]:
        """A place for a node that got nothing at the monotonic instant `asked`."""
        seat = Seat(node, session, asked)
        self._seats.add(seat)
        if WORK.rung_at >= asked:  # something came since
            seat.call()
        if self._usher is None or self._usher.done():  # also one that failed
            self._usher = asyncio.create_task(self._attend())
        try:
            yield seat
        finally:
            self._seats.discard(seat)
            if not self._seats and self._usher is not None:
                self._usher.cancel()
                self._usher = None

    async def _attend(self) -> None:
        # Listening begins before the first look, so work that comes between the two is not missed.
        async with WORK.listen() as bell:
            while self._seats:
                began = time.monotonic()
                await self._look()
                await asyncio.sleep(_REST * (time.monotonic() - began))
                await bell.wait(_LOOK_SECONDS)

    async def _look(self) -> None:
        waiting = {seat.node: seat.session for seat in self._seats}
        try:
            called = await in_database(beckoning.called, waiting, timezone.now())
        except asyncio.CancelledError:
            raise
        except Exception:  # whatever it is, the nodes go on waiting, and some of them ask
            logger.exception("Could not look for work for %d waiting nodes", len(waiting))
            called = set()
        longest = sorted(self._seats, key=lambda seat: seat.asked)[:_ANYWAY]
        for seat in {*longest, *(seat for seat in self._seats if seat.node in called)}:
            seat.call()


_lobbies: WeakKeyDictionary[asyncio.AbstractEventLoop, Lobby] = WeakKeyDictionary()


def of_this_loop() -> Lobby:
    """The lobby of the running event loop."""
    return _lobbies.setdefault(asyncio.get_running_loop(), Lobby())
