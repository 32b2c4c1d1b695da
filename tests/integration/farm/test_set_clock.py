"""A clock that is set, back or on, by an hour: nothing waits for as long, and nobody is taken for gone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from rrm.domain.states import LeaseState, NodeState
from rrm.farm import loops, patience, sessions, sites, snapshot, surveying
from rrm.farm.models import Job, Lease, Node, Quota, RenderModel, Resource, Site
from tests.integration.farm.conftest import Farm
from tests.integration.farm.people import SOON, book, now_is
from tests.integration.farm.test_surveying import Cluster, far_node
from tests.integration.farm.walls import Wall

HOUR = timedelta(hours=1)


@pytest.mark.parametrize("by", [-HOUR, HOUR])
def test_a_turn_is_taken_over_and_whoever_had_it_does_not_act(wall: Wall, by: timedelta) -> None:
    acted: list[str] = []

    def outer(_now: datetime) -> None:
        wall.set(by)
        assert loops.run("tick", lambda _: acted.append("inner"))
        loops.fence()
        acted.append("outer")

    assert not loops.run("tick", outer)
    assert acted == ["inner"]


def test_a_clock_that_is_set_back_makes_no_quarantine_longer_and_no_job_younger(farm: Farm, wall: Wall) -> None:
    farm.submit()
    RenderModel.objects.update(quarantined_until=wall.at + settings.RRM.quarantine_period)

    wall.set(-HOUR)
    wall.turns()

    longest = wall.at + settings.RRM.quarantine_period
    assert not RenderModel.objects.filter(quarantined_until__gt=longest).exists()
    assert Job.objects.get().created_at <= wall.at


def test_a_loop_that_no_longer_turns_is_seen_though_it_last_did_in_the_future(wall: Wall) -> None:
    wall.turns()
    assert {loop["ok"] for loop in snapshot.loops(timezone.now())} == {True}
    wall.set(-HOUR)
    assert {loop["ok"] for loop in snapshot.loops(timezone.now())} == {False}


def test_a_site_far_away_is_asked_on(farm: Farm, wall: Wall, monkeypatch: pytest.MonkeyPatch) -> None:
    site, cluster = Site.objects.create(id="cluster", kind="slurm", host="login", max_nodes=50), Cluster()
    farm.place(site, 1)
    monkeypatch.setattr(sites, "launcher_for", lambda _site: cluster)
    far_node(farm)
    surveying.survey_far("cluster", timezone.now())
    wall.set(-HOUR)
    wall.turns()
    before = cluster.questions
    surveying.survey_far("cluster", timezone.now())
    assert cluster.questions == before + 1


def test_work_gets_its_nodes_and_a_failed_launch_its_next_try(farm: Farm, wall: Wall) -> None:
    farm.node()
    Resource.objects.update(min_nodes=1)
    Resource.objects.update(up_since=timezone.now(), demand_history=[[timezone.now().timestamp(), 9]])
    patience.failed("mandelbrot", "no", timezone.now())
    wall.set(-HOUR)
    Resource.objects.update(min_nodes=3)
    wall.turns(seconds=10)
    assert Node.objects.filter(state=NodeState.REQUESTED).count() == 2
    assert Resource.objects.get().demand_history[-1][1] == 3
    assert len(Resource.objects.get().demand_history) == 1


def test_a_lease_whose_node_is_not_heard_is_given_to_others(farm: Farm, wall: Wall) -> None:
    farm.submit()
    farm.lease(farm.node())
    wall.set(-HOUR)
    wall.turns(seconds=20)
    assert Lease.objects.get().state == LeaseState.RETURNED


def test_a_node_that_is_not_heard_is_stopped(farm: Farm, wall: Wall, monkeypatch: pytest.MonkeyPatch) -> None:
    node = far_node_that_runs(farm, monkeypatch)
    wall.set(-HOUR)
    wall.turns(seconds=50)
    node.refresh_from_db()
    assert node.state == NodeState.IDLE
    wall.turns(seconds=80)
    node.refresh_from_db()
    assert node.state == NodeState.STOPPING


def test_results_of_a_lease_from_a_later_hour_are_measured_by_what_the_node_says(farm: Farm, wall: Wall) -> None:
    farm.submit()
    node = farm.node()
    lease = farm.lease(node)
    wall.set(-HOUR)
    farm.deliver(node, lease)
    node.refresh_from_db()
    assert node.busy_seconds >= 0
    assert Quota.objects.get().charged_seconds >= 0
    assert all(held.pixel_seconds and held.pixel_seconds > 0 for held in node.held.all())


def test_nobody_waits_longer_for_a_renderer_than_they_would(farm: Farm, wall: Wall) -> None:
    session = book(farm, SOON)
    wall.set(-HOUR)
    wall.turns(seconds=50)
    assert now_is(session)[0] == "FAILED"


def test_a_session_that_nobody_uses_ends_in_its_time(farm: Farm, wall: Wall) -> None:
    farm.node(answers=True)
    session = book(farm, idle=timedelta(seconds=100))
    wall.turns(seconds=70, heard=True)
    wall.set(-HOUR)
    wall.turns(seconds=120, heard=True)
    assert now_is(session) == ("ENDED", "Nobody used it for 100 s.")


def test_on_by_an_hour_sessions_in_use_and_nodes_that_are_heard_stay(
    farm: Farm, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = far_node_that_runs(farm, monkeypatch)
    farm.node(answers=True)
    session, unused = book(farm), book(farm, SOON)
    farm.node(answers=True)
    wall.turns()
    wall.set(HOUR)
    wall.turns(seconds=20)
    sessions.touch(session.pk)
    wall.turns(seconds=50, heard=True)
    node.refresh_from_db()
    assert node.state == NodeState.IDLE
    assert now_is(session)[0] == "READY"
    assert now_is(unused) == ("ENDED", "Nobody used it for 300 s.")


def far_node_that_runs(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> Node:
    """A node whose site says that it runs, whenever the loop asks."""
    site, cluster = Site.objects.create(id="cluster", kind="slurm", host="login", max_nodes=50), Cluster()
    farm.place(site, 1)
    monkeypatch.setattr(sites, "launcher_for", lambda _site: cluster)
    monkeypatch.setattr("rrm.farm.surveying.wakeups.wake", _carry_out)
    Resource.objects.update(min_nodes=9)
    return far_node(farm, checked_in=True)


def _carry_out(task: str, *args: str, **_: Any) -> None:
    if task == "rrm.site.survey":
        surveying.survey_far(args[0], timezone.now())
