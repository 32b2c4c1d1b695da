"""Nodes around somebody else's program: what they may report, and how many of them there are."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from rrm.domain.states import NODE_LIVE, NodeState
from rrm.errors import Invalid
from rrm.farm import leases, nodes, reports, scaling
from rrm.farm.models import Node, Resource, ResourceSite, Site
from rrm.farm.specs import spec_for
from tests import factories as make
from tests.factories import Caller, problem
from tests.integration.farm.conftest import Farm


@pytest.fixture
def livre(farm: Farm) -> Resource:
    row = Resource.objects.create(id="livre", renderer="external", command_line="livre", max_nodes=3)
    ResourceSite.objects.create(resource=row, site=farm.site)
    return row


def check_in(node: Node, address: str | None) -> dict[str, Any]:
    return reports.register(nodes.launch_token(node.name), {"node": node.name, "hostname": "h", "address": address})


def started(resource: Resource) -> tuple[Node, Caller]:
    node = nodes.request_node(resource, None, "test")
    return node, Caller(check_in(node, "127.0.0.1:5000")["token"])


@pytest.mark.parametrize("address", [None, "", "127.0.0.1", "169.254.169.254:8000", "elsewhere:5000"])
def test_a_node_of_this_machine_checks_in_with_an_address_of_it_or_not_at_all(
    livre: Resource, address: str | None
) -> None:
    node = nodes.request_node(livre, None, "test")

    with pytest.raises(Invalid, match="address"):
        check_in(node, address)

    node.refresh_from_db()
    assert (node.state, node.address) == (NodeState.REQUESTED, "")
    check_in(node, "127.0.0.1:5000")
    node.refresh_from_db()
    assert (node.state, node.address) == (NodeState.IDLE, "127.0.0.1:5000")


def test_the_machines_of_a_cluster_are_reached_by_name(livre: Resource) -> None:
    cluster = Site.objects.create(id="cluster", kind="slurm", host="login", max_nodes=3)
    ResourceSite.objects.create(resource=livre, site=cluster)
    node = nodes.request_node(livre, cluster, "test")

    with pytest.raises(Invalid):
        check_in(node, "127.0.0.1:5000")
    check_in(node, "n1:5000")

    node.refresh_from_db()
    assert node.address == "n1:5000"


def test_a_node_that_renders_jobs_may_answer_people_too(farm: Farm) -> None:
    with_address, without = (nodes.request_node(farm.resource, None, "test") for _ in range(2))
    check_in(with_address, "127.0.0.1:5000")
    check_in(without, "")
    assert [Node.objects.get(pk=node.pk).address for node in (with_address, without)] == ["127.0.0.1:5000", ""]


def test_it_gets_no_work(farm: Farm, livre: Resource) -> None:
    farm.submit()
    node, _ = started(livre)
    node.refresh_from_db()

    answer = leases.next_lease(node, {"leases": [], "models": []}, timezone.now())

    assert (answer["command"], answer["lease"]) == ("run", None)


def test_one_whose_program_does_not_answer_stays_and_says_so(livre: Resource) -> None:
    node, caller = started(livre)

    caller.post("node-agent/heartbeat", {"problem": "127.0.0.1:5000: timed out"})
    node.refresh_from_db()
    assert (node.state, node.reason) == (
        NodeState.IDLE,
        "Its renderer does not answer: 127.0.0.1:5000: timed out",
    )
    caller.post("node-agent/heartbeat", {})
    node.refresh_from_db()
    assert node.reason
    caller.post("node-agent/heartbeat", {"problem": ""})
    node.refresh_from_db()
    assert node.reason == ""


def test_it_is_shown_with_its_address(livre: Resource) -> None:
    node, _ = started(livre)
    operator = make.caller(make.person(is_operator=True))

    assert operator.get(f"node/{node.pk}/").json()["address"] == "127.0.0.1:5000"


def test_those_that_should_be_there_are_started_and_nobody_ends_them_for_being_idle(livre: Resource) -> None:
    Resource.objects.filter(pk="livre").update(min_nodes=1)
    now = timezone.now()

    scaling.autoscale(now)
    (wanted,) = Node.objects.all()
    check_in(wanted, "127.0.0.1:5000")
    by_hand, _ = started(livre)
    scaling.autoscale(now + timedelta(days=2))

    assert Node.objects.filter(state=NodeState.IDLE).count() == 2
    Resource.objects.filter(pk="livre").update(idle_timeout=60)
    for seconds in (0, 70, 140):
        scaling.autoscale(now + timedelta(days=2, seconds=seconds))
    assert Node.objects.filter(state=NodeState.DRAINING).count() == 1
    assert Node.objects.filter(state__in=NODE_LIVE, pk__in=[wanted.pk, by_hand.pk]).count() == 2


def test_it_is_started_with_the_format_of_its_kind_of_site(livre: Resource, farm: Farm) -> None:
    livre.process_rest_parameters_format = "--http :${rest_port}"
    livre.scheduler_rest_parameters_format = "-rest ${rest_hostname}:${rest_port}"
    livre.graceful_exit = livre.wait_until_running = False
    cluster = Site(id="cluster", kind="slurm", host="login")

    here, there = (spec_for(livre, site, "rrm-x", "secret").arguments for site in (farm.site, cluster))

    assert here == (
        "--command=livre",
        "--schema",
        "restlivre",
        "--parameters=--http :${rest_port}",
        "--no-graceful-exit",
        "--no-wait",
        "--hostname",
        "127.0.0.1",
    )
    assert "--parameters=-rest ${rest_hostname}:${rest_port}" in there
    assert "--hostname" not in there


@pytest.mark.django_db
def test_a_resource_without_a_command_is_refused() -> None:
    operator = make.caller(make.person(is_operator=True))
    told = problem(operator.post("resource/", {"id": "livre", "renderer": "external"}), 422, "invalid")
    assert "command_line" in told["errors"]
