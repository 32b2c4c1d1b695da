"""Which nodes were heard lately: one that was not may hang, and nobody counts on it until it is heard again."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q

_BEATS = 3
_HICCUP = timedelta(seconds=5)  # of the network, or of this process


def since(now: datetime) -> datetime:
    """Who was last heard before that is silent."""
    return now - _BEATS * settings.RRM.heartbeat - _HICCUP


def lately(now: datetime, prefix: str = "") -> Q:
    """Which nodes were heard lately; `prefix` leads to the node, as in "node__"."""
    return Q(**{f"{prefix}last_heartbeat__gt": since(now)})
