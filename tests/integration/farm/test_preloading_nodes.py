"""Which nodes are told to load a model before anybody needs it, and which are not."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.conf import settings
from django.utils import timezone

from rrm.domain.states import JobState, NodeState
from rrm.farm import loading, preloading
from rrm.farm.models import HeldModel, Job, Node, RenderModel, Resource
from tests import factories as make
from tests.integration.farm.conftest import Farm

SECOND = timedelta(seconds=1)


def told(node: Node, after: timedelta = timedelta(), **report: object) -> str | None:
    """The digest of the model that the node is told to load."""
    answer = preloading.next_for(node, report, timezone.now() + after)
    return str(answer["digest"]) if answer else None


def called(*nodes: Node) -> set[str]:
    """The names of those that would be told."""
    found = set(preloading.takers(nodes, timezone.now()))
    return {node.name for node in nodes if node.pk in found}


def test_a_node_that_ends_before_the_load_would_be_worth_it_is_not_told(farm: Farm) -> None:
    node, model = farm.node(), make.render_model()
    RenderModel.objects.update(load_seconds=60.0)
    make.preload(farm.owner, farm.resource, model)

    node.ends_at = timezone.now() + timedelta(minutes=3) - SECOND
    assert (called(node), told(node)) == (set(), None)
    node.ends_at = timezone.now() + timedelta(minutes=3) + SECOND
    assert (called(node), told(node)) == ({node.name}, model.digest)


def test_a_node_loads_one_model_at_a_time(farm: Farm) -> None:
    node = farm.node()
    one, other = make.render_model(max_iter=65), make.render_model(max_iter=66)
    for model in (one, other):
        make.preload(farm.owner, farm.resource, model)
    assert told(node) == one.digest

    assert (called(node), told(node)) == (set(), None)
    assert told(node, loading.LONGEST + SECOND) == other.digest  # nothing was heard of the first for so long


def test_a_node_that_somebody_has_booked_is_not_told(farm: Farm) -> None:
    node = farm.node()
    make.preload(farm.owner, farm.resource)
    node.reserved_for = uuid4()
    assert told(node) is None


def test_a_node_that_leaves_does_not_count_as_one_that_holds_the_model(farm: Farm) -> None:
    leaving, node = farm.node(), farm.node()
    order = make.preload(farm.owner, farm.resource)
    HeldModel.objects.create(node=leaving, model=order.model)
    assert (called(node), told(node)) == (set(), None)

    Node.objects.filter(pk=leaving.pk).update(state=NodeState.DRAINING)

    assert (called(node), told(node)) == ({node.name}, order.model.digest)


def test_a_node_that_holds_the_model_is_not_told_though_more_are_wanted(farm: Farm) -> None:
    holder, order = farm.node(), make.preload(farm.owner, farm.resource, count=2)
    HeldModel.objects.create(node=holder, model=order.model)
    assert (called(holder), told(holder)) == (set(), None)


def test_a_node_that_loads_the_model_counts_as_one_that_holds_it(farm: Farm) -> None:
    at_it, *others = (farm.node() for _ in range(3))
    order = make.preload(farm.owner, farm.resource, count=2)
    assert told(at_it) == order.model.digest
    assert len(called(at_it, *others)) == 1


def test_nobody_is_told_to_load_a_model_in_quarantine(farm: Farm) -> None:
    node = farm.node()
    make.preload(farm.owner, farm.resource)
    RenderModel.objects.update(quarantined_until=timezone.now() + settings.RRM.quarantine_period)
    assert (called(node), told(node)) == (set(), None)


def test_nodes_of_another_resource_are_not_told(farm: Farm) -> None:
    other = make.resource(farm.site, name="other")
    make.preload(farm.owner, other, count=2)
    mine, theirs = farm.node(), make.node(other, farm.site)
    assert called(mine, theirs) == {theirs.name}

    make.preload(farm.owner, farm.resource, model := make.render_model(max_iter=65))

    assert told(mine) == model.digest
    assert told(farm.node()) is None


def test_an_order_of_a_resource_that_is_disabled_rests(farm: Farm) -> None:
    node = farm.node()
    make.preload(farm.owner, farm.resource)
    Resource.objects.update(enabled=False)
    assert (called(node), told(node)) == (set(), None)
    assert preloading.wanted(timezone.now()) == {}


def test_no_more_nodes_are_wanted_for_orders_than_the_resource_may_have(farm: Farm) -> None:
    models = [str(make.preload(farm.owner, farm.resource, count=3).model_id)]
    Resource.objects.update(max_nodes=2)
    assert preloading.wanted(timezone.now()) == {farm.resource.pk: (2, frozenset(models))}


@pytest.fixture
def spare(farm: Farm) -> Farm:
    """A farm whose spare nodes load what is likely to be wanted."""
    Resource.objects.update(standby=1)
    farm.resource.refresh_from_db()
    preloading._popular.clear()
    return farm


def used(farm: Farm, number: int, **ago: float) -> RenderModel:
    """A model that takes five seconds to load and was used so often, so long ago."""
    model = make.render_model(max_iter=70 + RenderModel.objects.count())
    RenderModel.objects.filter(pk=model.pk).update(load_seconds=5.0, size_bytes=1000)
    then = timezone.now() - timedelta(**ago)
    for _ in range(number):
        job = make.job(farm.owner, farm.resource, model=model, state=JobState.CANCELLED, finished_at=then)
        Job.objects.filter(pk=job.pk).update(created_at=then)
    return model


def test_a_spare_node_loads_what_others_do_not_hold_already(spare: Farm) -> None:
    often, rare = used(spare, 3), used(spare, 2)
    assert told(spare.node()) == often.digest
    assert told(spare.node()) == rare.digest
    assert told(spare.node()) == often.digest


def test_a_spare_node_loads_what_was_wanted_lately_rather_than_often_long_ago(spare: Farm) -> None:
    used(spare, 3, days=2)
    lately = used(spare, 1)
    assert told(spare.node()) == lately.digest


def test_what_was_wanted_more_than_a_week_ago_is_forgotten(spare: Farm) -> None:
    used(spare, 9, days=7, hours=1)
    assert told(spare.node()) is None


def test_a_spare_node_that_loads_a_model_is_told_no_other(spare: Farm) -> None:
    used(spare, 2)
    used(spare, 1)
    node = spare.node()
    assert told(node)
    assert told(node) is None


def test_a_spare_node_is_not_told_what_it_could_not_load(spare: Farm) -> None:
    node, model = spare.node(), used(spare, 1)
    failed = [[node.name, timezone.now().timestamp()]]
    RenderModel.objects.filter(pk=model.pk).update(load_failures=failed)
    assert told(node) is None
    assert told(spare.node()) == model.digest
