"""An operator lowers a limit while there is a backlog: what is beyond it leaves, and no work is lost."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.utils import timezone

from rrm.domain.states import LeaseState, NodeState
from rrm.farm import nodes, reports, scaling
from rrm.farm.models import Lease, Node, Resource, Site
from tests.integration.farm.conftest import Farm


def at_work(farm: Farm, number: int) -> dict[Node, dict[str, object]]:
    """So many nodes, each with a range of a job of many tiles."""
    farm.submit(width=256, height=256, tile_size=16)
    workers = [farm.node() for _ in range(number)]
    return {node: farm.lease(node) for node in workers}


def leaving() -> list[Node]:
    return list(Node.objects.filter(state=NodeState.DRAINING))


@pytest.mark.parametrize("whose", ["resource", "site"])
def test_busy_nodes_beyond_a_lowered_limit_deliver_what_they_hold_and_leave(farm: Farm, whose: str) -> None:
    held = at_work(farm, 3)
    (Resource if whose == "resource" else Site).objects.update(max_nodes=1)
    limit = "beyond the maximum of 1" if whose == "resource" else "beyond the limit of here"
    now = timezone.now()
    out = StringIO()
    call_command("plan", "--explain", stdout=out)
    assert f"letting 2 go, {limit}." in out.getvalue()
    assert f"go, which is {limit}" in out.getvalue()

    for turn in range(3):
        scaling.autoscale(now + turn * timedelta(seconds=15))

    assert [node.reason for node in leaving()] == [f"It is {limit}."] * 2
    assert Node.objects.count() == 3
    for node in leaving():
        assert farm.ask(node, str(held[node]["id"]))["command"] == "drain"
        assert farm.deliver(node, dict(held[node]))["command"] == "drain"
        reports.goodbye(node, "done")
        nodes.gone(node, NodeState.STOPPED, "left")
    assert not Lease.objects.filter(state=LeaseState.RETURNED).exists()
    scaling.autoscale(now + timedelta(seconds=60))
    assert Node.objects.filter(state=NodeState.BUSY).count() == 1
    farm.resource.refresh_from_db()
    assert farm.resource.last_plan["beyond"] == []


def test_a_limit_that_is_raised_again_takes_nobody_back_and_is_used_as_places_come(farm: Farm) -> None:
    at_work(farm, 3)
    Resource.objects.update(max_nodes=1, min_nodes=1)
    now = timezone.now()
    scaling.autoscale(now)
    assert farm.resource.nodes.filter(state=NodeState.DRAINING).count() == 2
    farm.resource.refresh_from_db()
    assert [each["limit"] for each in farm.resource.last_plan["beyond"]] == ["beyond the maximum of 1"] * 2
    Resource.objects.update(max_nodes=3, min_nodes=3)
    scaling.autoscale(now + timedelta(seconds=15))
    assert Node.objects.count() == 3
    for node in leaving():
        nodes.stop(node, "test")
        nodes.gone(node, NodeState.STOPPED, "left")
    scaling.autoscale(now + timedelta(seconds=30))
    assert Node.objects.filter(state=NodeState.REQUESTED).count() == 2


def test_nodes_of_sessions_stay_and_count_for_a_lowered_limit(farm: Farm) -> None:
    own = nodes.request_node(farm.resource, farm.site, "test", reserved_for=uuid4())
    at_work(farm, 2)
    Site.objects.update(max_nodes=1)
    scaling.autoscale(timezone.now())
    assert len(leaving()) == 2
    own.refresh_from_db()
    assert own.state == NodeState.REQUESTED


def test_who_leaves_or_may_never_come_makes_nobody_else_leave(farm: Farm) -> None:
    own = nodes.request_node(farm.resource, farm.site, "test", reserved_for=uuid4())
    far = farm.add_site("far")
    farm.place(far, 1)
    at_work(farm, 3)
    nodes.request_node(farm.resource, far, "test")
    Node.objects.filter(pk=own.pk).update(state=NodeState.STOPPING)
    Site.objects.filter(pk=far.pk).update(problem="no answer")
    Resource.objects.update(max_nodes=3)
    scaling.autoscale(timezone.now())
    assert leaving() == []
    assert Node.objects.count() == 5
