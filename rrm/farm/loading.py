"""Models that nodes are loading at this moment: at most so many at a site whose file system all its nodes share."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Count, F, Q

from rrm.errors import StateConflict
from rrm.farm.models import HeldModel, Node, RenderModel, Site

LONGEST = timedelta(minutes=15)
"""A load of which nobody has heard for so long is forgotten."""
_QUICK_SECONDS = 1.0  # who loads in less is nobody's burden


def counts(load_seconds: float | None) -> bool:
    """Whether loading a model is work; of one that nobody has loaded yet that is not known."""
    return load_seconds is None or load_seconds >= _QUICK_SECONDS


def has_room(site: Site, now: datetime) -> bool:
    """Whether one more load may begin at the site."""
    if site.max_parallel_loads is None:
        return True
    return HeldModel.objects.filter(_under_way(now), node__site=site).count() < site.max_parallel_loads


def full(sites: Collection[str], now: datetime) -> set[str]:
    """Those of the sites where no load may begin; one query for all."""
    begun = _under_way(now, "nodes__held__")
    limited = Site.objects.filter(pk__in=sites, max_parallel_loads__isnull=False).order_by()
    counted = limited.annotate(begun=Count("nodes__held", filter=begun))
    return set(counted.filter(begun__gte=F("max_parallel_loads")).values_list("pk", flat=True))


def _under_way(now: datetime, prefix: str = "") -> Q:
    """Loads that count; `prefix` leads to what nodes hold."""
    is_one = Q(**{f"{prefix}loading": True, f"{prefix}loaded_at__gt": now - LONGEST})
    load = f"{prefix}model__load_seconds"
    return is_one & (Q(**{f"{load}__isnull": True}) | Q(**{f"{load}__gte": _QUICK_SECONDS}))


def begin(node: Node, model: UUID, load_seconds: float | None, now: datetime) -> None:
    """The node is about to load the model, or uses it again. Call it in the transaction that gives it the work.

    Raises StateConflict when its site has as many loads as it may have.
    """
    if node.site.max_parallel_loads is not None and counts(load_seconds):
        if HeldModel.objects.filter(node=node, model_id=model).update(last_used=now):
            return
        _take_place(node, load_seconds, now)
    fresh = HeldModel(node=node, model_id=model, loaded_at=now, last_used=now, loading=counts(load_seconds))
    HeldModel.objects.bulk_create(
        [fresh], update_conflicts=True, unique_fields=["node", "model"], update_fields=["last_used"]
    )


def order(node: Node, model: RenderModel, now: datetime) -> bool:
    """The node is told to load the model beside its work; False when it does so already. Raises StateConflict."""
    _take_place(node, model.load_seconds, now)
    fresh = {"loaded_at": now, "last_used": now, "loading": True}
    return HeldModel.objects.get_or_create(node=node, model=model, defaults=fresh)[1]


def _take_place(node: Node, load_seconds: float | None, now: datetime) -> None:
    if node.site.max_parallel_loads is not None and counts(load_seconds):
        # Locked, so that two who count at the same moment do not both find room.
        site = Site.objects.select_for_update(no_key=True).get(pk=node.site_id)
        if not has_room(site, now):
            raise StateConflict(f"Site {site.pk} has as many loads as it may have.")


def failed(node: Node, model: RenderModel) -> None:
    """The node does not hold the model, and does not load it either."""
    HeldModel.objects.filter(node=node, model=model).delete()
