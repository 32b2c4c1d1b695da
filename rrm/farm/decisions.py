"""Why nodes got what they got during the last hour, and what holding models saved."""

from __future__ import annotations

import threading
import time
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
    """Ranges given out by reason, the part that was warm, loads, and the seconds of loads that were spared."""
    global _known
    with _lock:
        if _known is None or time.monotonic() - _known[0] > _KEPT_SECONDS:
            _known = (time.monotonic(), counted(now))
        return _known[1]


def counted(now: datetime) -> dict[str, Any]:
    """The same, counted anew."""
    # No lease's deadline is before it began, and there is an index of those.
    states = [LeaseState.ACTIVE, LeaseState.DONE, LeaseState.RETURNED]
    recent = Lease.objects.filter(state__in=states, deadline__gt=now - _HOUR, created_at__gt=now - _HOUR).order_by()
    rows = recent.values_list("decision").annotate(
        ranges=Count("pk"),
        hits=Count("pk", filter=Q(warm=True)),
        saved=Sum(F("job__model__load_seconds"), filter=Q(warm=True)),
    )
    found = list(rows)
    ranges, hits = sum(row[1] for row in found), sum(row[2] for row in found)
    return {
        "reasons": {reason: count for reason, count, _, _ in sorted(found)},
        "hit_rate": round(hits / ranges, 4) if ranges else None,
        "loads_per_hour": ranges - hits,
        "seconds_saved": round(sum(row[3] or 0.0 for row in found), 3),
    }
