"""Prompting the loops and the streams. Everything here may be lost: loops find the work anyway, streams look again.

Two bells per process, EVENTS (something to show) and WORK (something to render), are rung locally at once and in the
other processes through Redis publish/subscribe. Celery tasks are sent by name. What needs the broker is done by one
courier thread, so that a request never waits for it. A process that stands in for the workers (`stand_in`) carries out
itself what no broker takes.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import math
import os
import threading
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial

import redis
from celery import current_app
from django.conf import settings
from django.db import transaction
from django.utils import timezone

logger = logging.getLogger(__name__)

_CHANNEL = "rrm:bell"
_RETRY_SECONDS = 1.0
_QUEUE_LIMIT = 1000
_WORTH_A_WARNING = 5.0


class Bell:
    """Wakes the coroutines that wait for it, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self.rung_at = 0.0
        """When it was rung last, on the monotonic clock."""

    def ring(self) -> None:
        self.rung_at = time.monotonic()
        with self._lock:
            waiting = list(self._waiting)
        for loop, event in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def listen(self) -> Listener:
        return Listener(self)

    def add(self, entry: tuple[asyncio.AbstractEventLoop, asyncio.Event]) -> None:
        with self._lock:
            self._waiting.add(entry)

    def discard(self, entry: tuple[asyncio.AbstractEventLoop, asyncio.Event]) -> None:
        with self._lock:
            self._waiting.discard(entry)


class Listener:
    """Hears every ring between `async with` and its end; `wait` returns whether it rang within the time-out."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._event = asyncio.Event()

    async def __aenter__(self) -> Listener:
        self._entry = (asyncio.get_running_loop(), self._event)
        self._bell.add(self._entry)
        _hear_other_processes()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._bell.discard(self._entry)

    async def wait(self, timeout: float) -> bool:
        try:
            await asyncio.wait_for(self._event.wait(), timeout)
        except TimeoutError:
            return False
        self._event.clear()
        return True


EVENTS = Bell()
WORK = Bell()
_BELLS = {"events": EVENTS, "work": WORK}


def announce_events() -> None:
    """Say, after commit, that there are new events."""
    _announce("events")


def announce_work() -> None:
    """Say, after commit, that waiting nodes should ask again."""
    transaction.on_commit(partial(_announce, "work"), robust=True)


def stand_in(carry_out: Callable[[str, tuple[str, ...]], None]) -> None:
    """From now on this process has `carry_out` do what it cannot send to a worker, as the broker is away."""
    global _carry_out
    _carry_out = carry_out


def wake(task: str, *args: str, at: datetime | None = None) -> None:
    """Have a worker run `task` soon, or at that time, after commit. Repeats that are still unsent are merged."""
    pause = 0.0 if at is None else (at - timezone.now()).total_seconds()
    due = time.monotonic() + pause
    transaction.on_commit(partial(_courier().post, ("task", task, *args), due), robust=True)


def _announce(bell: str) -> None:
    _BELLS[bell].ring()
    _courier().post(("ring", bell))


class _Courier:
    """One daemon thread that talks to the broker for the rest of the process."""

    def __init__(self) -> None:
        self._pending: dict[tuple[str, ...], float] = {}
        self._later: dict[tuple[str, ...], float] = {}  # apart: what waits for its time takes no room from what is due
        self._changed = threading.Condition()
        self._busy = False
        self._is_full = False
        self._down_since: float | None = None
        self._redis = redis.Redis.from_url(
            settings.RRM.pubsub_url, socket_connect_timeout=1, socket_timeout=2, retry_on_timeout=False
        )
        threading.Thread(target=self._run, name="rrm-courier", daemon=True).start()
        atexit.register(self.flush, 1.0)

    def post(self, message: tuple[str, ...], due: float = 0.0) -> None:
        """Deliver it when time.monotonic() says `due`, at the earlier time if it waits already."""
        with self._changed:
            if message in self._pending:
                return
            is_known = message in self._later
            due = min(due, self._later.pop(message, due))
            queue = self._later if due > time.monotonic() else self._pending
            if is_known or len(queue) < _QUEUE_LIMIT:
                queue[message] = due
                self._changed.notify_all()
            else:
                self._note_overflow(message)

    def flush(self, timeout: float) -> bool:
        """Wait until everything that is due was tried; False when the time is over first."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._due() and not self._busy, timeout)

    def _due(self) -> list[tuple[str, ...]]:
        now = time.monotonic()
        return [*self._pending, *(message for message, due in self._later.items() if due <= now)]

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                while not (messages := self._due()):
                    soonest = min(self._later.values(), default=math.inf)
                    self._changed.wait(None if soonest == math.inf else max(0.0, soonest - time.monotonic()))
                self._pending.clear()
                for message in messages:
                    self._later.pop(message, None)
                self._busy, self._is_full = True, False
            for message in messages:
                self._deliver(message)

    def _note_overflow(self, message: tuple[str, ...]) -> None:
        """One line for all that is dropped until the courier is back."""
        if not self._is_full:
            logger.warning(
                "%d wake-ups wait for the broker: %s, and others, are left to the loops", _QUEUE_LIMIT, message
            )
            self._is_full = True

    def _deliver(self, message: tuple[str, ...]) -> None:
        try:
            if message[0] == "ring":
                self._redis.publish(_CHANNEL, f"{message[1]} {os.getpid()}")
            else:
                current_app.send_task(message[1], args=message[2:], retry=False, expires=600)
        except Exception as error:  # whatever the broker's fault is called, the loops will find the work
            self._note_failure(error)
            if message[0] == "task" and _carry_out is not None:
                _carry_out(message[1], message[2:])
        else:
            self._down_since = None

    def _note_failure(self, error: Exception) -> None:
        """One line for a broker that stays away, none for one that is just starting."""
        now = time.monotonic()
        if self._down_since is None:
            self._down_since = now
        elif self._down_since < now - _WORTH_A_WARNING:
            logger.warning("The broker cannot be reached: %s. Work goes on, at the pace of the loops", error)
            self._down_since = math.inf


_carry_out: Callable[[str, tuple[str, ...]], None] | None = None
_lock = threading.Lock()
_couriers: dict[int, _Courier] = {}
_ears: set[int] = set()


def _courier() -> _Courier:
    """This process's courier; a forked child gets one of its own."""
    with _lock:
        courier = _couriers.get(os.getpid())
        if courier is None:
            _couriers.clear()
            courier = _couriers[os.getpid()] = _Courier()
        return courier


def _hear_other_processes() -> None:
    """Start, once per process, the thread that rings this process's bells when another process says so."""
    with _lock:
        if os.getpid() in _ears:
            return
        _ears.add(os.getpid())
    threading.Thread(target=_keep_listening, name="rrm-ears", daemon=True).start()


def _keep_listening() -> None:
    while True:
        try:
            _listen()
        except (redis.RedisError, OSError) as error:
            logger.debug("Not hearing other processes: %s", error)
            time.sleep(_RETRY_SECONDS)


def _listen() -> None:
    client = redis.Redis.from_url(settings.RRM.pubsub_url, socket_connect_timeout=1, health_check_interval=15)
    with client.pubsub(ignore_subscribe_messages=True) as channel:  # type: ignore[no-untyped-call]
        channel.subscribe(_CHANNEL)
        for message in channel.listen():
            bell, _, sender = message["data"].decode().partition(" ")
            if bell in _BELLS and sender != str(os.getpid()):
                _BELLS[bell].ring()


def flush(timeout: float) -> bool:
    """Wait until everything announced so far was tried; False when the time is over first."""
    return _courier().flush(timeout)
