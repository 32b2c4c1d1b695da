"""Instants that lie ahead though they are of the past: a clock was set back since they were written.

Whoever waits for so long after them would wait for an hour more, or for a day. So they become now, or are forgotten.
Safe to do anywhere, any number of times: none of them decides more than when something is looked at again.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q

from rrm.domain.autoscaling import LONGEST_BACKOFF
from rrm.domain.states import JOB_FINAL, NODE_LIVE, LeaseState
from rrm.farm import loading
from rrm.farm.models import HeldModel, Job, Lease, Node, RenderModel, Resource, Site

SKEW = timedelta(minutes=1)
"""The clocks of the manager's machines differ by less."""
_OF_NODES = ("requested_at", "state_since", "running_since", "started_at", "idle_since", "last_heartbeat")
_OF_MODELS = ("loaded_at", "last_used")


def forget_the_future(now: datetime) -> None:
    """Set right what the loops go by."""
    ahead = now + SKEW
    Site.objects.filter(asked_at__gt=ahead).update(asked_at=None)
    Resource.objects.filter(retry_at__gt=ahead + LONGEST_BACKOFF).update(retry_at=None)
    # Plans that read `up_since` and `surplus_since`, which may lie ahead, set them right themselves.
    for field in _OF_MODELS:
        HeldModel.objects.filter(**{f"{field}__gt": ahead}).update(**{field: now})
    quarantine = now + settings.RRM.quarantine_period
    RenderModel.objects.filter(quarantined_until__gt=quarantine + SKEW).update(quarantined_until=quarantine)
    Job.objects.exclude(state__in=JOB_FINAL).filter(created_at__gt=ahead).update(created_at=now)
    Node.objects.filter(streak_since__gt=ahead + loading.LONGEST).update(streak_since=now)  # may be the end of a load
    _of_nodes(ahead, now)
    minimum = settings.RRM.lease_minimum
    active = Lease.objects.filter(state=LeaseState.ACTIVE)
    active.filter(deadline__gt=ahead + minimum).update(deadline=now + minimum)
    active.filter(created_at__gt=ahead).update(created_at=now)


def _of_nodes(ahead: datetime, now: datetime) -> None:
    wrong = Q(*((f"{field}__gt", ahead) for field in _OF_NODES), _connector=Q.OR)
    for node in Node.objects.filter(wrong, state__in=NODE_LIVE):
        known = {field: getattr(node, field) for field in _OF_NODES}
        changes = {field: now for field, instant in known.items() if instant is not None and instant > ahead}
        Node.objects.filter(pk=node.pk).update(**changes)
