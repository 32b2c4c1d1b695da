"""Jobs: taking an order, and what its owner may do with it afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Q, Sum
from django.utils import timezone

from rrm.domain import capabilities, coloring, mandelbrot, orders, tiling
from rrm.domain.states import JOB_FINAL, JOB_OFFERED, JobState, LeaseState
from rrm.errors import IdempotencyMismatch, Invalid, NotFound, StateConflict
from rrm.farm import catalog, colormaps, eligible, fairness, quotas, ranges, statements, wakeups
from rrm.farm.models import IdempotencyKey, Job, JobShare, Lease, RenderModel, Resource, Site
from rrm.farm.transitions import advance, record
from rrm.results.layout import JobFiles

logger = logging.getLogger(__name__)

_TRIES = 3


def submit(owner: User, order: object, *, key: str = "") -> tuple[Job, bool]:
    """Store the job that `order` asks for; the flag says whether it is new.

    With `key`, the same order sent twice is one job. Raises Invalid with every bad field, IdempotencyMismatch, or
    TooMany.
    """
    return accept(owner, order, key, lambda: _draft(owner, order))


def accept(owner: User, request: object, key: str, make: Callable[[], tuple[Job, list[JobShare]]]) -> tuple[Job, bool]:
    """Store the job and shares that `make` drafts, or find the one that `key` made earlier of the same request."""
    fingerprint = _fingerprint(request)
    earlier = _earlier(owner, key, fingerprint) if key else None
    if earlier:
        return earlier, False
    draft, parts = make()
    try:
        with transaction.atomic():
            _admit(draft)
            _store(draft, parts)
            if key:
                IdempotencyKey.objects.create(user=owner, key=key, fingerprint=fingerprint, job=draft)
    except IntegrityError:
        earlier = _earlier(owner, key, fingerprint) if key else None
        if earlier is None:
            raise
        return earlier, False
    return draft, True


def _admit(job: Job) -> None:
    """Let the job's owner in with one more unfinished job. Raises TooMany."""
    quota = quotas.locked(job.owner)
    quotas.admit_job(quota, job.width * job.height)
    fairness.join(quota)


def _fingerprint(order: object) -> str:
    return hashlib.sha256(json.dumps(order, sort_keys=True, default=str).encode()).hexdigest()


def _earlier(owner: User, key: str, fingerprint: str) -> Job | None:
    kept = IdempotencyKey.objects.filter(user=owner, key=key).select_related("job").first()
    if kept is None:
        return None
    if kept.fingerprint != fingerprint:
        raise IdempotencyMismatch(f"The key {key!r} belongs to job {kept.job_id}, which was ordered differently.")
    return kept.job


def _draft(owner: User, body: object) -> tuple[Job, list[JobShare]]:
    """The unsaved job and shares. Every check that can be made is made, so that all complaints come at once."""
    limits = orders.Limits(settings.RRM.max_pixels, settings.RRM.max_tiles)
    order = _order(body, limits)
    with Invalid.collected() as check:
        look = check(lambda: coloring.parse(order.coloring, colormaps.palettes()))
        check(lambda: coloring.check_sampling(look, order.supersample) if look else None)
        resource = check(lambda: resource_for(order.resource))
        sites = check(lambda: _sites(order, resource)) or []
        model = check(lambda: _render_model(order))
        view = check(lambda: mandelbrot.geometry(model.params, order.width, order.height).as_dict()) if model else None
        if look and model and view:
            check(lambda: coloring.check_view(look, model.params, view))
    grid = tiling.TileGrid(order.width, order.height, order.tile_size)
    draft = Job(
        name=order.name,
        owner=owner,
        resource=resource,
        model=model,
        width=order.width,
        height=order.height,
        tile_size=order.tile_size,
        tile_cols=grid.cols,
        tile_rows=grid.rows,
        tiles=grid.tiles,
        outputs=list(order.outputs),
        coloring=dict(order.coloring),
        palette=look,
        view=view,
        preview_scale=tiling.preview_scale(order.width, order.height),
        supersample=order.supersample,
        adaptive=order.adaptive,
        priority=order.priority,
        **_where(order, sites),
        deadline=order.deadline,
    )
    return draft, _shares(draft, sites)


def _where(order: orders.Order, sites: Sequence[Site]) -> dict[str, Any]:
    """The fields of a job that say where it may be rendered."""
    return {
        "site_policy": order.site_policy,
        "site_ids": [site.pk for site in sites],
        "site_index": "".join(f"|{site.pk}" for site in sites) + "|" if sites else "",
        "requires_index": capabilities.index(order.requires),
    }


def _order(body: object, limits: orders.Limits) -> orders.Order:
    """The order. Raises Invalid with every bad field, those of its parts included."""
    try:
        return orders.parse(body, limits, timezone.now())
    except Invalid as refused:
        raise Invalid(refused.errors | _complaints(body)) from None


def _complaints(body: object) -> dict[str, list[str]]:
    """What is wrong within the parts of an order, whatever is wrong beside them."""
    parts = body if isinstance(body, Mapping) else {}
    readers: dict[str, Callable[[Any], object]] = {
        "coloring": lambda part: coloring.parse(part, colormaps.palettes()),
        "params": mandelbrot.canonical,
    }
    complaints: dict[str, list[str]] = {}
    for field in readers.keys() & parts.keys():
        try:
            if isinstance(parts[field], Mapping):
                readers[field](parts[field])
        except Invalid as refused:
            complaints |= refused.errors
    return complaints


def resource_for(wanted: str | None) -> Resource:
    """The resource that renders jobs of this id; None: the only one. Raises Invalid."""
    found = Resource.objects.filter(renderer=Resource.Renderer.MANDELBROT)
    if wanted is None:
        enabled = list(found.filter(enabled=True)[:2])
        if len(enabled) == 1:
            return enabled[0]
        raise Invalid(
            "resource",
            "Name the resource that is to render this." if enabled else "No resource that renders this is enabled.",
        )
    resource = found.filter(pk=wanted).first()
    if resource is None:
        raise Invalid("resource", f"There is no resource {wanted!r} that renders jobs.")
    if not resource.enabled:
        raise Invalid("resource", f"The resource {wanted!r} is disabled.")
    return resource


def _sites(order: orders.Order, resource: Resource | None) -> list[Site]:
    """The sites that an order names. Raises Invalid for those that cannot render it, and where no site can."""
    if resource is None or not (order.site_ids or order.requires):
        return []
    known = {site.pk: site for site in resource.sites.filter(enabled=True).order_by("placements__position")}
    strangers = [site for site in order.site_ids if site not in known]
    if strangers:
        raise Invalid("sites", f"The resource {resource.pk!r} has no enabled site {', '.join(strangers)}.")
    named = [known[site] for site in order.site_ids]
    eligible.check(resource, named, list(known.values()), order.requires)
    return named


def _render_model(order: orders.Order) -> RenderModel:
    model = render_model(order.model, order.params)
    if model is None:
        raise AssertionError("unreachable: an order has a model or parameters")
    return model


def render_model(wanted: object, params: object) -> RenderModel | None:
    """The model with these parameters, or of this id or name; None where neither is given. Raises Invalid."""
    if params is not None:
        return catalog.render_model("mandelbrot", params)[0]
    if wanted is None:
        return None
    name = str(wanted)
    match = Q(pk=name) if orders.is_uuid(name) else Q(name=name)
    model = RenderModel.objects.filter(match).first()
    if model is None:
        raise Invalid("model", f"There is no model {name!r}.")
    return model


def _shares(job: Job, sites: Sequence[Site]) -> list[JobShare]:
    owners: Sequence[Site | None] = sites if job.site_policy == Job.SitePolicy.SPLIT else [None]
    parts = tiling.shares(job.tiles, len(owners))
    return [
        JobShare(job=job, site=owner, start=start, stop=stop, cursor=start)
        for owner, (start, stop) in zip(owners, parts, strict=False)
    ]


def _store(draft: Job, parts: list[JobShare]) -> None:
    draft.save(force_insert=True)
    JobShare.objects.bulk_create(parts)
    record(draft, "state", {"state": draft.state, "reason": "", "name": draft.name}, actor=draft.owner.get_username())
    wakeups.announce_work()
    wakeups.wake("rrm.autoscale")


def cancel(job: Job, actor: str) -> None:
    """End the job; ranges that nodes are at work on are taken back and their results refused."""
    with transaction.atomic():
        _move(job, JobState.CANCELLED, f"Cancelled by {actor}", actor=actor, finished_at=timezone.now())
        ranges.take_back(job, "the job was cancelled")


def _move(job: Job, target: JobState, reason: str = "", *, actor: str, **changes: Any) -> None:
    """What a person asks for holds against a state that changes at the same moment, as long as it stays allowed."""
    for _ in range(_TRIES):
        _refresh(job)
        with contextlib.suppress(StateConflict):
            return advance(job, target, reason, actor=actor, **changes)
    _refresh(job)
    raise StateConflict(f"The job is {job.state}, which does not lead to {target}.")


def _refresh(job: Job) -> None:
    try:
        job.refresh_from_db()
    except Job.DoesNotExist:
        raise NotFound("The job was deleted meanwhile.") from None


def pause(job: Job, actor: str) -> None:
    """Give out no more ranges; those being rendered are finished."""
    _move(job, JobState.PAUSED, f"Paused by {actor}", actor=actor)


def resume(job: Job, actor: str) -> None:
    """Offer the job again."""
    _refresh(job)
    if job.state != JobState.PAUSED:
        raise StateConflict(f"The job is {job.state}, not PAUSED.")
    with transaction.atomic():
        _move(job, JobState.RUNNING if job.started_at else JobState.QUEUED, actor=actor)
        wakeups.announce_work()
        wakeups.wake("rrm.autoscale")
    finish_if_done(job)


def retry(job: Job, actor: str) -> None:
    """Offer the tiles of a failed or cancelled job that are not done; the done ones are kept. Raises TooMany."""
    with transaction.atomic():
        found = Job.objects.select_for_update(no_key=True).select_related("owner").filter(pk=job.pk).first()
        if found is not None and found.state in JOB_FINAL:
            _admit(found)
        _move(job, JobState.QUEUED, actor=actor, finished_at=None)
        job.shares.update(failures=0, failed_on=[])
        wakeups.announce_work()
        wakeups.wake("rrm.autoscale")
    finish_if_done(job)


def edit(job: Job, changes: Mapping[str, Any], actor: str) -> None:
    """Change the name or the priority. Raises Invalid for other fields and unusable values."""
    accepted = orders.parse_changes(changes)
    if not accepted:
        return
    said = ", ".join(f"{field} is now {value!r}" for field, value in sorted(accepted.items()))
    with transaction.atomic():
        _refresh(job)
        record(job, "log", {"level": "info", "message": f"{said} (changed by {actor})"}, actor=actor, changes=accepted)
    _refresh(job)


def delete(job: Job, actor: str) -> None:
    """Forget a finished job and its files. Raises StateConflict for one that is not finished."""
    kept = files(job)
    with transaction.atomic():
        # Locked, so that it cannot be retried while it goes.
        job = Job.objects.select_for_update(no_key=True).filter(pk=job.pk).first() or job
        if job.state not in JOB_FINAL:
            raise StateConflict(f"The job is {job.state}; cancel it before it is deleted.")
        record(job.resource, "log", {"level": "info", "message": f"Job {job.pk} deleted by {actor}"}, actor=actor)
        job.delete()
        transaction.on_commit(kept.remove, robust=True)


def files(job: Job) -> JobFiles:
    return JobFiles(settings.RRM.data_dir / "jobs", job.pk)


def finish_if_done(job: Job) -> None:
    """Move a job without missing tiles to COMPOSING. Whoever sees it may try; one wins.

    To be called after the commit of the last tile: two last tiles cannot see each other before.
    """
    found = statements.select(Job, ("state", "tiles", "tiles_done"), {"pk": job.pk})
    if not any(state in JOB_OFFERED and tiles == done for state, tiles, done in found):
        return
    job = Job.objects.get(pk=job.pk)
    try:
        with transaction.atomic():
            advance(job, JobState.COMPOSING)
            wakeups.wake("rrm.compose", str(job.pk))
    except StateConflict:
        logger.debug("Job %s was moved on by somebody else", job.pk)


def progress(job: Job, now: datetime) -> dict[str, Any]:
    """How far the job is: tiles, done, percent, tiles_per_second, eta_seconds (None while it cannot be told)."""
    elapsed = ((job.finished_at or now) - job.started_at).total_seconds() if job.started_at else 0.0
    rate = job.tiles_done / elapsed if elapsed > 0 else 0.0
    known = rate > 0 and job.state == JobState.RUNNING
    return {
        "tiles": job.tiles,
        "done": job.tiles_done,
        "percent": round(100 * job.tiles_done / job.tiles, 2),
        "tiles_per_second": round(rate, 3),
        "eta_seconds": round((job.tiles - job.tiles_done) / rate, 1) if known else None,
    }


def by_site(jobs: Sequence[Job]) -> dict[UUID, list[dict[str, Any]]]:
    """For each job the tiles and mean render time of each site and node that finished any; one query for all jobs."""
    rows = (
        Lease.objects.filter(job__in=jobs, state=LeaseState.DONE)
        .order_by()
        .values("job", "node", "node__name", "node__hostname", "node__site", "node__site__color")
        .annotate(tiles=Sum("stop") - Sum("start"), render_ms=Sum("render_ms"))
        .order_by("node__site", "node__name")
    )
    result: dict[UUID, list[dict[str, Any]]] = {job.pk: [] for job in jobs}
    for row in rows:
        sites = result[row["job"]]
        if not sites or sites[-1]["site"] != row["node__site"]:
            site, color = row["node__site"], row["node__site__color"]
            sites.append({"site": site, "color": color, "tiles": 0, "render_ms": 0.0, "nodes": []})
        sites[-1]["tiles"] += row["tiles"]
        sites[-1]["render_ms"] += row["render_ms"]
        sites[-1]["nodes"].append(
            {
                "node": str(row["node"]),
                "name": row["node__name"],
                "hostname": row["node__hostname"],
                "tiles": row["tiles"],
                "mean_render_ms": round(row["render_ms"] / row["tiles"], 3),
            }
        )
    for sites in result.values():
        for entry in sites:
            entry["mean_render_ms"] = round(entry.pop("render_ms") / entry["tiles"], 3)
    return result
