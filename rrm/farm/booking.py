"""Booking: finding a renderer for a person who is there and waits.

An idle node is claimed at once, in one transaction. Otherwise the session is PENDING if somebody can be expected
within the time that its user would wait: then the next node that has nothing in hand is given to it, before any job.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q, QuerySet

from rrm.domain import booking
from rrm.domain.states import NODE_LIVE, SESSION_OPEN, NodeState, SessionState
from rrm.errors import NoCapacity, StateConflict, Suspended
from rrm.farm import hearing, nodes, prospects, quotas, wakeups
from rrm.farm.kept import Kept
from rrm.farm.models import FarmSwitches, HeldModel, Node, RenderModel, Resource, Session, Site
from rrm.farm.transitions import advance, facts_of, record

_CHANCE = random.Random()  # noqa: S311 - it spreads people who come back, and keeps no secret
_SUSPENDED_RETRY = 60


@dataclass(frozen=True)
class Wish:
    """What a person asks for. `overrides` are options of the resource for a node of the session's own."""

    resource: Resource
    model: RenderModel | None = None
    max_wait: timedelta = timedelta()
    idle: timedelta | None = None
    label: str = ""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    site: Site | None = None
    """Where such a node is to be; None: wherever there is room."""


def book(owner: User, wish: Wish, now: datetime) -> Session:
    """A session that is READY, or PENDING if a renderer can be expected in time.

    Raises NoCapacity with the reason and nothing left behind, Suspended, or TooMany.
    """
    session = _draft(owner, wish)
    _refuse_when_closed()
    with transaction.atomic():
        quotas.admit_session(quotas.locked(owner))
        return _open(session, wish, now)


def reserve(owner: User, wish: Wish) -> Session:
    """A session that wants no renderer yet, to be opened later. Raises Suspended or TooMany."""
    _refuse_when_closed()
    session = _draft(owner, wish)
    with transaction.atomic():
        quotas.admit_session(quotas.locked(owner))
        _store(session)
    return session


def open_reserved(session: Session, wish: Wish, now: datetime) -> Session:
    """Find a renderer for a session that was only reserved. Raises StateConflict when that was done already.

    Raises NoCapacity; the session then keeps the reason, and may be opened again.
    """
    reserved = Session.objects.filter(pk=session.pk, state=SessionState.PENDING, opened_at=None)
    try:
        with transaction.atomic():
            found = reserved.select_for_update(no_key=True).first()  # locked: two who open it do not both start a node
            if found is None:
                raise StateConflict(f"Session {session.pk} was opened already.")
            return _open(found, wish, now)
    except NoCapacity as refusal:
        reserved.update(reason=refusal.detail[:500], expires_at=now + timedelta(seconds=session.idle_seconds))
        raise


def take_back(session: Session, reason: str, now: datetime) -> None:
    """What was started for a waiting session came to nothing: it is reserved again, and may be opened once more."""
    waiting = Session.objects.filter(pk=session.pk, state=SessionState.PENDING, opened_at=session.opened_at)
    until = now + timedelta(seconds=session.idle_seconds)
    with transaction.atomic():
        if waiting.update(opened_at=None, wait_until=None, reason=reason[:500], expires_at=until):
            session.refresh_from_db()
            record(session, "session", facts_of(session))
            stop_own(session)


def own_node(session: Session) -> Node | None:
    """The node that was started last for this session alone, whatever became of it."""
    own = Node.objects.filter(reserved_for=session.pk).select_related("site", "resource")
    return own.order_by("-requested_at", "name").first()


def stop_own(session: Session) -> None:
    """Stop what was started for this session alone."""
    own = Node.objects.filter(reserved_for=session.pk, state__in=NODE_LIVE).select_related("site", "resource")
    for node in own:
        with contextlib.suppress(StateConflict):
            nodes.stop(node, "sessions", "The session that it was started for is over.")


def _draft(owner: User, wish: Wish) -> Session:
    idle = wish.idle or settings.RRM.session_idle
    return Session(
        owner=owner,
        resource=wish.resource,
        model=wish.model,
        label=wish.label,
        idle_seconds=round(idle.total_seconds()),
        overrides=dict(wish.overrides),
    )


def _refuse_when_closed() -> None:
    switches = FarmSwitches.objects.filter(sessions_suspended=True).first()
    if switches is not None:
        raise Suspended(switches.reason or "No new sessions are taken at present.", retry_after=_SUSPENDED_RETRY)


def _open(session: Session, wish: Wish, now: datetime) -> Session:
    session.opened_at, session.wait_until, session.reason = now, now + wish.max_wait, ""
    session.overrides = dict(wish.overrides)
    if wish.overrides:
        session.reason = "Waits for a node of its own."
        with transaction.atomic():
            _wait(session, now)
            _start_own(session, wish.site)
        return session
    ahead = _waiting(wish.resource.pk).filter(overrides={}).exclude(pk=session.pk)
    if not ahead.exists() and _take_free(session, now):
        return session
    # Those who ask at one moment take turns from here on: each counts on a place that none before was promised.
    Resource.objects.select_for_update(no_key=True).get(pk=wish.resource.pk)
    expected = booking.outlook(prospects.of(wish.resource, now), ahead.count(), wish.max_wait.total_seconds(), now)
    if not expected.fits:
        pause = booking.retry_after(expected.seconds, _CHANCE)
        raise NoCapacity(
            expected.reason, retry_after=pause, position=expected.position, eta_seconds=_rounded(expected.seconds)
        )
    session.reason = expected.reason
    with transaction.atomic():
        _wait(session, now)
        wakeups.wake("rrm.autoscale")
        wakeups.announce_work()
    return session


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _store(session: Session) -> None:
    with transaction.atomic():
        session.save()
        record(session, "session", facts_of(session), actor=session.owner.get_username())


def _wait(session: Session, now: datetime) -> None:
    _store(session)
    end_punctually(session, now)


def end_punctually(session: Session, now: datetime) -> None:
    """The loop ends waiting in any case. Where it would come too late, a wake-up makes that punctual.

    What is farther off is left to the loop's next turns: a wake-up for tomorrow would be kept until then, and lost with
    its process.
    """
    if session.wait_until is not None and session.wait_until - now <= 2 * settings.RRM.reconcile_period:
        wakeups.wake("rrm.end_wait", str(session.pk), at=session.wait_until)


def _start_own(session: Session, site: Site | None) -> None:
    """A node for this session alone. Raises NoCapacity where the limits do not allow one."""
    try:
        why = f"For session {session.pk}"
        options = {**session.overrides, "session": str(session.pk)}
        nodes.request_node(session.resource, site, session.owner.get_username(), why, options, session.pk)
    except StateConflict as conflict:
        pause = booking.retry_after(None, _CHANCE)
        raise NoCapacity(conflict.detail, retry_after=pause, position=1, eta_seconds=None) from None


def _waiting(resource: str) -> QuerySet[Session]:
    """Sessions that wait for a node of the resource, in the order in which they asked."""
    waiting = Session.objects.filter(resource=resource, state=SessionState.PENDING, opened_at__isnull=False)
    return waiting.order_by("opened_at", "id")


def _shared_waiting(resource: str) -> QuerySet[Session]:
    """Those of them that any node of the resource serves."""
    return _waiting(resource).filter(overrides={})[: settings.RRM.max_open_jobs]


# Every node that asks for work asks this first, and nearly always nobody waits.
_numbers: Kept[str, int] = Kept(lambda resource: _shared_waiting(resource).count())


def how_many_wait(resource: str) -> int:
    """How many sessions wait for a node of the resource, as it was a moment ago."""
    return _numbers.get(resource, wakeups.WORK.rung_at)


def positions(sessions: Iterable[Session]) -> dict[UUID, int]:
    """The place in its resource's queue of each of these that waits, 1 for the one that is served next."""
    waiting = [session for session in sessions if session.state == SessionState.PENDING and session.opened_at]
    if not waiting:
        return {}
    pending = Session.objects.filter(state=SessionState.PENDING, opened_at__isnull=False)
    queued = pending.filter(overrides={}).order_by("opened_at", "id")
    ahead: Counter[str] = Counter()
    found = {session.pk: 1 for session in waiting if session.overrides}  # nobody else gets the node that is theirs
    for id, resource in queued.filter(resource__in={row.resource_id for row in waiting}).values_list("pk", "resource"):
        ahead[resource] += 1
        found[id] = ahead[resource]
    return {session.pk: found[session.pk] for session in waiting if session.pk in found}


def _take_free(session: Session, now: datetime) -> bool:
    """Claim an idle node for the session, if there is one."""
    free = {str(node.pk): node for node in _bookable(session.resource, now).filter(state=NodeState.IDLE)}
    for candidate in booking.best(list(_candidates(free, session))):
        with contextlib.suppress(StateConflict):
            _take(session, free[candidate.id], now, is_warm=candidate.is_warm)
            return True
    return False


def _bookable(resource: Resource, now: datetime) -> QuerySet[Node]:
    """Nodes that people could be sent to: they answer requests, were heard lately, and live long enough."""
    long_enough = Q(ends_at=None) | Q(ends_at__gt=now + booking.MARGIN)
    found = Node.objects.filter(long_enough, hearing.lately(now), resource=resource, reserved_for=None)
    found = found.exclude(address="")
    return found.select_related("site", "resource")


def _ends_soon(node: Node, now: datetime) -> bool:
    return node.ends_at is not None and node.ends_at <= now + booking.MARGIN


def _candidates(free: Mapping[str, Node], session: Session) -> Iterator[booking.Free]:
    held: dict[str, set[Any]] = {}
    for node, model in HeldModel.objects.filter(node__in=list(free)).values_list("node", "model"):
        held.setdefault(str(node), set()).add(model)
    positions = dict(session.resource.placements.values_list("site", "position"))
    for id, place in free.items():
        models = held.get(id, set())
        yield booking.Free(id, session.model_id in models, len(models), positions.get(place.site_id, len(positions)))


def _take(session: Session, node: Node, now: datetime, *, is_warm: bool) -> None:
    """Give the node to the session; both change or neither. Raises StateConflict when a rival was faster."""
    hard = now + settings.RRM.session_longest
    if node.ends_at is not None:
        hard = min(hard, node.ends_at - booking.MARGIN / 2)
    with transaction.atomic():
        if not session._state.adding:
            _lock(session)
        advance(node, NodeState.BOOKED, idle_since=None)
        if session._state.adding:
            _store(session)
        advance(
            session,
            SessionState.READY,
            node=node,
            warm=is_warm,
            ready_at=now,
            opened_at=session.opened_at,
            wait_until=session.wait_until,
            expires_at=min(now + timedelta(seconds=session.idle_seconds), hard),
            hard_expires_at=hard,
        )
        wakeups.announce_work()  # the node waits for work: it learns of its user now


def _lock(session: Session) -> None:
    """Before its node, as whoever ends the session does: otherwise each could wait for the other."""
    waiting = Session.objects.select_for_update(no_key=True).filter(pk=session.pk, state=session.state)
    if waiting.first() is None:
        raise StateConflict(f"Session {session.pk} is no longer {session.state}.")


def serve(node: Node, now: datetime) -> bool:
    """Whether the node is to take no leases, since people wait for it; an idle one is given to whoever is first."""
    if node.state == NodeState.BOOKED:
        return True
    if node.reserved_for is not None:
        _serve_reserved(node, now)
        return True
    if not node.address or _ends_soon(node, now) or not how_many_wait(node.resource_id):
        return False
    waiting = list(_shared_waiting(node.resource_id))
    if node.state == NodeState.IDLE:
        return any(_gives(node, session, now) for session in waiting)
    busy = _bookable(node.resource, now).filter(state=NodeState.BUSY).prefetch_related("held")
    models = [(str(each.pk), frozenset(str(held.model_id) for held in each.held.all())) for each in busy]
    wanted = [str(session.model_id) if session.model_id else None for session in waiting]
    return str(node.pk) in booking.held_back(models, wanted)


def _gives(node: Node, session: Session, now: datetime) -> bool:
    is_warm = HeldModel.objects.filter(node=node, model=session.model_id).exists()
    with contextlib.suppress(StateConflict):
        _take(session, node, now, is_warm=is_warm)
        return True
    return False


def _serve_reserved(node: Node, now: datetime) -> None:
    """A node that was started for one session: it gets that, or leaves."""
    if node.state != NodeState.IDLE or node.reserved_for is None:
        return
    open_ones = Session.objects.filter(pk=node.reserved_for, state__in=SESSION_OPEN, opened_at__isnull=False)
    session = open_ones.select_related("resource").first()
    with contextlib.suppress(StateConflict):
        if session is None:
            nodes.drain(node, "sessions", "The session that it was started for is over.")
        elif session.state == SessionState.PENDING:  # otherwise it is on another machine of the same batch job
            _take(session, node, now, is_warm=False)


def session_of(node: Node) -> dict[str, Any] | None:
    """What a node is told of the session that it serves: {"id", "params": those of the model, or None}."""
    session = Session.objects.filter(node=node, state=SessionState.READY).select_related("model").first()
    if session is None:
        return None
    return {"id": str(session.pk), "params": session.model.params if session.model else None}


def settle(now: datetime) -> None:
    """Give idle nodes to those who wait. Prompt calls make it quick; alone it is right."""
    for resource in Resource.objects.filter(sessions__state=SessionState.PENDING).distinct():
        idle = list(_bookable(resource, now).filter(state=NodeState.IDLE))
        for session in list(_waiting(resource.pk).filter(overrides={})[: len(idle)]):
            _take_free(session, now)
    reserved = Node.objects.filter(reserved_for__isnull=False, state=NodeState.IDLE).select_related("site", "resource")
    for node in reserved:
        _serve_reserved(node, now)
