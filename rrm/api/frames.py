"""Events as they go over the wire (Server-Sent Events), encoded once whoever listens."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Q, QuerySet

from rrm.domain.states import JOB_FINAL
from rrm.farm.models import Event
from rrm.farm.transitions import iso

RETRY = b"retry: 2000\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
END = b"event: end\ndata: {}\n\n"

_COLUMNS = ("id", "created_at", "kind", "subject_type", "subject_id", "job", "job__owner", "owner", "seq", "data")
_PUBLIC = ("node", "site", "resource")
_OF_EVERYBODY = Q(job=None, subject_type__in=_PUBLIC, kind__in=_PUBLIC)


@dataclass(frozen=True, slots=True)
class Frame:
    """One event. `settled` is the highest event id up to which nothing can still be missing before it."""

    id: int
    job: UUID | None
    owner: int | None
    subject: str
    seq: int
    is_final: bool
    is_public: bool
    settled: int
    on_job: bytes
    on_farm: bytes


def frames(rows: Iterable[Mapping[str, Any]], open_from: float) -> list[Frame]:
    """Encode rows of `columns`. Events from `open_from` on may still be overtaken, and get no id on the farm stream."""
    return [_frame(row, open_from) for row in rows]


def columns(events: QuerySet[Event]) -> Any:
    return events.order_by("id").values(*_COLUMNS)


def visible(user_id: int | None) -> Q:
    """The events that a user may see; all of them for None."""
    return Q() if user_id is None else Q(job__owner=user_id) | Q(owner=user_id) | _OF_EVERYBODY


def progress_frame(data: Mapping[str, Any]) -> bytes:
    """`progress` is made from the job's row when it is sent, so it has no id and is never replayed."""
    return b"event: progress\ndata: " + _json(data) + b"\n\n"


def _frame(row: Mapping[str, Any], open_from: float) -> Frame:
    is_state = row["kind"] == "state"
    context = {"at": iso(row["created_at"])}
    if row["job"]:
        context["job"] = str(row["job"])
    if is_state:
        context["id"] = row["subject_id"]
    data = b"data: " + _json({**context, **row["data"]}) + b"\n\n"
    settled = int(min(row["id"], open_from - 1))
    number = f"id: {row['id']}\n" if settled == row["id"] else ""
    return Frame(
        id=row["id"],
        job=row["job"],
        owner=row["job__owner"] or row["owner"],
        subject=row["subject_id"],
        seq=row["seq"] or 0,
        is_final=is_state and row["data"].get("state") in JOB_FINAL,
        is_public=row["job"] is None and row["subject_type"] == row["kind"] and row["kind"] in _PUBLIC,
        settled=settled,
        on_job=f"id: {row['seq']}\nevent: {row['kind']}\n".encode() + data,
        on_farm=f"{number}event: {'job' if is_state else row['kind']}\n".encode() + data,
    )


def _json(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, cls=DjangoJSONEncoder, separators=(",", ":"), ensure_ascii=False).encode()
