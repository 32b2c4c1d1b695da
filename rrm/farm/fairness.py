"""Whose turn it is: what each owner of jobs had of the farm."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from django.db.models import F, Sum

from rrm.domain.states import LeaseState
from rrm.farm.models import Lease

_LATELY = timedelta(minutes=10)


def served(owners: Collection[int], now: datetime) -> Mapping[str, float]:
    """Node-seconds that each owner got lately; asked for only when owners compete."""
    if len(owners) < 2:
        return {}
    done = Lease.objects.filter(job__owner__in=owners, state=LeaseState.DONE, finished_at__gt=now - _LATELY).order_by()
    sums = done.values_list("job__owner").annotate(seconds=Sum(F("render_ms") / F("node__cores") / 1000.0))
    return {str(owner): seconds for owner, seconds in sums}
