"""Deliveries: taking the results of leased ranges, and what happens when there are none.

The lease's id fences a result: once the range was given to another, the first answer is refused and leaves nothing.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.db import IntegrityError, transaction
from django.utils import timezone

from rrm.domain import capabilities, tiling
from rrm.domain.states import NODE_WORKING, JobState, LeaseState
from rrm.errors import BadBundle, NotFound, StaleLease, StateConflict, TooLarge
from rrm.farm import blaming, eligible, estimates, fairness, jobs, loading, quarantine, ranges, reports, statements
from rrm.farm.models import HeldModel, Job, Lease, Node
from rrm.farm.transitions import advance, iso, record
from rrm.results.checks import Expected, check
from rrm.results.layout import drafted

logger = logging.getLogger(__name__)

MAX_FAILURES = 3
_SMOOTHING = 0.5  # weight of the newest measurement in the moving averages
_CHUNK = 2**20


def complete(node: Node, lease_id: UUID, body: BinaryIO) -> dict[str, Any]:
    """Take the results of a whole range. Sending the same again is answered the same, without reading them.

    Raises StaleLease when the range is no longer this node's, BadBundle or TooLarge when the results cannot be taken;
    in all three cases nothing of them is kept.
    """
    lease = _lease_of(node, lease_id)
    if lease.state == LeaseState.DONE:
        return {"command": reports.command_for(node)}
    if lease.state != LeaseState.ACTIVE:
        raise StaleLease(f"The range was taken back: {lease.reason}.")
    kept = jobs.files(lease.job).range(lease.pk)
    try:
        with drafted(kept) as draft:
            size = _receive(body, draft)
            bundle = check(draft, _expected(lease))
        _finish(lease, node, sum(tile.render_ms for tile in bundle.header.tiles), size)
    except BadBundle as error:
        logger.warning("Node %s sent unusable results for lease %s: %s", node.name, lease.pk, error)
        raise
    except (StateConflict, IntegrityError, FileNotFoundError, ObjectDoesNotExist):
        # Taken back, taken already (a copy of this upload was faster), or deleted with its job.
        if Lease.objects.filter(pk=lease.pk, state=LeaseState.DONE).exists():
            return {"command": reports.command_for(node)}
        kept.unlink(missing_ok=True)
        raise StaleLease("The range was taken back while its results were on the way.") from None
    fairness.charge(lease, node.cores)
    jobs.finish_if_done(lease.job)
    blaming.settle(lease, timezone.now())
    return {"command": reports.command_for(node)}


def _lease_of(node: Node, lease_id: UUID) -> Lease:
    lease = Lease.objects.select_related("job__model", "share").filter(pk=lease_id, node=node).first()
    if lease is None:
        raise NotFound("This node has no such lease.")
    lease.node = node
    return lease


def _receive(body: BinaryIO, path: Path) -> int:
    """Write the body to `path`; its size in bytes."""
    size = 0
    with path.open("wb") as file:
        while chunk := body.read(_CHUNK):
            size += len(chunk)
            if size > settings.RRM.max_body_bytes:
                raise TooLarge(f"The results of one range may have {settings.RRM.max_body_bytes} bytes.")
            file.write(chunk)
    return size


def _expected(lease: Lease) -> Expected:
    job = lease.job
    return Expected(
        lease=str(lease.pk),
        start=lease.start,
        stop=lease.stop,
        grid=job.grid,
        outputs=frozenset(job.rendered),
        preview_scale=job.preview_scale,
        max_iter=int(job.model.params["max_iter"]),
    )


def _finish(lease: Lease, node: Node, render_ms: float, size: int) -> None:
    """Record the results: the lease, the job's count, the node's, its measured speed, and one event."""
    now = timezone.now()
    # A node cannot have rendered for longer than it had the lease, whatever it says. How long that was nobody knows
    # where the clock was set back meanwhile.
    held = now - lease.created_at if now > lease.created_at else settings.RRM.lease_longest
    render_ms = min(render_ms, held.total_seconds() * 1000 * max(node.cores, 1))
    with transaction.atomic():
        tiles = lease.stop - lease.start
        lease.render_ms, lease.finished_at = render_ms, now
        counted = {"tiles_done": tiles, "warm_hits" if lease.warm else "loads": 1}
        record(lease.job, "tiles", _tiles_event(lease), counted=counted)
        ranges.overtake(lease)
        advance(lease, LeaseState.DONE, finished_at=now, render_ms=render_ms, size_bytes=size)
        had = {"tiles_done": tiles, "busy_seconds": render_ms / 1000 / max(node.cores, 1)}
        statements.update(Node, {"pk": node.pk}, {"last_heartbeat": now}, had)
        _learn_speed(lease, node, render_ms)
        quarantine.succeeded(lease.job.model, lease)
        ranges.release_locked(node)


def _tiles_event(lease: Lease) -> dict[str, Any]:
    node = lease.node
    return {
        "job": str(lease.job_id),
        "lease": str(lease.pk),
        "start": lease.start,
        "stop": lease.stop,
        "site": node.site_id,
        "color": node.site.color,
        "node": str(node.pk),
        "node_name": node.name,
        "hostname": node.hostname,
        "render_ms": round(lease.render_ms, 3),
        "started_at": iso(lease.created_at),
        "finished_at": iso(lease.finished_at or lease.created_at),
        "warm": lease.warm,
    }


def _learn_speed(lease: Lease, node: Node, render_ms: float) -> None:
    """Seconds per pixel with all cores at work, as a moving average; it sizes the next leases."""
    job = lease.job
    grid = job.grid
    pixels = sum(grid.box(tile).pixels for tile in range(lease.start, lease.stop))
    samples = tiling.samples(pixels, job.supersample, adaptive=job.adaptive)
    measured = render_ms / 1000 / max(node.cores, 1) / samples
    now = lease.finished_at or timezone.now()
    _note_speed(node, job.model_id, measured, now)
    estimates.learn_speed(job.model_id, node, measured, now)


def _note_speed(node: Node, model: UUID, measured: float, now: datetime) -> None:
    which = {"node": node.pk, "model": model}
    rows = statements.select(HeldModel, ("pixel_seconds",), which)
    if not rows:
        HeldModel.objects.get_or_create(node=node, model_id=model, defaults={"pixel_seconds": measured})
        return
    known = rows[0][0]
    average = measured if known is None else known + _SMOOTHING * (measured - known)
    statements.update(HeldModel, which, {"pixel_seconds": average, "loading": False, "last_used": now})


def fail(node: Node, lease_id: UUID, tile: int | None, error: str) -> dict[str, Any]:
    """A node could not render its range: it is offered again in halves, until the bad tile stands alone.

    A tile that failed on MAX_FAILURES different nodes fails its job; so does one that failed as often where there is
    no other node to try.
    """
    lease = _lease_of(node, lease_id)
    if lease.state != LeaseState.ACTIVE:
        return {"command": reports.command_for(node)}
    reason = f"tile {tile}: {error}" if tile is not None else error
    with contextlib.suppress(StateConflict), transaction.atomic():
        message = f"{node.name} failed on tiles {lease.start} to {lease.stop - 1}: {reason}"
        # Locks the job's row, as whoever else ends leases or stops the job does first: so the lease may be locked
        # before the shares, though claims lock the shares first. Those make leases, and wait for none.
        record(lease.job, "log", {"level": "warning", "message": message[:1000]})
        ranges.give_back(lease, reason, failed=True)
        if _is_hopeless(lease, node):
            _fail_job(lease, error)
        ranges.release(node)
    return {"command": reports.command_for(node)}


def fail_load(node: Node, lease_id: UUID, error: str) -> dict[str, Any]:
    """A node could not load the model: its range is offered as it is, and `quarantine` counts the failure."""
    lease = _lease_of(node, lease_id)
    if lease.state != LeaseState.ACTIVE:
        return {"command": reports.command_for(node)}
    failed, now = None, timezone.now()
    with contextlib.suppress(StateConflict), transaction.atomic():
        message = f"{node.name} could not load the model: {error}"
        record(lease.job, "log", {"level": "warning", "message": message[:1000]})
        ranges.give_back(lease, f"the model was not loaded: {error}")
        loading.failed(node, lease.job.model)
        ranges.release(node)
        failed = quarantine.count(node, lease.job.model_id, now)
    _settle_load(failed, error[:300], now)
    return {"command": reports.command_for(node)}


def fail_preload(node: Node, digests: Iterable[str], now: datetime) -> None:
    """The node could not load what it was told to: it is not told again, and `quarantine` counts the failure."""
    for told in node.held.filter(loading=True, model__digest__in=list(digests)):
        with transaction.atomic():
            is_news = bool(told.delete()[0])
            failed = quarantine.count(node, told.model_id, now, in_advance=True) if is_news else None
        _settle_load(failed, "it was to be loaded in advance", now)


def _settle_load(failed: quarantine.Failed | None, error: str, now: datetime) -> None:
    if failed and (reason := quarantine.tell(failed, error, now)):
        _fail_all(quarantine.waiting_for(failed.model), reason, now)


def _fail_all(hopeless: Iterable[Job], reason: str, now: datetime) -> None:
    for job in hopeless:
        with contextlib.suppress(StateConflict), transaction.atomic():
            advance(job, JobState.FAILED, reason, finished_at=now)
            ranges.take_back(job, "the job failed")


def _is_hopeless(lease: Lease, node: Node) -> bool:
    """Whether a single tile has failed often enough, on different nodes or on all there are, and nobody tries it."""
    if lease.stop - lease.start > 1 or ranges.has_twin(lease):
        return False
    times, blamed = ranges.failures(lease)
    if len(blamed) >= MAX_FAILURES:
        return True
    sites = [lease.share.site_id] if lease.share.site_id else lease.job.site_ids
    working = Node.objects.filter(resource=node.resource_id, state__in=NODE_WORKING)
    bound_to = capabilities.able(sites, lease.job.requires, eligible.offers().get(node.resource_id, {}))
    able = [other for other in working if other.takes_ranges and (bound_to is None or other.site_id in bound_to)]
    others = [other for other in able if other.name not in blamed]
    return not others and times >= MAX_FAILURES


def _fail_job(lease: Lease, error: str) -> None:
    job = Job.objects.get(pk=lease.job_id)
    row, col = divmod(lease.start, job.tile_cols)
    with contextlib.suppress(StateConflict):
        advance(
            job,
            JobState.FAILED,
            f"Tile {lease.start} (row {row}, column {col}) failed {MAX_FAILURES} times: {error}",
            finished_at=timezone.now(),
        )
        ranges.take_back(job, "the job failed", lease.node)
        blaming.acquit(job)


def expire(now: datetime) -> int:
    """Take back the ranges whose deadline has passed; how many. Safe to run anywhere, any number of times."""
    overdue = Lease.objects.filter(state=LeaseState.ACTIVE, deadline__lt=now).select_related("node", "share")
    taken = 0
    for lease in overdue:
        with contextlib.suppress(StateConflict), transaction.atomic():
            ranges.give_back(lease, f"no result by {iso(lease.deadline)}")
            ranges.release(lease.node)
            taken += 1
    return taken
