"""The look that tells which waiting nodes should ask: also those for copies of slow ranges and for models to load."""

from __future__ import annotations

from datetime import timedelta

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from rrm.farm import beckoning, preloading
from rrm.farm.models import HeldModel, Node, RenderModel, Site
from tests import factories as make
from tests.integration.farm.conftest import VIEW, Farm
from tests.integration.farm.test_copies import age

ONE = {"width": 16, "height": 16}


def called(*waiting: Node) -> set[str]:
    found = beckoning.called({node.pk: None for node in waiting}, timezone.now())
    return {node.name for node in waiting if node.pk in found}


def slow_ranges(farm: Farm, count: int) -> None:
    """So many nodes have a range each, for longer than they should."""
    for number in range(count):
        farm.submit(**ONE, params=VIEW | {"max_iter": 64 + number})
        farm.lease(farm.node())
    age(timedelta(minutes=1))


def test_a_node_is_called_for_each_range_that_takes_too_long(farm: Farm) -> None:
    slow_ranges(farm, 2)
    idle = [farm.node() for _ in range(6)]

    chosen = called(*idle)

    assert len(chosen) == 2
    first = next(node for node in idle if node.name in chosen)
    assert farm.lease(first)["stop"] == 1
    assert len(called(*(node for node in idle if node != first))) == 1


def test_nobody_is_called_for_a_range_that_its_job_keeps_from_their_site_or_that_is_young(farm: Farm) -> None:
    there = farm.add_site("there")
    farm.place(there, 1)
    farm.submit(**ONE, sites={"policy": "only", "ids": ["here"]})
    farm.lease(farm.node())
    here, elsewhere = farm.node(), farm.node(there)
    assert called(here, elsewhere) == set()

    age(timedelta(minutes=1))

    assert called(elsewhere) == set()
    assert called(here, elsewhere) == {here.name}


def test_as_many_nodes_are_called_to_load_a_model_as_lack(farm: Farm) -> None:
    model, idle = make.render_model(), [farm.node() for _ in range(6)]
    HeldModel.objects.create(node=idle[0], model=model)
    make.preload(farm.owner, farm.resource, model, 3)

    chosen = called(*idle)

    assert len(chosen) == 2
    assert idle[0].name not in chosen
    for node in idle:
        if node.name in chosen:
            assert preloading.next_for(node, {}, timezone.now())
    assert called(*idle) == set()


def test_nobody_is_called_to_load_where_its_site_loads_as_much_as_it_may(farm: Farm) -> None:
    loading, idle = farm.node(), farm.node()
    HeldModel.objects.create(node=loading, model=make.render_model(max_iter=9), loading=True)
    make.preload(farm.owner, farm.resource, make.render_model())
    assert called(idle) == {idle.name}

    Site.objects.update(max_parallel_loads=1)

    assert called(idle) == set()
    RenderModel.objects.update(load_seconds=0.1)
    assert called(idle) == {idle.name}  # what takes no time is no load


def test_a_look_at_more_nodes_ranges_and_orders_takes_no_more_queries(farm: Farm) -> None:
    def cost(nodes: int) -> int:
        waiting = {farm.node().pk: None for _ in range(nodes)}
        with CaptureQueriesContext(connection) as queries:
            assert beckoning.called(waiting, timezone.now())
        return len(queries)

    slow_ranges(farm, 1)
    make.preload(farm.owner, farm.resource)
    few = cost(2)
    slow_ranges(farm, 4)
    for number in range(4):
        make.preload(farm.owner, farm.resource, make.render_model(max_iter=20 + number))
    assert cost(12) == few
