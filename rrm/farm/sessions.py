"""Sessions: kept alive by use, extended, ended; the way to their node; and the loop that ends what nobody ends."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from rrm.domain import addresses
from rrm.domain import booking as rules
from rrm.domain.states import NODE_GONE, SESSION_OPEN, NodeState, SessionState
from rrm.errors import LauncherError, NotFound, StateConflict
from rrm.farm import booking, instants, loops, nodes, sites, wakeups
from rrm.farm.models import FarmSwitches, Node, Resource, Session, Site
from rrm.farm.transitions import advance, facts_of, iso, record
from rrm.launchers.base import NEVER
from rrm.launchers.connection import Target

logger = logging.getLogger(__name__)

ROBOT = "sessions"
_RESOLUTION = timedelta(seconds=1)
Row = TypeVar("Row", Session, Node)


@dataclass(frozen=True)
class Way:
    """How to reach the node of a session: its address, through which connection, and the key that it asks for.

    `idle_seconds` is how long the session lasts after its last use.
    """

    session: UUID
    host: str
    port: int
    target: Target | None
    key: str
    idle_seconds: int


def find(session: UUID, user: User | None) -> Session:
    """The session, if `user` owns it; None may see everybody's. Raises NotFound."""
    found = Session.objects.select_related("node__site", "resource", "model", "owner").filter(pk=session)
    row = (found if user is None else found.filter(owner=user)).first()
    if row is None:
        raise NotFound(f"There is no session {session}.")
    return row


def way_to(session: UUID, user: User | None) -> Way:
    """Where the requests of a session go; `user` as for `find`.

    Raises NotFound, or StateConflict while it is not READY. Asked for each request: only what is needed is read.
    """
    rows = Session.objects.filter(pk=session) if user is None else Session.objects.filter(pk=session, owner=user)
    row = next(iter(rows.values(*_ON_THE_WAY)[:1]), None)
    if row is None:
        raise NotFound(f"There is no session {session}.")
    if row["state"] != SessionState.READY or row["node__state"] is None:
        raise StateConflict(f"Session {session} is {row['state']}. {row['reason']}".strip())
    if row["node__state"] != NodeState.BOOKED or not row["node__address"]:
        raise StateConflict(f"The node of session {session} is {row['node__state']}. {row['node__reason']}".strip())
    host, _, port = row["node__address"].rpartition(":")
    is_ours = row["resource__renderer"] == Resource.Renderer.MANDELBROT
    key = nodes.session_key(row["node__name"]) if is_ours else ""
    return Way(session, host.strip("[]"), int(port), _through(row, host), key, row["idle_seconds"])


_ON_THE_WAY = (
    *("state", "reason", "idle_seconds", "resource__renderer"),
    *("node__state", "node__reason", "node__name", "node__address"),
    *("node__site", "node__site__kind", "node__site__connection"),
)


def _through(row: Mapping[str, Any], host: str) -> Target | None:
    """The site whose connection leads to the node; None where it is reached straight.

    A loopback address means the site's own host there, and must never mean this machine.
    """
    is_tunnelled = row["node__site__connection"] == Site.Connection.TUNNEL or addresses.is_loopback(host)
    if row["node__site__kind"] == Site.Kind.LOCAL or not is_tunnelled:
        return None
    try:
        return sites.target_of(Site.objects.get(pk=row["node__site"]))
    except LauncherError as error:
        raise StateConflict(f"Site {row['node__site']} cannot be reached: {error.detail}") from None


def node_of(session: Session) -> Node:
    """The node that serves the session, or did. Raises StateConflict while there is none."""
    own = session.node or booking.own_node(session)
    if own is None:
        raise StateConflict(f"Session {session.pk} is {session.state} and has no node. {session.reason}".strip())
    return own


def touch(session: UUID) -> None:
    """Its user has done something: the session lives on, reserved or READY. One that is over stays over."""
    row = Session.objects.filter(pk=session, state__in=SESSION_OPEN).first()
    if row is not None and row.state == SessionState.READY:
        _renew(row, timezone.now())
    elif row is not None:
        until = timezone.now() + timedelta(seconds=row.idle_seconds)
        Session.objects.filter(pk=row.pk, state=SessionState.PENDING, opened_at=None).update(expires_at=until)


def keepalive(session: Session) -> None:
    """The same on request. Raises StateConflict when the session is not READY."""
    if session.state != SessionState.READY or not _renew(session, timezone.now()):
        raise StateConflict(f"Session {session.pk} is {session.state}.")


def _renew(session: Session, now: datetime) -> bool:
    until = now + timedelta(seconds=session.idle_seconds)
    session.expires_at = min(until, session.hard_expires_at or until)
    ready = Session.objects.filter(pk=session.pk, state=SessionState.READY)
    return bool(ready.update(expires_at=session.expires_at))


def extend(session: Session, by: timedelta, actor: str) -> None:
    """Move the hard end, as far as the longest session and the node's own end allow. Raises StateConflict."""
    now = timezone.now()
    if session.state != SessionState.READY or session.hard_expires_at is None:
        raise StateConflict(f"Session {session.pk} is {session.state}.")
    limits = [session.hard_expires_at + by, now + settings.RRM.session_longest]
    if session.node is not None and session.node.ends_at is not None:
        limits.append(session.node.ends_at - rules.MARGIN / 2)
    until = min(limits)
    if until - session.hard_expires_at < _RESOLUTION:
        raise StateConflict(f"It cannot be longer: it ends at {iso(session.hard_expires_at)} at the latest.")
    with transaction.atomic():
        ready = Session.objects.filter(pk=session.pk, state=SessionState.READY)
        if not ready.update(hard_expires_at=until, warned_seconds=None):
            raise StateConflict(f"Session {session.pk} is over.")
        session.hard_expires_at = until
        _renew(session, now)
        record(session, "session", {**facts_of(session), "hard_expires_at": iso(until)}, actor=actor)


def end(session: Session, actor: str, reason: str = "") -> None:
    """End the session; its node is free for others, or stopped if it was started for this one or keeps its data."""
    _finish(session, SessionState.ENDED, reason or f"Ended by {actor}.", actor)


def _finish(session: Session, state: SessionState, reason: str, actor: str) -> None:
    with transaction.atomic():
        advance(session, state, reason, actor=actor, finished_at=timezone.now())
        _release(session, reason)
        booking.stop_own(session)
        wakeups.wake("rrm.autoscale")


def _release(session: Session, reason: str) -> None:
    node = Node.objects.select_related("site", "resource").filter(sessions=session).first()
    if node is None or node.state != NodeState.BOOKED:
        return
    with contextlib.suppress(StateConflict):
        if node.resource.renderer == Resource.Renderer.EXTERNAL or node.reserved_for is not None:
            # What it holds is its user's: nobody else must come to see it.
            nodes.stop(node, ROBOT, f"Its session is over: {reason}")
        else:
            advance(node, NodeState.IDLE, idle_since=timezone.now())
            wakeups.announce_work()


def suspend(actor: str, reason: str) -> None:
    """Take no new sessions until `resume`; those that are open go on."""
    _switch(actor, suspended=True, reason=reason or "An operator has suspended new sessions.")


def resume(actor: str) -> None:
    _switch(actor, suspended=False, reason="")


def are_suspended() -> bool:
    return FarmSwitches.objects.filter(sessions_suspended=True).exists()


def _switch(actor: str, *, suspended: bool, reason: str) -> None:
    with transaction.atomic():
        switches, _ = FarmSwitches.objects.get_or_create(pk=1)
        if switches.sessions_suspended == suspended and switches.reason == reason:
            return
        switches.sessions_suspended, switches.reason = suspended, reason
        switches.save()
        word = "suspended" if suspended else "resumed"
        record(switches, "log", {"level": "info", "message": f"New sessions were {word} by {actor}."}, actor=actor)


def turn(now: datetime) -> None:
    """One turn of the loop: waiting that was in vain, nodes that are gone, sessions that are over, warnings."""
    for state, look in ((SessionState.PENDING, _look_at_waiting), (SessionState.READY, _look_at_ready)):
        _each(Session.objects.filter(state=state).select_related("node", "resource", "owner"), look, now)
    served = Session.objects.filter(node=OuterRef("pk"), state=SessionState.READY)
    forgotten = Node.objects.filter(~Exists(served), state=NodeState.BOOKED)
    _each(forgotten.select_related("site", "resource"), _free_forgotten, now)
    booking.settle(now)


def look_after(session: Session, now: datetime) -> None:
    """Do for one session what the loop would do; `session` is as it is then."""
    look = {SessionState.PENDING: _look_at_waiting, SessionState.READY: _look_at_ready}.get(SessionState(session.state))
    with contextlib.suppress(StateConflict):  # somebody else was faster
        if look is not None:
            look(session, now)
    session.refresh_from_db()


def end_wait(session: UUID) -> None:
    """The time that somebody would wait is over; nothing happens if a renderer came, or if it is not over after all."""
    row = Session.objects.select_related("node", "resource", "owner").filter(pk=session).first()
    if row is not None and row.state == SessionState.PENDING:
        look_after(row, timezone.now())


def _each(rows: Iterable[Row], look: Callable[[Row, datetime], None], now: datetime) -> None:
    """One that cannot be dealt with never keeps the others from it."""
    for row in list(rows):
        try:
            look(row, now)
        except StateConflict:
            continue  # somebody else was faster
        except Exception:
            logger.exception("%s %s could not be looked after", type(row).__name__, row.pk)


def _look_at_waiting(session: Session, now: datetime) -> None:
    if session.opened_at is None:
        if now > (session.expires_at or session.created_at + timedelta(seconds=session.idle_seconds)):
            end(session, ROBOT, "It was never opened.")
    elif session.overrides and (own := booking.own_node(session)) and own.state in NODE_GONE:
        _lose_own(session, own, now)
    elif session.opened_at - now > instants.SKEW:  # the clock was set back since
        waits = session.wait_until and now + (session.wait_until - session.opened_at)
        Session.objects.filter(pk=session.pk, state=SessionState.PENDING).update(opened_at=now, wait_until=waits)
    elif session.wait_until is not None and now >= session.wait_until:
        waited = (now - session.opened_at).total_seconds()
        _finish(session, SessionState.FAILED, f"No renderer became free within {waited:.0f} s.", ROBOT)
    else:
        booking.end_punctually(session, now)


def _lose_own(session: Session, own: Node, now: datetime) -> None:
    """The node that was started for a waiting session is gone.

    One that its site took and that was ended there takes the session with it. Otherwise it may be opened again.
    """
    if own.site.kind == Site.Kind.SLURM and own.handle and not own.reason.startswith(NEVER):
        _finish(session, SessionState.FAILED, f"Its node is {own.state}: {own.reason}", ROBOT)
    else:
        booking.take_back(session, own.reason, now)


def _look_at_ready(session: Session, now: datetime) -> None:
    node = session.node
    if node is None or node.state != NodeState.BOOKED:
        why = f"Its node is {node.state}: {node.reason}" if node is not None else "Its node is gone."
        _finish(session, SessionState.FAILED, why.strip(": "), ROBOT)
        return
    if session.expires_at is None or session.hard_expires_at is None:
        raise ValueError("a READY session has no end")
    life, idle = rules.Life(session.expires_at, session.hard_expires_at), timedelta(seconds=session.idle_seconds)
    if life.expires_at - now > idle + instants.SKEW:  # the clock was set back since
        _renew(session, now)
    if over := rules.why_over(life, idle, now):
        # Nobody could use it while the manager was away.
        resumed, used = loops.resumed_at("sessions", now), life.expires_at - idle
        if now >= life.hard_expires_at or resumed is None or used >= resumed:
            end(session, ROBOT, over)
        return
    told = None if session.warned_seconds is None else timedelta(seconds=session.warned_seconds)
    if due := rules.warning_due(life, told, now):
        _warn(session, due)


def _warn(session: Session, ahead: timedelta) -> None:
    seconds = round(ahead.total_seconds())
    with transaction.atomic():
        if Session.objects.filter(pk=session.pk, warned_seconds=session.warned_seconds).update(warned_seconds=seconds):
            message = f"The session ends in {seconds // 60} minutes at the latest."
            record(session, "warning", {**facts_of(session), "message": message, "seconds": seconds})


def _free_forgotten(node: Node, now: datetime) -> None:
    """A node that was BOOKED by nobody, and still is."""
    if not Session.objects.filter(node=node, state=SessionState.READY).exists():
        advance(node, NodeState.IDLE, idle_since=now)
        wakeups.announce_work()
