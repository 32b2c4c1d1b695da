"""Quotas: the share of the farm that an owner may have, and refusals that say what stands in the way.

Every limit is exact. Whoever would use up a part of one locks the owner's row first, counts, and then goes on in the
same transaction. It is locked after a job's row and before those of shares, leases, nodes and sessions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import BigIntegerField, Count, F, OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import Cast

from rrm.domain.fairness import reweighed
from rrm.domain.states import JOB_FINAL, SESSION_OPEN, LeaseState
from rrm.errors import Invalid, StateConflict, TooMany
from rrm.farm import wakeups
from rrm.farm.models import Job, Lease, Node, Quota, Session
from rrm.farm.transitions import record

MOST = {"max_nodes": 2**31 - 1, "max_queued_pixels": 2**53, "max_sessions": 2**31 - 1}
LIMITS = tuple(MOST)
LEAST_WEIGHT, MOST_WEIGHT = 0.01, 1000.0
FIELDS = ("weight", *LIMITS)
_PIXELS = Sum(Cast("width", BigIntegerField()) * F("height"))


class NoRoom(StateConflict):
    """No further node may work for an owner."""


def complaint(field: str, value: object) -> str:
    """What is wrong with a value for one of FIELDS; empty when nothing is. Everybody who sets quotas asks here."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if field == "weight":
        if is_number and LEAST_WEIGHT <= value <= MOST_WEIGHT:  # type: ignore[operator]
            return ""
        return f"Must be a number between {LEAST_WEIGHT:g} and {MOST_WEIGHT:g}."
    if value is None or (isinstance(value, int) and is_number and 0 <= value <= MOST[field]):
        return ""
    return f"Must be a whole number between 0 and {MOST[field]}, or null for no limit of their own."


def of(owner: User) -> Quota:
    """The owner's quota; a new one, which is not stored, for who has none."""
    return Quota.objects.filter(owner=owner).first() or Quota(owner=owner)


def locked(owner: User) -> Quota:
    """The owner's row, made if need be, that nobody else writes to until the transaction ends."""
    Quota.objects.get_or_create(owner=owner)
    return Quota.objects.select_for_update(no_key=True).get(owner=owner)


def admit_job(quota: Quota, pixels: int) -> None:
    """Refuse a job that is one too many or too large. `quota` is locked. Raises TooMany."""
    unfinished = Job.objects.filter(owner=quota.owner_id).exclude(state__in=JOB_FINAL)
    held = unfinished.aggregate(jobs=Count("pk"), pixels=_PIXELS)
    most, used = settings.RRM.max_open_jobs, held["pixels"] or 0
    if held["jobs"] >= most:
        wait = "wait until it is done, or cancel it" if held["jobs"] == 1 else "wait for some, or cancel them"
        detail = f"You have {counted(held['jobs'], 'unfinished job')} and may have {most}; {wait}."
        raise TooMany(detail, limit="max_open_jobs", allowed=most, used=held["jobs"])
    limit = quota.max_queued_pixels
    if limit is not None and used + pixels > limit:
        detail = _too_many_pixels(limit, used, pixels)
        raise TooMany(detail, limit="max_queued_pixels", allowed=limit, used=used, asked=pixels)


def _too_many_pixels(limit: int, used: int, pixels: int) -> str:
    if not limit:
        return "You may order no picture at present; ask an operator for some pixels."
    way_out = "wait until some are done, or cancel them" if pixels <= limit else "order a smaller picture"
    facts = f"They have {used:,}, and this one has {pixels:,}"
    return f"Your unfinished jobs may have {counted(limit, 'pixel')} together. {facts}: {way_out}."


def admit_session(quota: Quota) -> None:
    """Refuse a session that is one too many. `quota` is locked. Raises TooMany."""
    most = settings.RRM.max_sessions if quota.max_sessions is None else quota.max_sessions
    used = Session.objects.filter(owner=quota.owner_id, state__in=SESSION_OPEN).count()
    if used >= most:
        way_out = "end one first" if most else "ask an operator for some"
        detail = f"You have {counted(used, 'open session')} and may have {most}; {way_out}."
        raise TooMany(detail, limit="max_sessions", allowed=most, used=used)


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def limited(owners: Collection[int]) -> Mapping[int, int]:
    """How many nodes each owner may have at once who has such a limit."""
    rows = Quota.objects.filter(owner__in=owners, max_nodes__isnull=False)
    return {owner: most for owner, most in rows.values_list("owner", "max_nodes") if most is not None}


def room(limited: Mapping[int, int]) -> Mapping[int, int]:
    """How many more nodes may work for each of these owners, who may have so many; one query."""
    at_work = nodes_of(limited) if limited else {}
    return {owner: most - at_work.get(owner, 0) for owner, most in limited.items()}


def nodes_of(owners: Collection[int]) -> Mapping[int, int]:
    """How many nodes work for each owner."""
    active = Lease.objects.filter(state=LeaseState.ACTIVE, job__owner__in=owners).order_by()
    return dict(active.values_list("job__owner").annotate(nodes=Count("node", distinct=True)))


def hold_node(owner: int, node: Node) -> None:
    """Make sure that `node` may work for the owner. To be called in the transaction that makes the lease.

    Raises NoRoom when the owner has as many others as may be.
    """
    quota = Quota.objects.select_for_update(no_key=True).filter(owner=owner, max_nodes__isnull=False).first()
    if quota is None:
        return
    active = Lease.objects.filter(state=LeaseState.ACTIVE, job__owner=owner)
    others = active.exclude(node=node).order_by().values("node").distinct().count()
    if others >= (quota.max_nodes or 0):
        raise NoRoom(f"{counted(others, 'node')} at work for the owner, who may have {quota.max_nodes}.")


def change(owner: User, changes: Mapping[str, Any], actor: str = "") -> Quota:
    """Set a person's weight and limits. Who gets another weight stays in the round that they are in. Raises Invalid."""
    if not changes:
        return of(owner)
    if errors := {field: [said] for field, value in changes.items() if (said := complaint(field, value))}:
        raise Invalid(errors)
    with transaction.atomic():
        quota = locked(owner)
        quota.charged_seconds = reweighed(quota.charged_seconds, quota.weight, changes.get("weight", quota.weight))
        for field, value in changes.items():
            setattr(quota, field, value)
        quota.save(update_fields=["charged_seconds", *changes])
        said = ", ".join(f"{field} {'none' if value is None else value}" for field, value in sorted(changes.items()))
        message = f"Quota of {owner.get_username()}: {said}"
        record(quota, "log", {"level": "info", "message": message}, actor=actor)
        wakeups.wake("rrm.autoscale")
        wakeups.announce_work()  # what nodes decide by is read anew
    return quota


def with_usage(rows: QuerySet[Quota]) -> QuerySet[Quota]:
    """The rows with used_nodes, used_pixels and used_sessions; None is nothing."""
    mine = OuterRef("owner")
    active = Lease.objects.filter(state=LeaseState.ACTIVE, job__owner=mine).order_by().values("job__owner")
    unfinished = Job.objects.filter(owner=mine).exclude(state__in=JOB_FINAL).order_by().values("owner")
    opened = Session.objects.filter(owner=mine, state__in=SESSION_OPEN).order_by().values("owner")
    return rows.annotate(
        used_nodes=Subquery(active.annotate(used=Count("node", distinct=True)).values("used")),
        used_pixels=Subquery(unfinished.annotate(used=_PIXELS).values("used")),
        used_sessions=Subquery(opened.annotate(used=Count("pk")).values("used")),
    )


def usage(owners: Collection[int]) -> Mapping[int, Mapping[str, int]]:
    """What each owner has of what quotas limit: nodes, queued_pixels, sessions. Three queries for all."""
    unfinished = Job.objects.filter(owner__in=owners).exclude(state__in=JOB_FINAL).order_by()
    opened = Session.objects.filter(owner__in=owners, state__in=SESSION_OPEN).order_by()
    pixels = dict(unfinished.values_list("owner").annotate(pixels=_PIXELS))
    sessions = dict(opened.values_list("owner").annotate(Count("pk")))
    nodes = nodes_of(owners)
    return {
        owner: {
            "nodes": nodes.get(owner, 0),
            "queued_pixels": pixels.get(owner) or 0,
            "sessions": sessions.get(owner, 0),
        }
        for owner in owners
    }
