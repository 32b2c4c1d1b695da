"""Leases: giving ranges of tiles to nodes that ask, and taking their results.

A node asks, `domain.scheduling` picks a job, and one compare-and-swap on a share's cursor makes the range that node's
until the deadline. The lease's id fences the result: once the range is given to another, the first answer is refused.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from rrm.domain import scheduling, tiling
from rrm.domain.states import JOB_OFFERED, NODE_WORKING, JobState, LeaseState, NodeState
from rrm.errors import BadBundle, NotFound, StaleLease, StateConflict, TooLarge
from rrm.farm import jobs, nodes, ranges
from rrm.farm.models import HeldModel, Job, JobShare, Lease, Node
from rrm.farm.transitions import advance, iso, record
from rrm.results.checks import Expected, check
from rrm.results.layout import drafted

logger = logging.getLogger(__name__)

AHEAD = 3  # leases a node may hold: the one it uploads, the one it renders, and the next
MAX_FAILURES = 3
_CANDIDATES = 200
_TRIES = 5
_SMOOTHING = 0.3  # weight of the newest measurement in the moving averages
_CHUNK = 2**20


def next_lease(node: Node, report: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """What a node that asks for work should do: {"command", "lease", "retry_after"}.

    A lease whose answer was lost on the way is handed out again. None as lease means that there is nothing to do.
    """
    answer = nodes.heartbeat(node, report, now)
    command = answer["command"]
    if command != "run":
        return {"command": command, "lease": None, "retry_after": 0}
    held = list(node.leases.filter(state=LeaseState.ACTIVE).select_related("job", "job__model", "share"))
    in_hand = set(report.get("leases", ()))
    lost = next((lease for lease in held if str(lease.pk) not in in_hand), None)
    lease = lost or (_claim(node, now) if len(held) < AHEAD else None)
    return {"command": command, "lease": _offer(lease) if lease else None, "retry_after": 0 if lease else 1}


@dataclass(frozen=True)
class _Facts:
    """What one decision is made on: the open shares, and the nodes that could take them."""

    shares: Sequence[JobShare]
    working: Sequence[Node]
    models: Mapping[UUID, Mapping[str, HeldModel]]  # node → model → what it holds


def _claim(node: Node, now: datetime) -> Lease | None:
    """A new lease for `node`, or None when nothing is worth giving. Rivals make it choose again, a few times."""
    for _ in range(_TRIES):
        facts = _facts(node)
        if not facts.shares:
            return None
        choice = scheduling.choose(
            _node_facts(node, facts), _job_facts(facts), scheduling.Holders.of(_rivals(node, facts)), now
        )
        if choice is None:
            return None
        share = next(share for share in facts.shares if str(share.job_id) == choice.job_id)
        with contextlib.suppress(StateConflict):
            return _take(node, share, choice, facts, now)
    return None


def _facts(node: Node) -> _Facts:
    open_to_it = Q(site=None) | Q(site=node.site_id)
    shares = (
        JobShare.objects.filter(
            open_to_it, job__state__in=JOB_OFFERED, job__resource=node.resource_id, cursor__lt=F("stop")
        )
        .select_related("job", "job__model")
        .order_by("job__created_at", "start", "id")[:_CANDIDATES]
    )
    working = list(Node.objects.filter(resource=node.resource_id, state__in=NODE_WORKING))
    models: dict[UUID, dict[str, HeldModel]] = {}
    for held in HeldModel.objects.filter(node__in=working):
        models.setdefault(held.node_id, {})[str(held.model_id)] = held
    return _Facts([share for share in shares if _fits(share, node, working)], working, models)


def _fits(share: JobShare, node: Node, working: Sequence[Node]) -> bool:
    """Whether the node's site may take it; a node that failed on these tiles leaves them to one that has not."""
    sites = share.job.site_ids
    if sites and node.site_id not in sites:
        return False
    if node.name not in share.failed_on:
        return True
    able = (other for other in working if not sites or other.site_id in sites)
    return all(other.name in share.failed_on for other in able)


def _node_facts(node: Node, facts: _Facts) -> scheduling.NodeFacts:
    return scheduling.NodeFacts(
        id=str(node.pk),
        resource=node.resource_id,
        site=node.site_id,
        held=frozenset(facts.models.get(node.pk, {})),
        streak=node.streak,
    )


def _rivals(node: Node, facts: _Facts) -> Iterable[scheduling.NodeFacts]:
    busy = settings.RRM.lease_target.total_seconds()
    for other in facts.working:
        if other.pk != node.pk:
            yield scheduling.NodeFacts(
                id=str(other.pk),
                resource=other.resource_id,
                site=other.site_id,
                held=frozenset(facts.models.get(other.pk, {})),
                busy_seconds=busy if other.state != NodeState.IDLE else 0.0,
            )


def _job_facts(facts: _Facts) -> list[scheduling.JobFacts]:
    open_shares: dict[UUID, list[JobShare]] = {}
    for share in facts.shares:
        open_shares.setdefault(share.job_id, []).append(share)
    return [_one_job(shares, facts) for shares in open_shares.values()]


def _one_job(shares: Sequence[JobShare], facts: _Facts) -> scheduling.JobFacts:
    job = shares[0].job
    tiles = sum(share.stop - share.cursor for share in shares)
    pixel_seconds = _known_speed(str(job.model_id), facts)
    return scheduling.JobFacts(
        id=str(job.pk),
        resource=job.resource_id,
        model=str(job.model_id),
        owner=str(job.owner_id),
        priority=job.priority,
        created_at=job.created_at,
        remaining_seconds=tiles * job.tile_size**2 * pixel_seconds,
        load_seconds=job.model.load_seconds or 0.0,
    )


def _known_speed(model: str, facts: _Facts) -> float:
    measured = [held[model].pixel_seconds for held in facts.models.values() if model in held]
    known = [seconds for seconds in measured if seconds]
    return sum(known) / len(known) if known else 1e-7


def _take(node: Node, share: JobShare, choice: scheduling.Choice, facts: _Facts, now: datetime) -> Lease:
    """Claim the front of `share` for `node`, or raise StateConflict when a rival was faster."""
    job, start = share.job, share.cursor
    held = facts.models.get(node.pk, {}).get(choice.model)
    size = tiling.range_size(
        remaining=share.stop - start,
        nodes=len(facts.working),
        cores=node.cores,
        tile_pixels=job.tile_size**2,
        # The first range of a job is small, whatever is known: somebody waits for the first tile.
        pixel_seconds=held.pixel_seconds if held and job.started_at else None,
        target_seconds=settings.RRM.lease_target.total_seconds(),
    )
    stop = min(start + size, start + (share.at_most or size))
    with transaction.atomic():
        if not JobShare.objects.filter(pk=share.pk, cursor=start).update(cursor=stop):
            raise StateConflict("Another node was faster.")
        _begin(node, job, choice, now)
        return Lease.objects.create(
            job=job,
            share=share,
            node=node,
            start=start,
            stop=stop,
            decision=choice.reason,
            warm=choice.warm,
            created_at=now,
            deadline=now + settings.RRM.lease_minimum,
        )


def _begin(node: Node, job: Job, choice: scheduling.Choice, now: datetime) -> None:
    """Mark that `node` works on `job`; the first lease of either changes its state."""
    if job.state == JobState.QUEUED:
        advance(job, JobState.RUNNING, started_at=job.started_at or now)
    count = {"warm_hits": F("warm_hits") + 1} if choice.warm else {"loads": F("loads") + 1}
    # The state is part of the claim: a job that was cancelled or paused meanwhile gives nothing.
    if not Job.objects.filter(pk=job.pk, state=JobState.RUNNING).update(**count):
        raise StateConflict(f"Job {job.pk} is no longer offered.")
    if node.state == NodeState.IDLE:
        advance(node, NodeState.BUSY, idle_since=None)
    if not Node.objects.filter(pk=node.pk, state=NodeState.BUSY).update(streak=choice.streak):
        raise StateConflict(f"Node {node.name} no longer takes work.")
    HeldModel.objects.update_or_create(node=node, model_id=job.model_id, defaults={"last_used": now})


def _offer(lease: Lease) -> dict[str, Any]:
    """The lease as the node gets it."""
    job, model = lease.job, lease.job.model
    return {
        "id": str(lease.pk),
        "deadline_seconds": max(0.0, (lease.deadline - timezone.now()).total_seconds()),
        "job": str(job.pk),
        "start": lease.start,
        "stop": lease.stop,
        "width": job.width,
        "height": job.height,
        "tile_size": job.tile_size,
        "tile_cols": job.tile_cols,
        "tile_rows": job.tile_rows,
        "model": {"digest": model.digest, "renderer": model.renderer, "params": model.params},
        "view": job.view,
        "outputs": job.outputs,
        "preview_scale": job.preview_scale,
        "coloring": job.palette,
    }


def complete(node: Node, lease_id: UUID, body: BinaryIO) -> dict[str, Any]:
    """Take the results of a whole range. Sending the same again is answered the same, without reading them.

    Raises StaleLease when the range is no longer this node's, BadBundle or TooLarge when the results cannot be taken;
    in all three cases nothing of them is kept.
    """
    lease = _lease_of(node, lease_id)
    if lease.state == LeaseState.DONE:
        return {"command": nodes.command_for(node)}
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
    except StateConflict:
        _discard_unless_done(lease, kept)
        raise StaleLease("The range was taken back while its results were on the way.") from None
    jobs.finish_if_done(lease.job)
    return {"command": nodes.command_for(node)}


def _lease_of(node: Node, lease_id: UUID) -> Lease:
    lease = (
        Lease.objects.select_related("job", "job__model", "share", "node", "node__site")
        .filter(pk=lease_id, node=node)
        .first()
    )
    if lease is None:
        raise NotFound("This node has no such lease.")
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


def grid_of(job: Job) -> tiling.TileGrid:
    return tiling.TileGrid(job.width, job.height, job.tile_size)


def _expected(lease: Lease) -> Expected:
    job = lease.job
    return Expected(
        lease=str(lease.pk),
        start=lease.start,
        stop=lease.stop,
        grid=grid_of(job),
        outputs=frozenset(job.outputs),
        preview_scale=job.preview_scale,
        max_iter=int(job.model.params["max_iter"]),
    )


def _finish(lease: Lease, node: Node, render_ms: float, size: int) -> None:
    """Record the results: the lease, the job's count, the node's, its measured speed, and one event."""
    now = timezone.now()
    with transaction.atomic():
        # Job, lease, node: rows are locked in this order everywhere, so that no two transactions wait for each other.
        Job.objects.filter(pk=lease.job_id).update(tiles_done=F("tiles_done") + lease.stop - lease.start)
        advance(lease, LeaseState.DONE, finished_at=now, render_ms=render_ms, size_bytes=size)
        record(lease.job, "tiles", _tiles_event(lease))
        Node.objects.filter(pk=node.pk).update(
            tiles_done=F("tiles_done") + lease.stop - lease.start,
            busy_seconds=F("busy_seconds") + render_ms / 1000 / max(node.cores, 1),
            last_heartbeat=now,
        )
        _learn_speed(lease, node, render_ms)
        ranges.release(node)


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
    grid = grid_of(lease.job)
    pixels = sum(grid.box(tile).pixels for tile in range(lease.start, lease.stop))
    measured = render_ms / 1000 / max(node.cores, 1) / pixels
    held, _ = HeldModel.objects.get_or_create(node=node, model_id=lease.job.model_id)
    known = held.pixel_seconds
    held.pixel_seconds = measured if known is None else known + _SMOOTHING * (measured - known)
    held.save(update_fields=["pixel_seconds"])


def _discard_unless_done(lease: Lease, kept: Path) -> None:
    """Remove results that were refused; a rival copy of the same upload may have been taken meanwhile."""
    if not Lease.objects.filter(pk=lease.pk, state=LeaseState.DONE).exists():
        kept.unlink(missing_ok=True)


def fail(node: Node, lease_id: UUID, tile: int | None, error: str) -> dict[str, Any]:
    """A node could not render its range: it is offered again in halves, until the bad tile stands alone.

    A single tile that failed MAX_FAILURES times, on different nodes if there are any, fails its job.
    """
    lease = _lease_of(node, lease_id)
    if lease.state != LeaseState.ACTIVE:
        return {"command": nodes.command_for(node)}
    reason = f"tile {tile}: {error}" if tile is not None else error
    with transaction.atomic():
        message = f"{node.name} failed on tiles {lease.start} to {lease.stop - 1}: {reason}"
        record(lease.job, "log", {"level": "warning", "message": message[:1000]})
        ranges.give_back(lease, reason, failed=True)
        if lease.stop - lease.start == 1 and lease.share.failures + 1 >= MAX_FAILURES:
            _fail_job(lease, error)
        ranges.release(node)
    return {"command": nodes.command_for(node)}


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
        ranges.take_back(job, "the job failed")


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
