"""Beckoning: which of the nodes that wait for work should ask, told by one look for all of them.

Many nodes wait, and a new job wakes them all; but only as many should ask as there is something for. Whoever is called
asks as any node does, so a wrong call costs a question, and one that is missed waits for the next look.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from uuid import UUID

from rrm.domain.states import NodeState, SessionState
from rrm.farm import booking, copies, market, preloading, reports
from rrm.farm.models import Node, Session

_COLUMNS = (
    *("name", "resource_id", "site_id", "state", "streak", "streak_since", "idle_since", "ends_at", "cores"),
    *("reserved_for", "address"),
)


def called(waiting: Mapping[UUID, str | None], now: datetime) -> set[UUID]:
    """Those that should ask now; `waiting` has the session that each knows it serves."""
    nodes = list(Node.objects.filter(pk__in=list(waiting)).only(*_COLUMNS))
    idle = [node for node in nodes if node.state == NodeState.IDLE and node.reserved_for is None]
    found = set(_with_work(idle, now)) | set(_awaited(idle))
    for takers in (copies.takers, preloading.takers):  # what is for those who find nothing else to do
        rest = [node for node in idle if node.pk not in found]
        found |= set(takers(rest, now)) if rest else set()
    found |= waiting.keys() - {node.pk for node in idle} - _in_session(nodes, waiting)
    return found


def _in_session(nodes: Iterable[Node], waiting: Mapping[UUID, str | None]) -> set[UUID]:
    """Nodes that serve whom they know that they serve: nothing is new for them."""
    booked = [node.pk for node in nodes if node.state == NodeState.BOOKED]
    if not booked:
        return set()
    ready = Session.objects.filter(node__in=booked, state=SessionState.READY).values_list("node", "pk")
    return {node for node, session in ready if waiting[node] == str(session)}


def _with_work(idle: Collection[Node], now: datetime) -> Iterator[UUID]:
    since, rehearsals, held = time.monotonic(), {}, reports.held_by(idle)
    for node in idle:
        place = (node.resource_id, node.site_id)
        if place not in rehearsals:
            rehearsals[place] = market.Rehearsal(market.of(node, since), now)
        rehearsal = rehearsals[place]
        if rehearsal.takes(node, held.get(node.pk, ())):
            yield node.pk


def _awaited(idle: Iterable[Node]) -> Iterator[UUID]:
    """As many nodes as people wait."""
    left: dict[str, int] = {}
    for node in idle:
        if node.address and left.setdefault(node.resource_id, booking.how_many_wait(node.resource_id)) > 0:
            left[node.resource_id] -= 1
            yield node.pk
