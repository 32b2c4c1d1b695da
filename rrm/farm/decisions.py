"""Why nodes got what they got during the last hour, and what holding models saved."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, F, Q, Sum

from rrm.domain.states import LeaseState
from rrm.farm.models import Lease

_HOUR = timedelta(hours=1)
_KEPT_SECONDS = 15.0  # many look, and counting a busy hour takes a while
_lock = threading.Lock()
_known: tuple[float, dict[str, Any]] | None = None


def lately(now: datetime) -> dict[str, Any]:
    """Ranges given out by reason; of those delivered the part that was warm, loads, and the seconds of loads spared."""
    global _known
    with _lock:
        if _known is None or time.monotonic() - _known[0] > _KEPT_SECONDS:
            _known = (time.monotonic(), counted(now))
        return _known[1]


def counted(now: datetime) -> dict[str, Any]:
    """The same, counted anew."""
    # No lease's deadline is before it began, and there is an index of those.
    states = [LeaseState.ACTIVE, LeaseState.DONE, LeaseState.RETURNED]
    # What was not delivered counts for no job, so it counts as no load here either.
    done, warm = Q(state=LeaseState.DONE), Q(state=LeaseState.DONE, warm=True)
    recent = Lease.objects.filter(state__in=states, deadline__gt=now - _HOUR, created_at__gt=now - _HOUR).order_by()
    rows = recent.values_list("decision").annotate(
        ranges=Count("pk"),
        done=Count("pk", filter=done),
        hits=Count("pk", filter=warm),
        saved=Sum(F("job__model__load_seconds"), filter=warm),
    )
    found = list(rows)
    delivered, hits = sum(row[2] for row in found), sum(row[3] for row in found)
    return {
        "reasons": {row[0]: row[1] for row in sorted(found)},
        "hit_rate": round(hits / delivered, 4) if delivered else None,
        "loads_per_hour": delivered - hits,
        "seconds_saved": round(sum(row[4] or 0.0 for row in found), 3),
    }


def within(recent: Mapping[str, Any], ever: Mapping[str, Any]) -> dict[str, Any]:
    """What was counted a moment ago, no more than is counted of all time now.

    Jobs may have been deleted meanwhile, and loads measured anew.
    """
    loads = min(recent["loads_per_hour"], ever["loads"])
    return {**recent, "loads_per_hour": loads, "seconds_saved": min(recent["seconds_saved"], ever["seconds_saved"])}
