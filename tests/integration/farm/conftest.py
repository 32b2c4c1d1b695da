"""A small farm in the database, with nodes that render for real, in this process."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any
from unittest import mock
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from renderers.lease import parse_lease
from renderers.mandelbrot.deep.model import DeepView
from renderers.mandelbrot.render import TilePainter, Work
from renderers.models import HeldModels
from rrm.farm import consistency, crowd, deliveries, jobs, kept, leases, market, nodes, reports
from rrm.farm.models import Job, Node, Resource, ResourceSite, Site
from tests.integration.farm.walls import Wall

MODELS = HeldModels()
VIEW = {"center": [-0.5, 0], "radius": 1.25, "max_iter": 64}


class Farm:
    """One local site with one resource, and what tests do with them."""

    def __init__(self) -> None:
        self.owner = User.objects.create_user("ada")
        self.site = self.add_site("here")
        self.resource = Resource.objects.create(id="mandelbrot", max_nodes=50)
        ResourceSite.objects.create(resource=self.resource, site=self.site)
        self._loaded: dict[str, set[str]] = {}

    def add_site(self, name: str, *, max_nodes: int = 50) -> Site:
        return Site.objects.create(id=name, kind="local", max_nodes=max_nodes)

    def place(self, site: Site, position: int) -> None:
        ResourceSite.objects.create(resource=self.resource, site=site, position=position)

    def submit(self, **order: Any) -> Job:
        wanted = {"params": VIEW, "width": 64, "height": 64, "tile_size": 16, "outputs": ["png", "counts"], **order}
        return jobs.submit(self.owner, wanted)[0]

    def node(self, site: Site | None = None, *, cores: int = 2, answers: bool = False) -> Node:
        """A node that has checked in; one that `answers` can be booked by people."""
        node = nodes.request_node(self.resource, site or self.site, "test")
        report: dict[str, Any] = {"node": node.name, "hostname": "host", "version": "1", "cores": cores, "pid": 1}
        report |= {"address": "127.0.0.1:5000"} if answers else {}
        reports.register(nodes.launch_token(node.name), report)
        node.refresh_from_db()
        return node

    def ask(self, node: Node, *in_hand: str) -> dict[str, Any]:
        report = {"leases": list(in_hand), "models": sorted(self._loaded.get(node.name, ())), "cores": node.cores}
        return leases.next_lease(node, report, timezone.now())

    def lease(self, node: Node, *in_hand: str) -> dict[str, Any]:
        """The lease that the node gets; there must be one."""
        lease = self.ask(node, *in_hand)["lease"]
        assert lease is not None
        return dict(lease)

    def deliver(self, node: Node, lease: dict[str, Any]) -> dict[str, Any]:
        self._loaded.setdefault(node.name, set()).add(lease["model"]["digest"])
        return deliveries.complete(node, UUID(lease["id"]), io.BytesIO(bundle_of(lease)))

    def work_off(self, *workers: Node) -> None:
        """Have the nodes take and deliver leases until there are none."""
        while sum(self._one_turn(worker) for worker in workers):
            pass

    def _one_turn(self, node: Node) -> bool:
        lease = self.ask(node)["lease"]
        if lease:
            self.deliver(node, lease)
        return bool(lease)


def bundle_of(lease: dict[str, Any]) -> bytes:
    """What a node uploads for `lease`."""
    parsed = parse_lease(lease)
    work = Work(parsed)
    if isinstance(parsed.view, DeepView) and parsed.reference:
        work.deep = MODELS.load(parsed.reference, parsed.view)
    painter = TilePainter()
    for tile in range(lease["start"], lease["stop"]):
        result = painter.render(work, tile)
        assert result is not None
        work.results.append(result)
    return bytes(work.bundle())


@pytest.fixture
def farm(db: None) -> Iterator[Farm]:
    """The farm of a test in one transaction. Whatever the test did, the invariants hold afterwards."""
    yield Farm()
    assert list(consistency.problems()) == []


@pytest.fixture
def shared_farm(transactional_db: None) -> Iterator[Farm]:
    """The same with commits that other threads see."""
    yield Farm()
    assert list(consistency.problems()) == []


@pytest.fixture
def wall(farm: Farm) -> Iterator[Wall]:
    made = Wall()
    with mock.patch("django.utils.timezone.now", made):
        yield made


@pytest.fixture
def lasting(shared_farm: Farm, monkeypatch: pytest.MonkeyPatch) -> Farm:
    """What this process has read it believes until a bell rings, as long as a test takes."""
    for name in ("_LEAST_SECONDS", "_YOUNG_SECONDS", "_MOST_SECONDS"):
        monkeypatch.setattr(kept, name, 600.0)
    monkeypatch.setattr(crowd, "_crowds", kept.Kept(crowd._read))
    monkeypatch.setattr(market, "_markets", kept.Kept(market._read))
    return shared_farm
