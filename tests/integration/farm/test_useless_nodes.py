"""Nodes that may do none of the work that waits, where a resource may have no more: they go, or are named."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone

from rrm.domain.states import NodeState
from rrm.farm import nodes, scaling, waiting
from rrm.farm.models import HeldModel, Node, RenderModel, Resource
from tests.integration.farm.conftest import Farm


@pytest.mark.parametrize("is_pinned", [False, True])
def test_an_idle_node_elsewhere_makes_place_at_once_or_is_named_where_it_is_pinned(farm: Farm, is_pinned: bool) -> None:
    Resource.objects.update(max_nodes=1)
    node = farm.node()
    farm.submit()
    farm.work_off(node)
    HeldModel.objects.get_or_create(node=node, model=RenderModel.objects.get())
    RenderModel.objects.update(pinned=is_pinned)
    farm.place(farm.add_site("there"), 1)
    job = farm.submit(sites={"policy": "only", "ids": ["there"]})
    now = timezone.now()

    scaling.autoscale(now)

    node.refresh_from_db()
    farm.resource.refresh_from_db()
    plan = farm.resource.last_plan
    if is_pinned:
        assert node.state == NodeState.IDLE
        assert plan["pinned"] == [node.name]
        assert plan["reason"].endswith(
            "work that only there may do waits, as a pinned node at here takes the last place."
        )
        out = StringIO()
        call_command("plan", stdout=out)
        assert f"keep {node.name}, which holds a pinned model" in out.getvalue()
        assert waiting.pending_reason(job) == (
            "No node of mandelbrot is running there; mandelbrot may have 1 node, which it has elsewhere; "
            f"{node.name} at here, idle and pinned to a model, takes the last place."
        )
        return
    assert (node.state, plan["pinned"]) == (NodeState.DRAINING, [])
    nodes.stop(node, "test")
    nodes.gone(node, NodeState.STOPPED, "left")
    scaling.autoscale(now + timedelta(seconds=15))
    assert list(Node.objects.filter(state=NodeState.REQUESTED).values_list("site", flat=True)) == ["there"]


def test_a_pinned_node_is_not_named_where_another_makes_place(farm: Farm) -> None:
    Resource.objects.update(max_nodes=2)
    pinned, other = farm.node(), farm.node()
    farm.submit()
    farm.work_off(pinned)
    HeldModel.objects.exclude(node=pinned).delete()
    HeldModel.objects.get_or_create(node=pinned, model=RenderModel.objects.get())
    RenderModel.objects.update(pinned=True)
    farm.place(farm.add_site("there"), 1)
    job = farm.submit(sites={"policy": "only", "ids": ["there"]})
    assert "pinned" not in waiting.pending_reason(job)
    scaling.autoscale(timezone.now())
    assert list(Node.objects.filter(state=NodeState.DRAINING)) == [other]
