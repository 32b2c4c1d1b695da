"""The farm at one instant, for dashboards and metrics, in a constant number of queries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, F, Sum

from rrm.domain import autoscaling
from rrm.domain.states import (
    JOB_OFFERED,
    NODE_GONE,
    NODE_LIVE,
    NODE_STARTING,
    NODE_WORKING,
    SESSION_OPEN,
    LeaseState,
    NodeState,
    SessionState,
)
from rrm.farm import decisions, preloading, promises
from rrm.farm.models import FarmSwitches, HeldModel, Job, JobShare, Lease, Loop, Node, Resource, Session, Site
from rrm.farm.transitions import iso
from rrm.farm.waiting import summaries

_RECENTLY_GONE = timedelta(minutes=10)
_OVERDUE = 4  # periods after which a loop counts as stuck


def farm_snapshot(now: datetime) -> dict[str, Any]:
    """Sites, resources, nodes, the queue by model, and how well stickiness works.

    Many queries: call it in `reading.one_instant`, so that they fit together.
    """
    nodes = list(_nodes(now))
    resources = resource_bodies(Resource.objects.all(), now)
    waiting = _queue()
    status, reason = _farm_status(resources)
    ever = _stickiness()
    return {
        "time": iso(now),
        "status": status,
        "reason": reason,
        "sites": _sites(nodes),
        "resources": resources,
        "nodes": node_bodies(nodes),
        "queue": waiting,
        "sessions": sessions_body(),
        "preloads": _preloads(now),
        **ever,
        "decisions": decisions.within(decisions.lately(now), ever),
        "loops": loops(now),
    }


def _nodes(now: datetime) -> Iterable[Node]:
    live = Node.objects.filter(state__in=NODE_LIVE)
    recent = Node.objects.filter(state__in=NODE_GONE, finished_at__gt=now - _RECENTLY_GONE)
    return (live | recent).select_related("site").order_by("-requested_at")[:500]


def node_bodies(nodes: Sequence[Node]) -> list[dict[str, Any]]:
    """Nodes as the API shows them, with the models they hold and the job or session they serve; three queries."""
    models: dict[Any, list[str]] = {}
    for node, model in HeldModel.objects.filter(node__in=nodes).values_list("node", "model"):
        models.setdefault(node, []).append(str(model))
    at_work = dict(
        Lease.objects.filter(node__in=nodes, state=LeaseState.ACTIVE).order_by("-created_at").values_list("node", "job")
    )
    booked = dict(Session.objects.filter(node__in=nodes, state=SessionState.READY).values_list("node", "pk"))
    return [
        {
            "id": str(node.pk),
            "name": node.name,
            "resource": node.resource_id,
            "site": node.site_id,
            "color": node.site.color,
            "state": str(node.state),
            "state_since": iso(node.state_since),
            "reason": node.reason,
            "handle": node.handle,
            "hostname": node.hostname,
            "address": node.address,
            "version": node.version,
            "cores": node.cores,
            "models": models.get(node.pk, []),
            "session": str(booked[node.pk]) if node.pk in booked else None,
            "job": str(at_work[node.pk]) if node.pk in at_work else None,
            "blames": node.blames,
            "tiles_done": node.tiles_done,
            "busy_seconds": round(node.busy_seconds, 3),
            "requested_at": iso(node.requested_at),
            "started_at": _iso(node.started_at),
            "last_heartbeat": _iso(node.last_heartbeat),
            "ends_at": _iso(node.ends_at),
            "finished_at": _iso(node.finished_at),
        }
        for node in nodes
    ]


def _iso(instant: datetime | None) -> str | None:
    return iso(instant) if instant else None


def _sites(nodes: Sequence[Node]) -> list[dict[str, Any]]:
    states: dict[str, Counter[str]] = {}
    for node in nodes:
        states.setdefault(node.site_id, Counter())[str(node.state)] += 1
    done = dict(Node.objects.order_by().values_list("site").annotate(tiles=Sum("tiles_done")))
    return [
        {
            "id": site.pk,
            "name": site.name or site.pk,
            "kind": site.kind,
            "color": site.color,
            "enabled": site.enabled,
            "max_nodes": site.max_nodes,
            "nodes": dict(states.get(site.pk, {})),
            "tiles_done": done.get(site.pk, 0),
            "problem": site.problem,
        }
        for site in Site.objects.all()
    ]


def resource_bodies(resources: Iterable[Resource], now: datetime) -> list[dict[str, Any]]:
    """What the farm shows of resources: limits, the status word with its reason, and the autoscaler's last plan."""
    listed = list(resources)
    states = resource_states(listed, now)
    return [
        {
            "id": resource.pk,
            "name": resource.name or resource.pk,
            "renderer": resource.renderer,
            "status": states[resource.pk][0],
            "reason": states[resource.pk][1],
            "min_nodes": resource.min_nodes,
            "max_nodes": resource.max_nodes,
            "plan": resource.last_plan or None,
        }
        for resource in listed
    ]


_DISABLED = "It is disabled."


def resource_states(resources: Sequence[Resource], now: datetime) -> dict[str, tuple[str, str]]:
    """Status and reason of each resource: active, idle, starved, suspended or inoperable; a constant number of queries.

    Where work waits and no node is at it, the reason tells how many jobs wait for what, and of the next one why.
    """
    ids = [resource.pk for resource in resources]
    busy = _count(Node.objects.filter(resource__in=ids, state=NodeState.BUSY))
    booked = _count(Node.objects.filter(resource__in=ids, state=NodeState.BOOKED))
    live = _count(Node.objects.filter(resource__in=ids, state__in=NODE_WORKING | NODE_STARTING))
    waiting = _count(Job.objects.filter(resource__in=ids, state__in=JOB_OFFERED))
    people = _count(Session.objects.filter(resource__in=ids, state=SessionState.PENDING, opened_at__isnull=False))
    reasons = summaries([resource for resource in ids if resource in waiting and resource not in busy])
    return {
        resource.pk: _state_of(
            resource,
            now,
            (busy.get(resource.pk, 0), booked.get(resource.pk, 0)),
            live.get(resource.pk, 0),
            (waiting.get(resource.pk, 0), people.get(resource.pk, 0)),
            reasons.get(resource.pk, ""),
        )
        for resource in resources
    }


def _count(rows: Any) -> dict[str, int]:
    return dict(rows.order_by().values_list("resource").annotate(rows=Count("pk")))


def _state_of(
    resource: Resource, now: datetime, at_work: tuple[int, int], live: int, waiting: tuple[int, int], why: str
) -> tuple[str, str]:
    """`at_work`: how many nodes render, and how many are booked. `waiting`: how many jobs, and people."""
    jobs, people = waiting
    if not resource.enabled:
        return "suspended", " ".join([_DISABLED, *_who_waits(jobs, people)])
    if resource.launch_failures >= autoscaling.FAILURES_ALLOWED:
        return "inoperable", f"{resource.launch_failures} nodes in a row could not be started. {resource.reason}"
    busy, booked = at_work
    if busy:
        return "active", f"{busy + booked} node{_s(busy + booked)} at work."
    if booked:
        said = (f"{booked} node{_s(booked)} at work for people.", *_who_waits(0, people), why)
        return "active", " ".join(said).strip()
    if not jobs and not people:
        return "idle", "There is no work."
    backs_off = resource.retry_at is not None and resource.retry_at > now
    is_wanted = not resource.last_plan or resource.last_plan.get("want")  # not so where no node may run for any job
    under_way = f"{jobs} job{_s(jobs)} under way at nodes that leave." if jobs else ""
    told = " ".join([*_who_waits(0, people), why or under_way])
    return "active" if live and is_wanted and not backs_off else "starved", told.strip()


def _who_waits(jobs: int, people: int) -> Iterator[str]:
    if jobs:
        yield f"{jobs} job{_s(jobs)} wait{'s' if jobs == 1 else ''}."
    if people:
        yield f"{people} {'person waits' if people == 1 else 'people wait'} for a renderer."


def _s(number: int) -> str:
    return "" if number == 1 else "s"


def _queue() -> list[dict[str, Any]]:
    """Unclaimed tiles and jobs by model, most tiles first."""
    rows = (
        JobShare.objects.filter(job__state__in=JOB_OFFERED, cursor__lt=F("stop"))
        .order_by()
        .values("job__model", "job__model__name")
        .annotate(jobs=Count("job", distinct=True), tiles=Sum(F("stop") - F("cursor")))
        .order_by("-tiles")
    )
    return [
        {"model": str(row["job__model"]), "name": row["job__model__name"], "jobs": row["jobs"], "tiles": row["tiles"]}
        for row in rows
    ]


def _preloads(now: datetime) -> list[dict[str, Any]]:
    """The orders to load models in advance, with how far they are; the oldest first."""
    orders = list(preloading.live(now).select_related("owner", "model", "resource"))
    bodies = promises.arranged(orders) if orders else []
    return [body | {"name": order.model.name} for order, body in zip(orders, bodies, strict=True)]


def sessions_body() -> dict[str, Any]:
    """How many sessions are READY and PENDING, and whether new ones are taken."""
    counted = dict(Session.objects.filter(state__in=SESSION_OPEN).order_by().values_list("state").annotate(Count("pk")))
    switches = FarmSwitches.objects.filter(sessions_suspended=True).first()
    return {
        "ready": counted.get(SessionState.READY, 0),
        "pending": counted.get(SessionState.PENDING, 0),
        "suspended": switches is not None,
        "reason": switches.reason if switches else "",
    }


def _farm_status(resources: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The farm's own status word, the best of its resources, and sentences about all of them that have work."""
    if not resources:
        return "inoperable", "There is no resource; add one, or run `manage.py populate`."
    words = {resource["status"] for resource in resources}
    told = [each for each in resources if each["status"] != "idle" and each["reason"] != _DISABLED]
    for word in ("active", "inoperable", "starved", "suspended"):
        first = [each for each in told if each["status"] == word]
        if first:
            rest = (each for each in told if each["status"] != word)
            return word, " ".join(_named(each, len(resources)) for each in (*first, *rest))
    return ("suspended", "Every resource is disabled.") if words == {"suspended"} else ("idle", "There is no work.")


def _named(resource: Mapping[str, Any], of: int) -> str:
    return str(resource["reason"] if of == 1 else f"{resource['id']}: {resource['reason']}")


def _stickiness() -> dict[str, Any]:
    """How many leases found their model loaded, and the load time that this saved."""
    sums = Job.objects.aggregate(
        hits=Sum("warm_hits"), loads=Sum("loads"), saved=Sum(F("warm_hits") * F("model__load_seconds"))
    )
    hits, loads_ = sums["hits"] or 0, sums["loads"] or 0
    return {
        "hit_rate": round(hits / (hits + loads_), 4) if hits + loads_ else None,
        "seconds_saved": round(sums["saved"] or 0.0, 3),
        "loads": loads_,
        "warm_hits": hits,
    }


def loops(now: datetime) -> list[dict[str, Any]]:
    """The periodic loops: how long ago each came through, and whether that is in order."""
    periods = {
        "autoscale": settings.RRM.autoscale_period,
        "reconcile": settings.RRM.reconcile_period,
        "sessions": settings.RRM.reconcile_period,
    }
    known = {loop.name: loop for loop in Loop.objects.filter(name__in=periods)}
    return [_loop(name, period, known.get(name), now) for name, period in periods.items()]


def _loop(name: str, period: timedelta, loop: Loop | None, now: datetime) -> dict[str, Any]:
    age = (now - loop.last_finished).total_seconds() if loop and loop.last_finished else None
    return {
        "name": name,
        "age_seconds": None if age is None else round(age, 3),
        "period_seconds": period.total_seconds(),
        "ok": age is not None and abs(age) < _OVERDUE * period.total_seconds() + 5,
        "error": loop.last_error if loop else "",
    }
