"""The plan as people see it, and those who are told when it cannot be carried out."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core import mail
from django.core.management import CommandError, call_command
from django.utils import timezone

from rrm.domain.states import NodeState
from rrm.errors import NoCapacity
from rrm.farm import booking, decisions, loops, nodes, notices, patience, quotas, scaling
from rrm.farm.models import Estimate, Event, Loop, Node, RenderModel, Resource, ResourceSite, Site
from rrm.farm.specs import tailored
from tests import factories as make
from tests.integration.farm.conftest import Farm


def told(*words: str) -> str:
    out = StringIO()
    call_command("plan", *words, stdout=out)
    return out.getvalue()


def test_the_plan_is_told_before_it_acts_and_nothing_is_changed(farm: Farm) -> None:
    farm.submit()
    before = Resource.objects.values().get()

    text = told("--explain")

    assert "mandelbrot: 1 wanted, 0 exist: launching 1 at here." in text
    assert "launch 1 at here" in text
    assert "node-seconds" in text
    assert "rendering s" in text
    assert Resource.objects.values().get() == before
    assert not Node.objects.exists()


def test_the_plan_for_programs_has_everything(farm: Farm) -> None:
    farm.submit()
    body = json.loads(told("--json"))["mandelbrot"]
    assert (body["want"], body["have"], body["launch"], body["drain"]) == (1, 0, {"here": 1}, [])
    assert body["work"][0]["render_seconds"] > 0
    assert body["because"]
    assert body["next_at"] > body["at"]


def test_a_resource_that_is_not_there_is_said(farm: Farm) -> None:
    with pytest.raises(CommandError, match="no resource 'nowhere'"):
        told("--resource", "nowhere")


def test_a_resource_is_named_in_any_case(farm: Farm) -> None:
    assert list(json.loads(told("--json", "--resource", "Mandelbrot"))) == ["mandelbrot"]


@pytest.mark.parametrize("limit", [0, 2])
def test_work_wants_no_more_nodes_than_its_owner_may_have(farm: Farm, limit: int) -> None:
    for _ in range(3):
        farm.submit(width=1024, height=1024)
    Estimate.objects.update_or_create(
        model=RenderModel.objects.get(), hardware="", defaults={"pixel_seconds": 0.001, "measured_at": timezone.now()}
    )
    assert scaling.plan(farm.resource, timezone.now()).want > 2
    quotas.change(farm.owner, {"max_nodes": limit})
    assert scaling.plan(farm.resource, timezone.now()).want == limit


def test_a_node_that_goes_for_work_that_is_bound_to_another_site_says_so(farm: Farm) -> None:
    farm.place(farm.add_site("there"), 1)
    Resource.objects.update(max_nodes=1)
    idle = farm.node()
    farm.submit(sites={"policy": "only", "ids": ["there"]})

    scaling.autoscale(timezone.now())

    idle.refresh_from_db()
    assert (idle.state, idle.reason) == (
        NodeState.DRAINING,
        "It goes to make place for work that is bound to there, as the maximum is 1.",
    )
    last = Resource.objects.get().last_plan["reason"]
    assert last == "1 wanted, 1 exist: letting 1 go to make place for work that is bound to there, as the maximum is 1."


def test_an_idle_node_of_one_resource_makes_place_for_the_work_of_another(farm: Farm) -> None:
    Site.objects.update(max_nodes=1)
    idle = farm.node()
    other = make.resource(name="other", max_nodes=1)
    ResourceSite.objects.create(resource=other, site=farm.site)
    make.job(farm.owner, other)
    now = timezone.now()

    scaling.autoscale(now)

    idle.refresh_from_db()
    farm.resource.refresh_from_db()
    assert idle.state == NodeState.DRAINING
    assert idle.reason == "It makes place for other, which lacks nodes and has no room."
    assert farm.resource.last_plan["make_place"] == [{"node": idle.name, "resource": "other"}]
    scaling.autoscale(now + timedelta(seconds=15))
    assert Node.objects.filter(resource=other).count() == 0
    nodes.gone(idle, NodeState.STOPPED, "left")
    scaling.autoscale(now + timedelta(seconds=30))
    assert Node.objects.filter(resource=other, state=NodeState.REQUESTED).count() == 1


def test_a_node_whose_time_ends_is_replaced_and_retired(farm: Farm) -> None:
    Resource.objects.update(min_nodes=1, start_seconds=30)
    node = farm.node()
    now = timezone.now()
    Node.objects.update(started_at=now - timedelta(hours=1), ends_at=now + timedelta(seconds=80))
    scaling.autoscale(now)
    node.refresh_from_db()
    assert node.state == NodeState.IDLE
    assert Node.objects.filter(state=NodeState.REQUESTED).count() == 1
    scaling.autoscale(now + timedelta(seconds=21))
    node.refresh_from_db()
    assert node.state == NodeState.DRAINING
    assert Node.objects.filter(state=NodeState.REQUESTED).count() == 1


def test_nodes_that_start_together_do_not_end_together(farm: Farm) -> None:
    Resource.objects.update(time_limit=3600)
    limits = {nodes.spec_of(farm.node()).batch.time_limit for _ in range(5)}
    assert len(limits) > 1
    assert all(timedelta(minutes=48) <= limit <= timedelta(minutes=60) for limit in limits)
    own = nodes.request_node(farm.resource, None, "test", overrides={"time_limit": 600})
    assert nodes.spec_of(own).batch.time_limit == timedelta(minutes=10)
    assert tailored(farm.resource, {}).time_limit == 0


def test_operators_are_told_once_when_a_resource_becomes_inoperable(
    farm: Farm, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.ADMINS = [("", "operator@example.org")]
    now = timezone.now()
    for number in range(8):
        patience.failed("mandelbrot", "sbatch: error: no such partition", now + timedelta(hours=number))
    alarms = Event.objects.filter(kind="log", data__level="error")
    assert [event.data["message"] for event in alarms] == [
        "mandelbrot is inoperable: 5 nodes in a row could not be started. sbatch: error: no such partition"
    ]
    assert "mandelbrot is inoperable" in caplog.text
    notices.send("mandelbrot is inoperable", "Why.")
    assert [(each.subject, each.to) for each in mail.outbox] == [
        ("[RRM] mandelbrot is inoperable", ["operator@example.org"])
    ]


def test_a_mail_server_that_is_away_is_a_line_in_the_log(
    farm: Farm, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.ADMINS, settings.EMAIL_PORT = [("", "operator@example.org")], 1
    settings.EMAIL_HOST, settings.EMAIL_BACKEND = "127.0.0.1", "django.core.mail.backends.smtp.EmailBackend"
    notices.send("mandelbrot is inoperable", "Why.")
    assert "could not be told" in caplog.text


def test_the_decisions_of_the_last_hour_are_counted(farm: Farm) -> None:
    farm.submit(tile_size=16)
    farm.work_off(farm.node())
    found = decisions.counted(timezone.now())
    ranges = sum(found["reasons"].values())
    assert found["reasons"]["no-holder"] == found["loads_per_hour"] == 1
    assert found["hit_rate"] == round((ranges - 1) / ranges, 4)
    assert decisions.counted(timezone.now() + timedelta(hours=2))["reasons"] == {}


def two_resources_with_work(farm: Farm) -> None:
    other = make.resource(name="other", max_nodes=1)
    ResourceSite.objects.create(resource=other, site=farm.site)
    for resource in (farm.resource, other):
        make.job(farm.owner, resource)


def test_a_plan_that_cannot_be_carried_out_keeps_no_other_from_it(
    farm: Farm, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    two_resources_with_work(farm)
    request, failed = nodes.request_node, list[str]()

    def once(resource: Resource, *args: Any) -> Node:
        if not failed:
            failed.append(resource.pk)
            raise ValueError("It is broken.")
        return request(resource, *args)

    monkeypatch.setattr(nodes, "request_node", once)
    scaling.autoscale(timezone.now())
    assert {*Node.objects.values_list("resource", flat=True), *failed} == {"mandelbrot", "other"}
    assert f"plan of {failed[0]}" in caplog.text


def test_a_turn_that_is_taken_over_in_the_middle_leaves_the_rest_to_the_other(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_resources_with_work(farm)
    request = nodes.request_node

    def slowly(resource: Resource, *args: Any) -> Node:
        Loop.objects.update(running_until=timezone.now() + timedelta(seconds=9))  # by another process
        return request(resource, *args)

    monkeypatch.setattr(nodes, "request_node", slowly)
    assert not loops.run("autoscale", scaling.autoscale)
    assert Node.objects.count() == 1


def test_an_idle_node_makes_place_for_a_person_who_waits(farm: Farm) -> None:
    Site.objects.update(max_nodes=1)
    idle = farm.node()
    other = make.resource(name="other", max_nodes=1)
    ResourceSite.objects.create(resource=other, site=farm.site)
    wish = booking.Wish(other, max_wait=timedelta(seconds=60))

    session = booking.book(farm.owner, wish, timezone.now())

    assert (session.state, session.reason) == ("PENDING", "Waits for the place of an idle node at here.")
    scaling.autoscale(timezone.now())
    idle.refresh_from_db()
    assert idle.state == NodeState.DRAINING
    Resource.objects.filter(pk="mandelbrot").update(min_nodes=1)
    with pytest.raises(NoCapacity, match="the 1 node that other may have"):
        booking.book(farm.owner, wish, timezone.now())


@pytest.mark.parametrize("why", ["a session's own", "at a site out of reach"])
def test_no_node_is_planned_where_others_take_all_places(
    farm: Farm, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    Resource.objects.update(max_nodes=1)
    farm.resource.refresh_from_db()
    own = uuid4() if why == "a session's own" else None
    nodes.request_node(farm.resource, farm.site, "test", reserved_for=own)
    if own is None:
        farm.place(farm.add_site("there"), 1)
        Site.objects.filter(pk=farm.site.pk).update(problem="no route to host")
    farm.submit()
    now = timezone.now()

    with caplog.at_level("INFO"):
        for turn in range(4):
            scaling.autoscale(now + turn * timedelta(seconds=15))

    assert "No node started" not in caplog.text
    farm.resource.refresh_from_db()
    assert farm.resource.last_plan["launch"] == {}
    assert farm.resource.last_plan["reason"] == (
        "1 wanted, 0 exist: no place is left, as 1 of 1 are taken by nodes of sessions' own and by nodes asked of "
        "sites out of reach."
    )
    assert "1 of its 1 places" in told("--explain")
