"""Facts that all threads of a process decide by, read by one of them and kept for a moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.db import transaction

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_LEAST_SECONDS = 0.2
_MOST_SECONDS = 2.0
_TIMES_ITS_COST = 50  # so that reading them anew takes a fiftieth of the time at most
_YOUNG_SECONDS = 0.1
_YOUNG_TIMES_ITS_COST = 25
_FORGOTTEN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Entry(Generic[V]):
    value: V
    begun: float
    cost: float

    @property
    def lasts_until(self) -> float:
        return self.begun + min(max(_LEAST_SECONDS, _TIMES_ITS_COST * self.cost), _MOST_SECONDS)

    @property
    def young_until(self) -> float:
        return self.begun + min(max(_YOUNG_SECONDS, _YOUNG_TIMES_ITS_COST * self.cost), _MOST_SECONDS / 2)


class Kept(Generic[K, V]):
    """What `read` finds for a key. Inside a transaction nothing is kept: others do not see what it sees."""

    def __init__(self, read: Callable[[K], V]) -> None:
        self._read = read
        self._entries: dict[K, _Entry[V]] = {}
        self._locks: dict[K, threading.Lock] = {}

    def get(self, key: K, since: float = 0.0, *, young: bool = False) -> V:
        """What was read lately, and not before `since`, a monotonic instant; `young`: just now."""
        if transaction.get_connection().in_atomic_block:
            return self._read(key)
        entry = self._good(key, since, young=young)
        if entry is None:
            # Who waits for the lock takes what was read meanwhile, if that was begun late enough.
            with self._locks.setdefault(key, threading.Lock()):
                entry = self._good(key, since, young=young) or self._renew(key)
        return entry.value

    def _good(self, key: K, since: float, *, young: bool) -> _Entry[V] | None:
        entry = self._entries.get(key)
        if entry is None or entry.begun < since:
            return None
        return entry if time.monotonic() < (entry.young_until if young else entry.lasts_until) else None

    def _renew(self, key: K) -> _Entry[V]:
        begun = time.monotonic()
        for old in [other for other, entry in self._entries.items() if begun - entry.begun > _FORGOTTEN_SECONDS]:
            self._entries.pop(old, None)
        value = self._read(key)
        entry = self._entries[key] = _Entry(value, begun, time.monotonic() - begun)
        return entry
