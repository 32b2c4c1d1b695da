"""The rows of a large farm: owners, sites, nodes that have checked in, and jobs. Nothing of it is rendered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from rrm.domain.states import NodeState
from rrm.farm import jobs
from rrm.farm.models import HeldModel, Job, Node, Quota, RenderModel, Resource, ResourceSite, Site

RESOURCE, SECOND = "mandelbrot", "second"
_SITES = ("alps", "bay", "coast")
_TILE = 16
_COLUMNS = 10


@dataclass(frozen=True)
class Size:
    """How large a farm is. `measured` nodes hold every model, and so much is known of them that ranges are long."""

    nodes: int
    jobs: int
    tiles: int
    """In all jobs together."""
    owners: int = 4
    limited_to: int = 0
    """Quota.max_nodes of the last owner; 0 is no limit."""
    measured: bool = False
    answering: int = 0
    """How many of the nodes can be booked by people."""


def lay_out(size: Size) -> None:
    """Make the farm in an empty database."""
    sites = [Site.objects.create(id=name, max_nodes=size.nodes) for name in _SITES]
    resource = Resource.objects.create(id=RESOURCE, max_nodes=len(sites) * size.nodes)
    for position, site in enumerate(sites):
        ResourceSite.objects.create(resource=resource, site=site, position=position)
    nodes = _nodes(size, resource, sites)
    models = [_job(number, size).model for number in range(size.jobs)]
    if size.measured:
        _measure(nodes, models)


def limit_nodes(room: int) -> None:
    """Leave each site room for so many more nodes, and the resources, of which one knows the sites backwards, as many.

    What may be started in all is more than either allows.
    """
    live = Node.objects.count()
    for site in Site.objects.all():
        site.max_nodes = Node.objects.filter(site=site).count() + room
        site.save(update_fields=["max_nodes"])
    second = Resource.objects.create(id=SECOND, max_nodes=room + room // 2)
    for position, name in enumerate(reversed(_SITES)):
        ResourceSite.objects.create(resource=second, site_id=name, position=position)
    Resource.objects.filter(pk=RESOURCE).update(max_nodes=live + room + room // 2)


def _nodes(size: Size, resource: Resource, sites: list[Site]) -> list[Node]:
    now = timezone.now()
    rows = [
        Node(
            name=f"rrm-{number:010x}",
            resource=resource,
            site=sites[number % len(sites)],
            state=NodeState.IDLE,
            token_digest=f"{number:064x}",
            hostname=f"host{number}",
            address=f"127.0.0.1:{10000 + number}" if number < size.answering else "",
            cores=2,
            last_heartbeat=now,
            started_at=now,
            idle_since=now,
        )
        for number in range(size.nodes)
    ]
    return Node.objects.bulk_create(rows, batch_size=500)


def _job(number: int, size: Size) -> Job:
    owner = _owner(number % size.owners, size)
    tiles = size.tiles // size.jobs
    order: dict[str, Any] = {
        "params": {"center": [-0.5, 0], "radius": 1.25, "max_iter": 64 + number},
        "width": _COLUMNS * _TILE,
        "height": -(-tiles // _COLUMNS) * _TILE,
        "tile_size": _TILE,
        "outputs": ["png"],
        "resource": RESOURCE,
    }
    return jobs.submit(owner, order)[0]


def _owner(number: int, size: Size) -> User:
    owner, is_new = User.objects.get_or_create(username=f"owner{number}")
    if is_new and size.limited_to and number == size.owners - 1:
        Quota.objects.create(owner=owner, max_nodes=size.limited_to)
    return owner


def _measure(nodes: list[Node], models: list[RenderModel]) -> None:
    held = (HeldModel(node=node, model=model, pixel_seconds=1e-8) for node in nodes for model in models)
    HeldModel.objects.bulk_create(held, batch_size=1000)


def digests() -> list[str]:
    """Of all models that there are."""
    return list(RenderModel.objects.values_list("digest", flat=True))
