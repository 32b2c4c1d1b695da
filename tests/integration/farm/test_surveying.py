"""What follows from what a site reached over SSH says, or does not say, of its nodes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from rrm.domain.states import NodeState
from rrm.errors import LauncherError, SiteUnavailable
from rrm.farm import nodes, reports, scaling, sites, surveying, waiting, wakeups
from rrm.farm.models import Event, Node, Resource, Site
from rrm.launchers import bootstrap
from rrm.launchers.base import NEVER, Handle, Launcher, Liveness, NodeSpec, Observation, Stream, Survey
from rrm.launchers.bootstrap import Renderers
from rrm.launchers.connection import connection_to
from tests.integration.farm.conftest import Farm

PENDING, RUNNING, GONE, UNKNOWN = (Observation(each) for each in Liveness)
AWAY = "The host does not answer."


class Cluster(Launcher):
    """A site whose answers a test decides; the real launchers keep the same promises in the contract suite."""

    def __init__(self) -> None:
        self.says: dict[str, Observation] = {}
        self.strays: dict[str, Handle] = {}
        self.problem = ""
        self.questions = 0
        self.confirms_stops = False
        self.asked_to_stop: list[str] = []
        self.launch_error: LauncherError | None = None

    def launch(self, spec: NodeSpec) -> Handle:
        if self.launch_error:
            raise self.launch_error
        return {"name": spec.name, "job": 1}

    def script(self, spec: NodeSpec) -> str:
        return ""

    def survey(self, handles: Sequence[Handle]) -> Survey:
        self.questions += 1
        names = [handle["name"] for handle in handles]
        if self.problem:
            return Survey(dict.fromkeys(names, UNKNOWN), problem=self.problem)
        return Survey({name: self.says.get(name, RUNNING) for name in names}, self.strays)

    def stop(self, handle: Handle, grace: timedelta) -> bool:
        self.asked_to_stop.append(handle["name"])
        return self.confirms_stops

    def account(self, handle: Handle) -> str:
        raise SiteUnavailable(AWAY)

    def logs(self, handle: Handle, stream: Stream, tail: int) -> str:
        raise SiteUnavailable(AWAY)


@pytest.fixture
def cluster(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    site = Site.objects.create(id="cluster", kind="slurm", host="login", max_nodes=50)
    farm.place(site, 1)
    made = Cluster()
    monkeypatch.setattr(sites, "launcher_for", lambda _site: made)
    return made


def far_node(farm: Farm, *, launched: bool = True, checked_in: bool = False) -> Node:
    node = nodes.request_node(farm.resource, Site.objects.get(pk="cluster"), "test")
    if launched:
        nodes.launch(node.pk)
    if checked_in:
        reports.register(
            nodes.launch_token(node.name), {"node": node.name, "hostname": "n1", "version": "1", "cores": 4}
        )
    node.refresh_from_db()
    return node


def turn(seconds: float = 0) -> None:
    """The site is asked, so many seconds from now."""
    surveying.survey_far("cluster", timezone.now() + timedelta(seconds=seconds))


def now_is(node: Node) -> tuple[str, str]:
    node.refresh_from_db()
    return node.state, node.reason


def test_a_site_is_asked_once_in_its_interval_however_often_somebody_wants_to(farm: Farm, cluster: Cluster) -> None:
    far_node(farm)
    for _ in range(5):
        turn()
    assert cluster.questions == 1
    turn(9)
    assert cluster.questions == 1
    turn(11)
    assert cluster.questions == 2


def test_a_site_without_nodes_is_hardly_ever_asked(farm: Farm, cluster: Cluster) -> None:
    for seconds in (0, 20, 299, 301):
        turn(seconds)
    assert cluster.questions == 2


def test_a_disabled_site_without_nodes_is_not_asked(farm: Farm, cluster: Cluster) -> None:
    Site.objects.filter(pk="cluster").update(enabled=False)
    turn()
    assert cluster.questions == 0


def test_a_site_out_of_reach_loses_no_node_and_says_why(farm: Farm, cluster: Cluster) -> None:
    waiting, working = far_node(farm), far_node(farm, checked_in=True)
    cluster.problem = AWAY
    for minute in range(3):
        turn(60 * minute)
    site = Site.objects.get(pk="cluster")
    assert (now_is(waiting)[0], now_is(working)[0]) == (NodeState.SUBMITTED, NodeState.IDLE)
    assert site.problem == AWAY
    assert Event.objects.filter(kind="log", subject_type="site").count() == 1

    cluster.problem = ""
    turn(200)
    assert Site.objects.get(pk="cluster").problem == ""
    assert Site.objects.get(pk="cluster").problem_since is None


def test_waiting_in_the_queue_of_a_site_may_take_for_ever_and_the_reason_is_shown(farm: Farm, cluster: Cluster) -> None:
    node = far_node(farm)
    cluster.says[node.name] = Observation(Liveness.PENDING, "The partition is full (Resources)")
    turn(3600)
    assert now_is(node) == (NodeState.SUBMITTED, "Waits at the site: The partition is full (Resources)")
    turn(7200)
    assert Event.objects.filter(subject_id=str(node.pk), data__reason__startswith="Waits").count() == 1


def test_a_node_that_runs_and_does_not_check_in_has_failed(farm: Farm, cluster: Cluster) -> None:
    node = far_node(farm)
    cluster.says[node.name] = PENDING
    turn(3600)
    cluster.says[node.name] = RUNNING
    turn(3700)
    turn(3800)
    assert now_is(node)[0] == NodeState.SUBMITTED
    turn(3830)
    assert now_is(node) == (NodeState.FAILED, "Did not check in within 120 s")


@pytest.mark.parametrize("checked_in", [False, True])
def test_a_node_that_ended_says_why(farm: Farm, cluster: Cluster, checked_in: bool) -> None:
    node = far_node(farm, checked_in=checked_in)
    cluster.says[node.name] = Observation(Liveness.GONE, "It used more memory than it had asked for (OUT_OF_MEMORY).")
    turn()
    state, reason = now_is(node)
    assert state == NodeState.FAILED
    assert "OUT_OF_MEMORY" in reason
    assert Resource.objects.get().launch_failures == 1


def dies_early(farm: Farm, cluster: Cluster, *, seconds: float) -> Resource:
    """The resource after a node that checked in and was gone so many seconds later."""
    node = far_node(farm, checked_in=True)
    cluster.says[node.name] = GONE
    Site.objects.update(asked_at=None)
    turn(seconds)
    return Resource.objects.get()


def test_nodes_that_end_soon_after_their_check_in_wait_longer_each_time(farm: Farm, cluster: Cluster) -> None:
    waits = []
    for _ in range(3):
        resource = dies_early(farm, cluster, seconds=12)
        assert resource.retry_at is not None
        waits.append((resource.retry_at - timezone.now()).total_seconds() - 12)
        Resource.objects.update(retry_at=None)
    assert resource.launch_failures == 3
    assert waits == pytest.approx([3, 30, 60], abs=2)


def test_a_node_that_lasted_or_delivered_is_no_failed_launch(farm: Farm, cluster: Cluster) -> None:
    assert dies_early(farm, cluster, seconds=61).launch_failures == 0
    farm.submit()
    busy = far_node(farm, checked_in=True)
    farm.deliver(busy, farm.lease(busy))
    cluster.says[busy.name] = GONE
    Site.objects.update(asked_at=None)
    turn(5)
    assert now_is(busy)[0] == NodeState.FAILED
    assert Resource.objects.get().launch_failures == 0


def test_failures_are_forgotten_once_a_node_lasts(farm: Farm, cluster: Cluster) -> None:
    Resource.objects.update(launch_failures=5)
    far_node(farm, checked_in=True)
    assert Resource.objects.get().launch_failures == 4  # it may be used again
    turn(30)
    assert Resource.objects.get().launch_failures == 4
    Node.objects.update(last_heartbeat=timezone.now() + timedelta(seconds=60))
    turn(61)
    assert Resource.objects.get().launch_failures == 0


def test_renderers_that_cannot_be_brought_are_the_problem_of_the_site(
    farm: Farm, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_connection: object) -> Renderers:
        raise LauncherError("Nothing may be executed in /scratch.")

    site = Site.objects.get(pk="cluster")
    monkeypatch.setattr(bootstrap, "ensure_renderers", refuse)
    monkeypatch.setattr(
        cluster, "launch", lambda _spec: sites._renderers_at(site, connection_to(sites.target_of(site)))
    )
    node = far_node(farm)
    assert "/scratch" in now_is(node)[1]
    turn(20)
    assert "/scratch" in Site.objects.get(pk="cluster").problem
    turn(400)  # somebody may have mended it: it is tried again
    assert Site.objects.get(pk="cluster").problem == ""


def test_a_stop_counts_once_the_site_confirms_it(farm: Farm, cluster: Cluster) -> None:
    node = far_node(farm, checked_in=True)
    nodes.stop(node, "ada")
    nodes.end(node.pk)
    assert now_is(node)[0] == NodeState.STOPPING
    turn(1)
    assert now_is(node)[0] == NodeState.STOPPING
    cluster.says[node.name] = GONE
    turn(12)
    assert now_is(node) == (NodeState.STOPPED, "Stopped by ada")


def test_a_launch_of_unknown_outcome_is_tried_again_and_a_refusal_is_not(
    farm: Farm, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[Any] = []
    monkeypatch.setattr(wakeups, "wake", lambda *message, **_: woken.append(message))
    cluster.launch_error = SiteUnavailable(AWAY)
    node = far_node(farm)
    assert now_is(node) == (NodeState.REQUESTED, f"Waits for its site: {AWAY}")
    woken.clear()
    turn(25)
    assert ("rrm.site.launch_node", str(node.pk)) in woken

    cluster.launch_error = LauncherError("Invalid account or account/partition combination specified")
    nodes.launch(node.pk)
    state, reason = now_is(node)
    assert state == NodeState.FAILED
    assert "Invalid account" in reason


def test_strays_are_ended_and_wanted_nodes_are_not(farm: Farm, cluster: Cluster) -> None:
    wanted, here = far_node(farm), farm.node()
    cluster.strays = {name: {"name": name, "job": 7} for name in ("rrm-stray", wanted.name, here.name)}
    turn()
    assert cluster.asked_to_stop == ["rrm-stray"]


def test_work_goes_elsewhere_while_a_site_is_out_of_reach(farm: Farm, cluster: Cluster) -> None:
    Resource.objects.update(min_nodes=1)
    cluster.launch_error = SiteUnavailable(AWAY)
    far_node(farm)
    cluster.problem = AWAY
    turn()
    scaling.autoscale(timezone.now())
    assert list(Node.objects.order_by("requested_at").values_list("site", flat=True)) == ["cluster", "here"]


def test_a_job_bound_to_a_site_out_of_reach_says_so(farm: Farm, cluster: Cluster) -> None:
    job = farm.submit(sites={"policy": "only", "ids": ["cluster"]})
    far_node(farm)
    cluster.problem = AWAY
    turn()
    assert waiting.pending_reason(job) == f"cluster cannot be used at present: {AWAY}"


def test_a_node_that_left_because_its_site_ended_it_says_what_the_site_says(farm: Farm, cluster: Cluster) -> None:
    node = far_node(farm, checked_in=True)
    reports.goodbye(node, "done")
    cluster.says[node.name] = Observation(Liveness.GONE, "Was cancelled by root.")
    turn()
    assert now_is(node) == (NodeState.STOPPED, "Was cancelled by root.")


def test_what_will_never_start_is_given_up_after_a_while(farm: Farm, cluster: Cluster) -> None:
    node = far_node(farm)
    cluster.says[node.name] = Observation(Liveness.PENDING, f"{NEVER}: its account is not known.")
    turn(11)
    assert now_is(node)[0] == NodeState.SUBMITTED
    turn(90)
    assert now_is(node) == (NodeState.FAILED, f"{NEVER}: its account is not known.")


def test_a_batch_job_of_several_machines_is_several_nodes_with_one_launch(farm: Farm, cluster: Cluster) -> None:
    farm.resource.nb_nodes = 3
    farm.resource.save()
    node = far_node(farm)
    several = Node.objects.filter(name__startswith=node.name).order_by("name")
    assert [each.name for each in several] == [node.name, f"{node.name}.1", f"{node.name}.2"]
    assert {each.state for each in several} == {NodeState.SUBMITTED}
    for each in several:
        reports.register(
            nodes.launch_token(node.name), {"node": each.name, "hostname": "n", "version": "1", "cores": 4}
        )
    assert set(several.values_list("state", flat=True)) == {NodeState.IDLE}


def test_the_autoscaler_asks_for_whole_batch_jobs_as_far_as_there_is_room(farm: Farm, cluster: Cluster) -> None:
    Site.objects.exclude(pk="cluster").update(enabled=False)
    Resource.objects.update(nb_nodes=2, max_nodes=5, min_nodes=5)
    scaling.autoscale(timezone.now())
    assert Node.objects.count() == 4
    scaling.autoscale(timezone.now())
    assert Node.objects.count() == 4
    assert "a batch job, which makes 2 nodes at once" in Resource.objects.get().last_plan["reason"]


def test_the_machines_of_a_refused_batch_job_fail_together(farm: Farm, cluster: Cluster) -> None:
    farm.resource.nb_nodes = 2
    farm.resource.save()
    cluster.launch_error = LauncherError("Invalid partition name specified")
    node = far_node(farm)
    assert set(Node.objects.filter(name__startswith=node.name).values_list("state", flat=True)) == {NodeState.FAILED}
    assert Resource.objects.get().launch_failures == 1
