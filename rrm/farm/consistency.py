"""What must hold at every moment between the rows, and between rows and files. Each breach is one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, groupby
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import Count, Exists, F, Max, Min, OuterRef, Q, QuerySet, Sum
from django.utils import timezone

from rrm.domain.states import (
    JOB_FINAL,
    NODE_GONE,
    NODE_STARTING,
    SESSION_OPEN,
    JobState,
    LeaseState,
    NodeState,
    SessionState,
)
from rrm.farm import blocking, jobs
from rrm.farm.models import Event, HeldModel, Job, JobShare, Lease, Node, Session

_HELD = (LeaseState.ACTIVE, LeaseState.DONE)
_NEVER_LEASED = NODE_GONE | NODE_STARTING | {NodeState.IDLE, NodeState.BOOKED}
_MAY_BE_RENDERED = frozenset({JobState.RUNNING, JobState.PAUSED})
_RENDERED = Job.objects.exclude(kind=Job.Kind.RECOLOR)  # recolourings have no tiles of their own
_BEGIN = {"sqlite": "BEGIN DEFERRED", "postgresql": "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"}


class _Part(NamedTuple):
    """Tiles start…stop of a job or share, and what accounts for them."""

    start: int
    stop: int
    holder: str


def problems() -> Iterator[str]:
    """Every breach of an invariant, seen at one moment. Nothing is changed, and nobody waits for the check."""
    with _snapshot():
        yield from chain.from_iterable(check() for check in INVARIANTS)


def every_tile_is_somewhere() -> Iterator[str]:
    """Each tile of a job is in exactly one of: the rest of a share, an ACTIVE lease, a DONE lease; copies apart."""
    parts: dict[UUID, list[_Part]] = {job: [] for job in Job.objects.values_list("pk", flat=True)}
    for job, start, stop, share in JobShare.objects.filter(cursor__lt=F("stop")).values_list(
        "job", "cursor", "stop", "pk"
    ):
        parts[job].append(_Part(start, stop, f"share {share}"))
    for job, start, stop, lease in _standing().filter(state__in=_HELD).values_list("job", "start", "stop", "pk"):
        parts[job].append(_Part(start, stop, f"lease {lease}"))
    for job, tiles in _RENDERED.values_list("pk", "tiles"):
        yield from _coverage(f"Job {job}", parts[job], 0, tiles)


def shares_account_for_what_they_gave() -> Iterator[str]:
    """The leases cut from a share, whatever became of them, are exactly its tiles before the cursor."""
    leases: dict[int, list[_Part]] = {}
    for share, start, stop, lease in _standing().values_list("share", "start", "stop", "pk"):
        leases.setdefault(share, []).append(_Part(start, stop, f"lease {lease}"))
    for share, start, cursor in JobShare.objects.values_list("pk", "start", "cursor"):
        yield from _coverage(f"Share {share}", leases.get(share, []), start, cursor)
    strangers = Lease.objects.exclude(job=F("share__job")).values_list("pk", "job", "share")
    for lease, job, share in strangers:
        yield f"Lease {lease} of job {job} was cut from share {share} of another job."
    elsewhere = Lease.objects.exclude(share__site=None).exclude(node__site=F("share__site"))
    for lease, site in elsewhere.values_list("pk", "share__site"):
        yield f"Lease {lease} is of a share for site {site}, and its node is at another site."


def copies_are_of_what_is_rendered() -> Iterator[str]:
    """An ACTIVE copy has beside it the ACTIVE lease that stands for its tiles; what a copy delivers stands itself."""
    same = _standing().filter(state=LeaseState.ACTIVE, share=OuterRef("share"))
    original = same.filter(start=OuterRef("start"), stop=OuterRef("stop"))
    copies = Lease.objects.filter(is_copy=True, state__in=_HELD)
    for lease, state in copies.filter(~Exists(original) | Q(state=LeaseState.DONE)).values_list("pk", "state"):
        yield f"Lease {lease} is a copy and {state}, and nobody has the tiles that it copies."


def done_tiles_are_counted() -> Iterator[str]:
    """tiles_done is the number of tiles in DONE leases; a job that is COMPOSING or COMPLETED has them all."""
    done = dict(
        Lease.objects.filter(state=LeaseState.DONE)
        .order_by()
        .values_list("job")
        .annotate(tiles=Sum("stop") - Sum("start"))
    )
    for job, state, tiles, tiles_done in _RENDERED.values_list("pk", "state", "tiles", "tiles_done"):
        if tiles_done != done.get(job, 0):
            yield f"Job {job} counts {tiles_done} finished tiles, and its DONE leases hold {done.get(job, 0)}."
        if state in (JobState.COMPOSING, JobState.COMPLETED) and tiles_done != tiles:
            yield f"Job {job} is {state} with {tiles_done} of {tiles} tiles."


def active_leases_are_worked_on() -> Iterator[str]:
    """An ACTIVE lease belongs to a node that is there and to a job that is RUNNING or PAUSED."""
    active = Lease.objects.filter(state=LeaseState.ACTIVE)
    for lease, job, state in active.exclude(job__state__in=_MAY_BE_RENDERED).values_list("pk", "job", "job__state"):
        yield f"Lease {lease} is ACTIVE, and its job {job} is {state}."
    for lease, node, state in active.filter(node__state__in=_NEVER_LEASED).values_list(
        "pk", "node__name", "node__state"
    ):
        yield f"Lease {lease} is ACTIVE, and its node {node} is {state}."


def busy_nodes_hold_a_lease() -> Iterator[str]:
    active = Lease.objects.filter(node=OuterRef("pk"), state=LeaseState.ACTIVE)
    for name in Node.objects.filter(~Exists(active), state=NodeState.BUSY).values_list("name", flat=True):
        yield f"Node {name} is BUSY and holds no ACTIVE lease."


def booked_nodes_serve_a_session() -> Iterator[str]:
    """Each READY session has a node of its own, and a BOOKED node serves one."""
    ready = Session.objects.filter(state=SessionState.READY)
    idle = Node.objects.filter(~Exists(ready.filter(node=OuterRef("pk"))), state=NodeState.BOOKED)
    for name in idle.values_list("name", flat=True):
        yield f"Node {name} is BOOKED and serves no session."
    for session, node, state in ready.filter(node__state__in=[NodeState.IDLE, NodeState.BUSY]).values_list(
        "pk", "node__name", "node__state"
    ):
        yield f"Session {session} is READY, and its node {node} is {state}."
    odd = Session.objects.filter(
        Q(state__in=SESSION_OPEN, finished_at__isnull=False) | (~Q(state__in=SESSION_OPEN) & Q(finished_at=None))
    )
    for session, state in odd.values_list("pk", "state"):
        yield f"Session {session} is {state}, and its end says otherwise."


def blocked_nodes_get_no_work() -> Iterator[str]:
    """A node that is blocked has been told to leave."""
    own = blocking.in_force(timezone.now()).filter(site=OuterRef("site"), node=OuterRef("name"))
    at_work = Node.objects.filter(Exists(own), state__in=[NodeState.IDLE, NodeState.BUSY])
    for name, state in at_work.values_list("name", "state"):
        yield f"Node {name} is {state}, and it is blocked."


def gone_nodes_have_nothing() -> Iterator[str]:
    """A node that is gone holds no model and no token that would still be accepted."""
    for name, models in (
        HeldModel.objects.filter(node__state__in=NODE_GONE).order_by().values_list("node__name").annotate(Count("pk"))
    ):
        yield f"Node {name} is gone and still counts as holding {models} model(s)."
    armed = Node.objects.filter(state__in=NODE_GONE).exclude(token_digest="", launch_digest="")
    for name, state in armed.values_list("name", "state"):
        yield f"Node {name} is {state} and its token was not made void."


def events_are_gapless() -> Iterator[str]:
    """The events of a job are numbered without gaps up to its event_seq; only the oldest may have been forgotten."""
    forgettable = timezone.now() - settings.RRM.event_retention
    told: Mapping[UUID, tuple[int, int, int]] = {
        job: (count, first, last)
        for job, count, first, last in Event.objects.exclude(job=None)
        .order_by()
        .values_list("job")
        .annotate(Count("seq"), Min("seq"), Max("seq"))
    }
    for job, last_seq, state, created_at in Job.objects.values_list("pk", "event_seq", "state", "created_at"):
        count, first, last = told.get(job, (0, last_seq + 1, last_seq))
        may_forget = state in JOB_FINAL and created_at < forgettable
        if count != last - first + 1 or last != last_seq or (first != 1 and not may_forget):
            yield f"Job {job} has {count} events numbered {first}…{last}, and its counter says {last_seq}."
    loose = Event.objects.filter(Q(job=None, seq__isnull=False) | Q(job__isnull=False, seq=None))
    for event in loose.values_list("pk", flat=True):
        yield f"Event {event} has a job without a number, or a number without a job."


def finished_jobs_say_when() -> Iterator[str]:
    """A final job has the instant of its end, and no other job has one."""
    odd = Job.objects.filter(
        Q(state__in=JOB_FINAL, finished_at=None) | (~Q(state__in=JOB_FINAL) & Q(finished_at__isnull=False))
    )
    for job, state, finished_at in odd.values_list("pk", "state", "finished_at"):
        yield f"Job {job} is {state} and its end is {finished_at or 'not known'}."


def files_are_there() -> Iterator[str]:
    """A DONE lease has the file of its range, and a COMPLETED job the results it was asked for."""
    done = Lease.objects.filter(state=LeaseState.DONE).order_by("job").select_related("job").only("pk", "job")
    for job, leases in groupby(done, key=lambda lease: lease.job):
        kept = jobs.files(job)
        for lease in leases:
            if not kept.range(lease.pk).is_file():
                yield f"Lease {lease.pk} of job {job.pk} is DONE, and the file of its range is missing."
    for job in Job.objects.filter(state=JobState.COMPLETED):
        for output, path in _results(job):
            if not path.is_file():
                yield f"Job {job.pk} is COMPLETED, and its {output} is missing ({path.name})."


INVARIANTS: tuple[Callable[[], Iterator[str]], ...] = (
    every_tile_is_somewhere,
    shares_account_for_what_they_gave,
    copies_are_of_what_is_rendered,
    done_tiles_are_counted,
    active_leases_are_worked_on,
    busy_nodes_hold_a_lease,
    booked_nodes_serve_a_session,
    blocked_nodes_get_no_work,
    gone_nodes_have_nothing,
    events_are_gapless,
    finished_jobs_say_when,
    files_are_there,
)


def _standing() -> QuerySet[Lease]:
    """The leases that stand for their tiles; a copy is one too many."""
    return Lease.objects.filter(is_copy=False)


def _coverage(owner: str, parts: list[_Part], start: int, stop: int) -> Iterator[str]:
    """What keeps `parts` from covering start…stop exactly once."""
    reached, before = start, "its beginning"
    for part in sorted(parts):
        if part.start > reached:
            yield f"{owner}: tiles {reached}…{part.start - 1} are nowhere."
        elif part.start < reached:
            yield f"{owner}: tiles {part.start}…{min(reached, part.stop) - 1} are in {part.holder} and in {before}."
        if part.stop > reached:
            reached, before = part.stop, part.holder
    if reached < stop:
        yield f"{owner}: tiles {reached}…{stop - 1} are nowhere."
    elif reached > stop:
        yield f"{owner}: {before} reaches to tile {reached - 1}, beyond its end {stop - 1}."


def _results(job: Job) -> Iterator[tuple[str, Path]]:
    kept = jobs.files(job)
    paths = {"png": kept.image, "counts": kept.counts, "smooth": kept.smooth}
    return ((output, paths[output]) for output in job.outputs)


@contextmanager
def _snapshot() -> Iterator[None]:
    """All reads see the same moment. Inside a transaction of the caller that is the caller's affair."""
    if connection.in_atomic_block:
        yield
        return
    with connection.cursor() as cursor:
        # Django's own transactions on SQLite take the write lock at once, which would stop the farm for the check.
        cursor.execute(_BEGIN[connection.vendor])
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")
