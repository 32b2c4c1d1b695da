"""Models that nodes load before anybody needs them: those that somebody ordered, and on spare nodes the likeliest.

A node that has nothing else to do is told one model at a time. The row that says that it loads the model is written
with the order to do so, so that orders are filled exactly, and goes when the node tells that it cannot.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Count, F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone

from rrm.domain.autoscaling import warming
from rrm.domain.states import NODE_WORKING, NodeState
from rrm.errors import Forbidden, Invalid, NotFound, StateConflict
from rrm.farm import loading, promises, quarantine, quotas, wakeups
from rrm.farm.kept import Kept
from rrm.farm.models import HeldModel, Job, Node, Preload, RenderModel, Resource, Session
from rrm.farm.transitions import iso, record

LASTS = timedelta(hours=1)
LONGEST = timedelta(days=7)
USUAL_MEMORY = 2**30
_USE = timedelta(minutes=2)  # for less it is not worth a load
_PAST = timedelta(days=7)
_MOST_USES = 1000
_POPULAR_SECONDS = 30.0
_popular: dict[str, tuple[float, Sequence[tuple[RenderModel, float]]]] = {}


def order(owner: User, model: RenderModel, resource: Resource, count: int, until: datetime, now: datetime) -> Preload:
    """Have so many nodes of the resource hold the model until then; others' orders of it are only ever extended.

    Raises Invalid, StateConflict while nobody can load the model.
    """
    _check(owner, model, resource, count, until, now)
    with transaction.atomic():
        # Whoever orders the same at the same moment waits here.
        Resource.objects.select_for_update(no_key=True).get(pk=resource.pk)
        known = live(now).filter(model=model, resource=resource).first()
        if known and known.owner_id != owner.pk:
            count, until = max(count, known.nodes), max(until, known.until)
        values = {"nodes": count, "until": until, "owner": known.owner if known else owner}
        placed, _ = Preload.objects.update_or_create(model=model, resource=resource, defaults=values)
        message = f"{model} is to be held by {count} node{'' if count == 1 else 's'} until {iso(until)}"
        record(resource, "log", {"level": "info", "message": message}, actor=owner.get_username())
        wakeups.wake("rrm.autoscale")
        wakeups.announce_work()
    return placed


def _check(owner: User, model: RenderModel, resource: Resource, count: int, until: datetime, now: datetime) -> None:
    errors: dict[str, list[str]] = {}
    if resource.renderer != model.renderer:
        errors["resource"] = [f"Its renderer is {resource.renderer}, and the model is for {model.renderer}."]
    elif not resource.enabled:
        errors["resource"] = ["It is disabled."]
    if count > resource.max_nodes:
        errors["nodes"] = [f"{resource.pk} may have at most {resource.max_nodes}."]
    elif count > (most := quotas.limited([owner.pk]).get(owner.pk, count)):
        errors["nodes"] = [f"The quota of {owner.get_username()} allows {most} node{'' if most == 1 else 's'}."]
    if not now < until <= now + LONGEST:
        errors["until"] = [f"Must be within the next {LONGEST.days} days."]
    if errors:
        raise Invalid(errors)
    if model.quarantined_until and quarantine.is_in_force(model, now):
        raise StateConflict(f"No node is asked to load it before {iso(model.quarantined_until)}, as it could not be.")


def withdraw(owner: User, model: RenderModel, resource: str, now: datetime, *, is_operator: bool) -> None:
    """Nobody wants it any more; nodes keep it until something else needs the room. Raises NotFound or Forbidden."""
    known = live(now).filter(model=model, resource=resource).first()
    if known is None:
        raise NotFound(f"Nobody wants the model to be held by {resource}.")
    if known.owner_id != owner.pk and not is_operator:
        raise Forbidden(f"It is the order of {known.owner.get_username()}, who withdraws it, or an operator does.")
    known.delete()


def live(now: datetime) -> QuerySet[Preload]:
    """The orders in force, the oldest first."""
    return Preload.objects.filter(until__gt=now, resource__enabled=True).order_by("created_at", "id")


def wanted(now: datetime) -> Mapping[str, tuple[int, frozenset[str]]]:
    """For each resource on how many nodes somebody wants a model to be held, and which models."""
    found: dict[str, tuple[int, frozenset[str]]] = {}
    for resource, model, count, most in live(now).values_list("resource", "model", "nodes", "resource__max_nodes"):
        known, models = found.get(resource, (0, frozenset()))
        found[resource] = max(known, min(count, most)), models | {str(model)}
    return found


def next_for(node: Node, report: Mapping[str, Any], now: datetime) -> dict[str, Any] | None:
    """The model that a node without work should load now, as it is told; None for none. The row is written."""
    if node.state != NodeState.IDLE or node.reserved_for is not None:
        return None
    if not _wishes.get(node.resource_id, wakeups.WORK.rung_at):
        return None
    model = _ordered(node, now) or _likeliest(node, report, now)
    return {"digest": model.digest, "renderer": model.renderer, "params": model.params} if model else None


def _has_wishes(resource: str) -> bool:
    wants = Resource.objects.filter(pk=resource, standby__gt=0)
    return wants.exists() or live(timezone.now()).filter(resource=resource).exists()


# Every idle node that finds no tiles asks this, and mostly nobody wants anything to be loaded.
_wishes: Kept[str, bool] = Kept(_has_wishes)


def takers(idle: Collection[Node], now: datetime) -> Iterator[UUID]:
    """Which of these nodes would be told to load an ordered model if all asked now. A constant number of queries."""
    orders = list(live(now).filter(resource__in={node.resource_id for node in idle}).select_related("model"))
    if not orders:
        return
    known = list(HeldModel.objects.filter(node__in=idle).values_list("node", "model", "loading", "loaded_at"))
    held = {(node, model) for node, model, *_ in known}
    at_it = {node for node, _, is_loading, since in known if is_loading and since > now - loading.LONGEST}
    reached, full = promises.progress(orders), loading.full({node.site_id for node in idle}, now)
    left = [node for node in idle if node.pk not in at_it]
    for wish in orders:
        lacks = wish.nodes - reached[wish.pk].holding - reached[wish.pk].loading
        able = [
            node
            for node in left
            if node.resource_id == wish.resource_id
            and (node.pk, wish.model_id) not in held
            and not (node.site_id in full and loading.counts(wish.model.load_seconds))
            and _may_load(node, wish.model, now)
        ]
        for node in able[: max(lacks, 0)]:
            left.remove(node)
            yield node.pk


def _ordered(node: Node, now: datetime) -> RenderModel | None:
    """One that somebody ordered and too few nodes hold."""
    holders = HeldModel.objects.filter(model=OuterRef("model"), node__resource=OuterRef("resource"))
    working = holders.filter(node__state__in=NODE_WORKING).order_by().values("model").annotate(nodes=Count("pk"))
    orders = live(now).filter(resource=node.resource_id).exclude(model__holders__node=node)
    unfilled = orders.annotate(held=Coalesce(Subquery(working.values("nodes")), 0)).filter(held__lt=F("nodes"))
    for wish in unfilled.select_related("model"):
        if not _may_load(node, wish.model, now):
            continue
        with transaction.atomic():
            # Locked, so that two nodes do not both become the last that is wanted.
            known = Preload.objects.select_for_update(no_key=True).filter(pk=wish.pk).first()
            holders = HeldModel.objects.filter(model=wish.model_id, node__resource=node.resource_id)
            lacks = known and holders.filter(node__state__in=NODE_WORKING).count() < known.nodes
            if lacks and _begin(node, wish.model, now):
                return wish.model
    return None


def _likeliest(node: Node, report: Mapping[str, Any], now: datetime) -> RenderModel | None:
    """The one that a spare node would save most with, if it fits beside what it holds."""
    if not node.resource.standby or not (popular := _popular_of(node.resource_id, now)):
        return None
    held = {str(row.model_id): row for row in node.held.select_related("model")}
    if any(row.loading for row in held.values()):
        return None
    models = {str(model.pk): model for model, _ in popular if _may_load(node, model, now)}
    others = HeldModel.objects.filter(node__resource=node.resource_id, model__in=list(models)).exclude(node=node)
    holders = dict(others.order_by().values_list("model").annotate(Count("pk")))
    candidates = [
        _candidate(model, wish, holders.get(model.pk, 0)) for model, wish in popular if str(model.pk) in models
    ]
    room = (report.get("memory") or USUAL_MEMORY) - sum(row.model.size_bytes or 0 for row in held.values())
    best = warming.most_saving(candidates, held, room)
    return models[best.model] if best and _begin(node, models[best.model], now) else None


def _candidate(model: RenderModel, wish: float, holders: int) -> warming.Candidate:
    return warming.Candidate(str(model.pk), wish, model.load_seconds or 0.0, model.size_bytes or 0, holders)


def _popular_of(resource: str, now: datetime) -> Sequence[tuple[RenderModel, float]]:
    """The models of the last days with how much they are wanted; asked for every now and then."""
    known_at, known = _popular.get(resource, (0.0, ()))
    if known_at and time.monotonic() - known_at < _POPULAR_SECONDS:
        return known
    uses: list[tuple[str, datetime]] = []
    for rows in (Job.objects.filter(resource=resource), Session.objects.filter(resource=resource, model__isnull=False)):
        recent = rows.filter(created_at__gt=now - _PAST).order_by("-created_at")
        uses += [(str(model), at) for model, at in recent.values_list("model", "created_at")[:_MOST_USES]]
    much = warming.wanted(uses, now)
    slow = RenderModel.objects.filter(pk__in=list(much), load_seconds__gte=warming.INSTANT_SECONDS)
    found = [(model, much[str(model.pk)]) for model in slow]
    _popular[resource] = (time.monotonic(), found)
    return found


def _may_load(node: Node, model: RenderModel, now: datetime) -> bool:
    """Whether the node may be told to: it has time for it, could load it, and others can."""
    if node.ends_at is not None and node.ends_at - now < _USE + timedelta(seconds=model.load_seconds or 0.0):
        return False
    return node.name not in quarantine.tried(model.load_failures, now) and not quarantine.is_in_force(model, now)


def _begin(node: Node, model: RenderModel, now: datetime) -> bool:
    """The node is about to load it; False when it, or its site, loads as much as it may, or somebody was faster."""
    if node.held.filter(loading=True, loaded_at__gt=now - loading.LONGEST).exists():
        return False
    try:
        with transaction.atomic():
            return loading.order(node, model, now)
    except StateConflict:
        return False
