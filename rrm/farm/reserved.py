"""Opening a reserved session on a node of its own: at the first of the resource's sites that takes it."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta

from django.utils import timezone

from rrm.domain.states import NODE_GONE, NodeState
from rrm.errors import LauncherError, NoCapacity, RrmError
from rrm.farm import booking, nodes, openings, prospects, sessions
from rrm.farm.booking import Wish
from rrm.farm.models import Node, Resource, Session, Site

ANSWER_WITHIN = timedelta(seconds=10)
_LOOK_SECONDS = 0.1
_RETRY_SECONDS = 30
_WATCHERS = threading.BoundedSemaphore(4)  # so many requests wait for a site's answer; others are told at once


def open_own(session: Session, wish: Wish, kinds: Collection[str]) -> Node:
    """The node that was started for the session, at a site of these kinds if the resource has one.

    A site's refusal is waited for and the next site is tried. Raises LauncherError with what the last one said,
    NoCapacity where the limits allow no node, StateConflict when the session was opened already. After the first two
    the session is reserved as before, and has the reason.
    """
    refusal: RrmError = NoCapacity(
        prospects.trouble(wish.resource), retry_after=_RETRY_SECONDS, position=1, eta_seconds=None
    )
    for site in _places(wish.resource, kinds):
        try:
            opened = booking.open_reserved(session, replace(wish, site=site), timezone.now())
        except NoCapacity as full:
            refusal = full
            continue
        node = _outcome(opened)
        if node.state not in NODE_GONE:
            return node
        sessions.look_after(opened, timezone.now())
        refusal = LauncherError(node.reason.removeprefix(nodes.REFUSED))
    raise refusal


def _places(resource: Resource, kinds: Collection[str]) -> list[Site]:
    usable = openings.usable(resource)
    return [site for site in usable if site.kind in kinds] or usable


def _outcome(session: Session) -> Node:
    """The session's own node once its site has taken or refused it, or as it is when that takes too long."""
    patience = ANSWER_WITHIN if _WATCHERS.acquire(blocking=False) else timedelta()
    try:
        end = time.monotonic() + patience.total_seconds()
        while (node := booking.own_node(session)) is not None:
            if node.state != NodeState.REQUESTED or time.monotonic() >= end:
                return node
            time.sleep(_LOOK_SECONDS)
    finally:
        if patience:
            _WATCHERS.release()
    raise LauncherError(f"The node of session {session.pk} is gone.")
