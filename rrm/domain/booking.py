"""Whether a person who wants a renderer gets one, when, and why not: facts in, an answer out.

The order is that of what costs least: a node that is idle and holds the model, one that is idle, one that will be free
in a moment (it finishes what it renders, or is starting), one to be started. Those who asked earlier come first.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

BUSY_SECONDS = 2.0
"""How long a node that renders tiles takes at least to have none in hand: leases are about half a second each."""
MARGIN = timedelta(seconds=60)
"""A node that its site will end sooner is not booked any more."""
UNKNOWN_START = {"local": 5.0, "ssh": 10.0, "slurm": 60.0}
LEAST_PAUSE, LONGEST_PAUSE = 1, 300
_JITTER = 0.2


@dataclass(frozen=True, slots=True)
class Free:
    """An idle node that could be booked now; `position` is that of its site in the resource's order."""

    id: str
    is_warm: bool
    models: int = 0
    position: int = 0


def best(free: Sequence[Free]) -> list[Free]:
    """The idle nodes, the best first: one that holds the model, else one whose loss costs the least."""
    return sorted(free, key=lambda node: (not node.is_warm, node.position, node.models, node.id))


def held_back(busy: Sequence[tuple[str, frozenset[str]]], wanted: Sequence[str | None]) -> frozenset[str]:
    """Which of the busy nodes (id, models held) get no more tiles, so that they are free for those who wait.

    One for each model that is `wanted`, in the order in which people asked; one that holds it, if there is one.
    """
    left, chosen = sorted(busy), set[str]()
    for model in wanted[: len(left)]:
        node = next((node for node in left if model in node[1]), left[0])
        left.remove(node)
        chosen.add(node[0])
    return frozenset(chosen)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a renderer could come from, and in how many seconds."""

    seconds: float
    how: str


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a person who cannot be served at once may expect; `seconds` is None when nobody can tell."""

    fits: bool
    position: int
    seconds: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Prospects:
    """Everything that could become a renderer: what is on the way, and when those that are booked may be free."""

    places: Sequence[Place] = ()
    ends: Sequence[datetime] = field(default=())
    obstacle: str = ""
    """Why no other node can be started."""


def outlook(prospects: Prospects, ahead: int, max_wait: float, now: datetime) -> Outlook:
    """When the one behind `ahead` others would be served, and whether that is within `max_wait` seconds."""
    places = sorted(prospects.places, key=lambda place: place.seconds)
    position = ahead + 1
    if ahead < len(places):
        place = places[ahead]
        if place.seconds <= max_wait:
            return Outlook(True, position, place.seconds, f"Waits for {place.how}.")
        wish = f"longer than the {max_wait:.0f} s that you would wait" if max_wait else "and you would not wait"
        reason = f"The next is {place.how}, in about {place.seconds:.0f} s, {wish}."
        return Outlook(False, position, place.seconds, reason)
    behind = ahead - len(places)
    ends = sorted(prospects.ends)
    seconds = max(0.0, (ends[behind] - now).total_seconds()) if behind < len(ends) else None
    why = prospects.obstacle or "no node can be started"
    queue = "" if not ahead else " One other waits already." if ahead == 1 else f" {ahead} others wait already."
    return Outlook(False, position, seconds, f"No renderer is free, and {why.rstrip('.')}.{queue}")


def retry_after(seconds: float | None, chance: random.Random) -> int:
    """In how many whole seconds to ask again; spread, so that those refused together do not come back together."""
    expected = LONGEST_PAUSE / 10 if seconds is None else seconds
    spread = expected * chance.uniform(1 - _JITTER, 1 + _JITTER) + chance.random()
    return int(min(LONGEST_PAUSE, max(LEAST_PAUSE, spread)))


@dataclass(frozen=True, slots=True)
class Life:
    """When an open session ends: by itself when nobody uses it, and at last."""

    expires_at: datetime
    hard_expires_at: datetime


WARNINGS = (timedelta(minutes=10), timedelta(minutes=2))


def warning_due(life: Life, told: timedelta | None, now: datetime) -> timedelta | None:
    """The warning that is due before the hard end and was not given yet: the shortest that applies."""
    left = life.hard_expires_at - now
    due = [ahead for ahead in WARNINGS if left <= ahead]
    if not due or (told is not None and min(due) >= told):
        return None
    return min(due)


def why_over(life: Life, idle: timedelta, now: datetime) -> str:
    """Why a session is over by now; empty when it is not."""
    if now >= life.hard_expires_at:
        return "Its time is over."
    if now >= life.expires_at:
        return f"Nobody used it for {idle.total_seconds():.0f} s."
    return ""
