"""The one way to change a state, and the one way to write an event."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Model
from django.utils import timezone

from rrm.domain.states import JOB_MOVES, LEASE_MOVES, NODE_MOVES, SESSION_MOVES
from rrm.errors import StateConflict
from rrm.farm import statements, wakeups
from rrm.farm.models import Event, Job, Lease, Node, Quota, Session

_MOVES: Mapping[type[Model], Mapping[Any, frozenset[Any]]] = {
    Job: JOB_MOVES,
    Lease: LEASE_MOVES,
    Node: NODE_MOVES,
    Session: SESSION_MOVES,
}

_NOTHING: Mapping[str, Any] = {}
CHANGED = ("state", "state_since", "reason", "streak", "streak_since", "idle_since", "last_heartbeat")
"""What a node that was to be given work has to be read again for when it was not."""


def advance(
    row: Job | Lease | Node | Session, target: str, reason: str = "", *, actor: str = "", **changes: Any
) -> None:
    """Move `row` to `target` with `changes`, or raise StateConflict and leave the database as it was.

    A compare-and-swap on the state that `row` was read with, plus one event (leases have none: a finished one is told
    by `record_tiles`). After a StateConflict, or a rolled-back transaction, read the row again: its memory is stale.
    """
    origin = row.state
    written = _move(row, target, reason, changes)
    with _transaction():
        if not _swap(row, origin, written):
            raise StateConflict(f"{_noun(row)} {row.pk} is no longer {origin}.")
        _remember(row, written)
        if not isinstance(row, Lease):
            record(row, _noun(row), facts_of(row), actor=actor)


def planned(node: Node, target: str, **changes: Any) -> tuple[Mapping[str, Any], Event]:
    """What `advance` would write and tell, for a statement that does so together with other things, or not at all.

    The node has it in memory already. Raises StateConflict.
    """
    written = _move(node, target, "", changes)
    _remember(node, written)
    return written, _event(node, _noun(node), facts_of(node))


def _move(row: Model, target: str, reason: str, changes: Mapping[str, Any]) -> Mapping[str, Any]:
    origin = row.state  # type: ignore[attr-defined]
    if target not in _MOVES[type(row)][origin]:
        raise StateConflict(f"{_noun(row)} {row.pk} is {origin}, which does not lead to {target}.")
    return {"state": target, "state_since": timezone.now(), "reason": reason[:500], **changes}


def _remember(row: Model, written: Mapping[str, Any]) -> None:
    for field, value in written.items():
        setattr(row, field, value)


def _swap(row: Job | Lease | Node | Session, origin: str, written: Mapping[str, Any]) -> int:
    if any(hasattr(value, "resolve_expression") for value in written.values()):
        return type(row)._default_manager.filter(pk=row.pk, state=origin).update(**written)
    return statements.update(type(row), {"pk": row.pk, "state": origin}, written)


def _transaction() -> AbstractContextManager[object]:
    """The caller's transaction if there is one, without a savepoint: a conflict is found before anything is written."""
    return nullcontext() if transaction.get_connection().in_atomic_block else transaction.atomic()


def record(
    subject: Model,
    kind: str,
    data: Mapping[str, Any],
    *,
    actor: str = "",
    changes: Mapping[str, Any] = _NOTHING,
    counted: Mapping[str, int] = _NOTHING,
) -> None:
    """Write one event about `subject`, and announce it after commit.

    If it is a job, its row takes `changes`, and columns of it are `counted` up, in the same statement.

    Events of a job carry its own gapless sequence: the job's row stays locked until commit, so sequence order is
    commit order and a stream that resumes after number n misses nothing.
    """
    job = subject if isinstance(subject, Job) else None
    with _transaction():
        seq = statements.count_up(Job, "event_seq", job.pk, changes, counted) if job else None
        statements.insert(_event(subject, kind, data, actor, seq))
        transaction.on_commit(wakeups.announce_events, robust=True)


def _event(subject: Model, kind: str, data: Mapping[str, Any], actor: str = "", seq: int | None = None) -> Event:
    job = subject if isinstance(subject, Job) else None
    return Event(
        kind="state" if job and kind == "job" else kind,
        subject_type=_noun(subject),
        subject_id=str(subject.pk),
        job=job,
        seq=seq,
        owner_id=subject.owner_id if isinstance(subject, Session | Quota) else None,
        actor=actor,
        data=data,
    )


def _noun(row: Model) -> str:
    return str(row._meta.model_name)


def facts_of(row: Job | Node | Session) -> dict[str, Any]:
    """What an event tells of a job, node or session."""
    name = row.label if isinstance(row, Session) else row.name
    facts: dict[str, Any] = {"id": str(row.pk), "name": name, "state": str(row.state), "reason": row.reason}
    if isinstance(row, Session):
        facts |= {"resource": row.resource_id, "node": str(row.node_id) if row.node_id else None}
    if isinstance(row, Node):
        facts |= {
            "site": row.site_id,
            "color": row.site.color,
            "resource": row.resource_id,
            "hostname": row.hostname,
        }
    return facts | {"at": iso(row.state_since)}


def iso(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")
