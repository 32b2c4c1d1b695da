"""What is said of models that nodes are to load in advance."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from rrm.farm import deliveries, nodes, promises
from rrm.farm.models import HeldModel, Node, Preload, Resource, Site
from tests import factories as make
from tests.integration.farm.conftest import Farm


@pytest.fixture
def order(farm: Farm) -> Preload:
    """Two nodes of four at most are to hold a model."""
    Resource.objects.update(max_nodes=4)
    return make.preload(farm.owner, farm.resource, make.render_model(), 2)


def said(order: Preload) -> str:
    return str(promises.arranged([Preload.objects.get(pk=order.pk)])[0]["reason"]).partition("; ")[2]


def fail(order: Preload, *nodes: Node) -> str:
    """The nodes cannot load it; when they are asked again."""
    now = timezone.now()
    for node in nodes:
        HeldModel.objects.create(node=node, model=order.model, loading=True)
        deliveries.fail_preload(node, [order.model.digest], now)
    return (now + settings.RRM.quarantine_period).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_in_quarantine_nobody_is_said_to_follow(farm: Farm, order: Preload) -> None:
    nodes = [farm.node() for _ in range(3)]
    names, until = ", ".join(sorted(node.name for node in nodes)), fail(order, *nodes)
    assert said(order) == f"no node is asked to load it before {until}, as {names} could not."


def test_nodes_that_could_not_load_it_are_named_with_when_they_are_asked_again(farm: Farm, order: Preload) -> None:
    first, second = farm.node(), farm.node()
    again = fail(order, first)
    assert said(order) == (
        f"the next nodes that are free follow; {first.name} could not load it and is asked again from {again} on."
    )
    fail(order, second)
    names = ", ".join(sorted([first.name, second.name]))
    assert said(order) == f"{names} could not load it and are asked again from {again} on."


def test_nodes_that_are_gone_are_not_waited_for(farm: Farm, order: Preload) -> None:
    node = farm.node()
    fail(order, node)
    Node.objects.all().delete()
    assert said(order) == "a node is to be started for it."


def test_a_limit_below_the_order_is_told(farm: Farm, order: Preload) -> None:
    Resource.objects.update(max_nodes=1)
    assert said(order) == "a node is to be started for it; mandelbrot may have 1 node at most."
    HeldModel.objects.create(node=farm.node(), model=order.model)
    assert said(order) == "mandelbrot may have 1 node at most."
    Node.objects.all().delete()
    Resource.objects.update(max_nodes=0)
    assert said(order) == "mandelbrot may have no node."


def test_a_node_that_cannot_be_started_is_not_promised(farm: Farm, order: Preload) -> None:
    again = timezone.now().replace(microsecond=0) + timedelta(seconds=30)
    Resource.objects.update(retry_at=again)
    assert said(order) == f"no node could be started for it, which is tried again at {again:%Y-%m-%dT%H:%M:%SZ}."
    Resource.objects.update(retry_at=None)
    Site.objects.update(enabled=False)
    assert said(order) == "a node cannot be started for it, as no site can be used at present."


def test_nodes_of_sessions_are_not_said_to_follow(farm: Farm, order: Preload) -> None:
    for node in (farm.node(), farm.node()):
        Node.objects.filter(pk=node.pk).update(reserved_for=node.pk)
    assert said(order) == "its other nodes serve sessions."


def test_a_node_for_which_a_site_has_no_place_is_not_promised(farm: Farm, order: Preload) -> None:
    rival, other = make.resource(name="other"), farm.add_site("there", max_nodes=1)
    make.node(rival, other)
    Site.objects.filter(pk="here").update(max_nodes=1)
    assert said(order) == "a node is to be started for it."
    farm.place(other, 1)
    make.node(rival, farm.site)
    assert said(order) == (
        "no node can be started for it at present: sites here and there have no place left, as their max_nodes are"
        " 1 and 1."
    )


def test_while_nodes_that_leave_take_all_places_no_node_is_promised(farm: Farm, order: Preload) -> None:
    Resource.objects.update(max_nodes=2)
    for node in (farm.node(), farm.node()):
        nodes.stop(node, "ada")
    assert said(order) == (
        "no node can be started for it at present: both nodes of mandelbrot are taken, and its max_nodes (2) allows"
        " no more."
    )


def test_a_batch_job_that_fits_nowhere_is_not_promised(farm: Farm, order: Preload) -> None:
    Site.objects.update(kind="slurm", host="h", max_nodes=3)
    Resource.objects.update(nb_nodes=4)
    assert said(order) == (
        "no node can be started for it at present: site here has no place left for a batch job of 4 nodes, as its"
        " max_nodes is 3."
    )


def test_the_limit_is_told_also_where_other_nodes_follow_and_nobody_follows_where_none_may_be(
    farm: Farm, order: Preload
) -> None:
    farm.node()
    Site.objects.update(max_nodes=1)
    assert said(order) == (
        "the next nodes that are free follow; no node can be started for it at present: site here has no place left, "
        "as its max_nodes is 1."
    )
    Resource.objects.update(max_nodes=0)
    assert said(order) == "mandelbrot may have no node."
