"""Nodes whose site ends them after a time: when another takes over, and that not all end at once."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

MARGIN = timedelta(seconds=60)  # batch systems signal so long before the end
_PART = 10  # of a lifetime is given up at most for leaving in order
_LEAST_STAGGERED = timedelta(minutes=10)


def staggered(limit: timedelta, name: str) -> timedelta:
    """The lifetime of the node `name` of a resource that allows `limit`: 80 % to all of it, the same at each attempt.

    Nodes that are started together would otherwise end together. Short ones are left as they are.
    """
    if limit < _LEAST_STAGGERED:
        return limit
    chance = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) / 2**32
    return timedelta(seconds=round(limit.total_seconds() * (0.8 + 0.2 * chance)))


def turning_points(started_at: datetime, ends_at: datetime, start_time: timedelta | None) -> tuple[datetime, datetime]:
    """When another node should be started in place of one that ends, and when it gets no more work."""
    lifetime = max(ends_at - started_at, timedelta())
    retire_at = ends_at - min(MARGIN, lifetime / _PART)
    return retire_at - min(start_time or timedelta(), lifetime / 4), retire_at
