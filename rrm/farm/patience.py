"""How long a resource waits before its next node, after nodes that did not come up, or did and ended at once.

What checks in may still end a moment later, again and again; each time costs a site a job. So the count of failures is
forgotten only once a node has lasted. Each of these is safe to do twice: it only makes the wait longer, or ends it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Value
from django.db.models.functions import Least

from rrm.domain import autoscaling
from rrm.domain.states import LeaseState, NodeState
from rrm.farm import notices, wakeups
from rrm.farm.models import Node, Resource

LASTING = timedelta(minutes=1)
_PAUSE = timedelta(seconds=3)  # what ends together counts once


def failed(resource_id: str, reason: str, now: datetime) -> None:
    """A node of the resource never checked in: the next one waits, each time longer."""
    with transaction.atomic():
        resource = Resource.objects.select_for_update(no_key=True).get(pk=resource_id)
        history = autoscaling.History(launch_failures=resource.launch_failures, retry_at=resource.retry_at)
        after = autoscaling.launch_failed(history, now)
        Resource.objects.filter(pk=resource_id).update(
            launch_failures=after.launch_failures, retry_at=after.retry_at, reason=reason[:500]
        )
        if after.retry_at and after.retry_at - now <= 2 * settings.RRM.autoscale_period:
            wakeups.wake("rrm.autoscale", at=after.retry_at)  # the loop's own turns may come as much later
        if after.inoperable and not history.inoperable:
            notices.inoperable(resource, after.launch_failures, reason, now)


def ended_early(node: Node, reason: str, now: datetime) -> None:
    """A node ended though nobody ended it. If it had hardly begun it counts as failed, but once is an accident."""
    if not _had_hardly_begun(node, now):
        return
    accident = Resource.objects.filter(pk=node.resource_id, launch_failures=0)
    if not accident.update(launch_failures=1, retry_at=now + _PAUSE, reason=reason[:500]):
        failed(node.resource_id, reason, now)


def checked_in(resource_id: str) -> None:
    """A node came up: the next may be started at once, and one that ends early is the last straw at most."""
    most = Value(autoscaling.FAILURES_ALLOWED - 1)
    Resource.objects.filter(pk=resource_id).update(
        launch_failures=Least(F("launch_failures"), most), retry_at=None, reason=""
    )


def lasts(node: Node, now: datetime) -> None:
    """The node lives: once it has done so for a while, the failures before it are forgotten."""
    if node.resource.launch_failures and node.started_at and now - node.started_at > LASTING:
        Resource.objects.filter(pk=node.resource_id).update(launch_failures=0, retry_at=None, reason="")


def _had_hardly_begun(node: Node, now: datetime) -> bool:
    """It delivered nothing, and nobody used it: somebody's use of a program may well be brief."""
    used = node.state == NodeState.BOOKED or node.reserved_for is not None
    brief = node.started_at is not None and now - node.started_at < LASTING
    return brief and not used and not node.leases.filter(state=LeaseState.DONE).exists()
