"""Nodes from request to end: limits, the one-time token, real processes, and repair after anything."""

from __future__ import annotations

import os
import signal
import threading
import time
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connections
from django.utils import timezone

from rrm.domain.states import NODE_LIVE, NodeState
from rrm.errors import StateConflict, Unauthorised
from rrm.farm import loops, nodes, reconciling, reports, scaling, tokens
from rrm.farm.models import Event, HeldModel, Lease, Loop, Node, RenderModel, Resource, Site
from rrm.launchers.base import NodeSpec
from rrm.launchers.local import LocalLauncher
from tests.integration.farm.conftest import Farm

REPORT = {"hostname": "host", "version": "1", "cores": 2, "pid": 1}


def register(node: Node) -> dict[str, Any]:
    return reports.register(nodes.launch_token(node.name), {"node": node.name, **REPORT})


@pytest.fixture
def sleeper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes are real processes that do nothing: what is tested is their life, not their work."""

    def spec(node: Node) -> NodeSpec:
        token = nodes.launch_token(node.name)
        return NodeSpec(node.name, node.resource_id, "http://127.0.0.1:1", token, command=("sleep", "300"))

    monkeypatch.setattr(nodes, "spec_of", spec)


@pytest.fixture
def ended() -> Any:
    yield
    launcher = LocalLauncher(settings.RRM.data_dir)
    for handle in launcher.survey([]).strays.values():
        launcher.stop(handle, timedelta(seconds=1))


def test_a_launch_token_serves_one_check_in(farm: Farm) -> None:
    node = nodes.request_node(farm.resource, None, "test")

    secret = register(node)["token"]
    held = tokens.node_of(secret)
    assert held is not None
    reports.heartbeat(held, {"leases": [], "models": [], "cores": 2})

    with pytest.raises(Unauthorised):
        register(node)


def test_a_lost_answer_to_the_check_in_can_be_asked_for_again(farm: Farm) -> None:
    node = nodes.request_node(farm.resource, None, "test")

    lost = register(node)["token"]
    second = register(node)["token"]

    assert tokens.node_of(lost) is None
    assert tokens.node_of(second) == node


def test_a_launch_token_of_another_node_is_refused(farm: Farm) -> None:
    one, other = (nodes.request_node(farm.resource, None, "test") for _ in range(2))

    with pytest.raises(Unauthorised):
        reports.register(nodes.launch_token(one.name), {"node": other.name, **REPORT})


def test_no_more_nodes_than_the_resource_and_the_site_allow(farm: Farm) -> None:
    Site.objects.filter(pk="here").update(max_nodes=2)
    for _ in range(2):
        nodes.request_node(farm.resource, None, "test")

    with pytest.raises(StateConflict, match="no room for another node"):
        nodes.request_node(farm.resource, None, "test")
    Resource.objects.update(max_nodes=2)
    farm.resource.refresh_from_db()
    with pytest.raises(StateConflict, match="has 2 of at most 2 nodes"):
        nodes.request_node(farm.resource, None, "test")


@pytest.mark.django_db(transaction=True)
def test_rival_requests_cannot_exceed_the_limit(shared_farm: Farm) -> None:
    Site.objects.filter(pk="here").update(max_nodes=3)

    def ask() -> None:
        try:
            nodes.request_node(shared_farm.resource, None, "test")
        except StateConflict:
            pass
        finally:
            connections.close_all()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)

    assert Node.objects.count() == 3


@pytest.mark.usefixtures("sleeper", "ended")
def test_a_node_is_launched_once_and_stopped_for_good(farm: Farm) -> None:
    node = nodes.request_node(farm.resource, None, "test")

    nodes.launch(node.pk)
    nodes.launch(node.pk)
    node.refresh_from_db()
    running = LocalLauncher(settings.RRM.data_dir).survey([]).strays
    assert node.state == NodeState.SUBMITTED
    assert set(running) == {node.name}

    register(node)
    node.refresh_from_db()
    nodes.stop(node, "ada")
    nodes.end(node.pk)

    node.refresh_from_db()
    assert (node.state, node.reason) == (NodeState.STOPPED, "Stopped by ada")
    assert LocalLauncher(settings.RRM.data_dir).survey([]).strays == {}


@pytest.mark.usefixtures("sleeper", "ended")
def test_a_killed_node_fails_and_its_tiles_are_offered_again(farm: Farm) -> None:
    job = farm.submit()
    node = nodes.request_node(farm.resource, None, "test")
    nodes.launch(node.pk)
    register(node)
    node.refresh_from_db()
    farm.lease(node)

    os.kill(node.handle["pid"], signal.SIGKILL)
    _until_dead(node)
    reconciling.reconcile(timezone.now())

    node.refresh_from_db()
    assert node.state == NodeState.FAILED
    assert "ended unexpectedly" in node.reason
    assert not HeldModel.objects.filter(node=node).exists()
    farm.work_off(farm.node())
    job.refresh_from_db()
    assert job.state == "COMPOSING"


@pytest.mark.usefixtures("sleeper", "ended")
def test_a_process_that_nobody_wants_is_ended(farm: Farm) -> None:
    launcher = LocalLauncher(settings.RRM.data_dir)
    launcher.launch(NodeSpec("rrm-orphan", "mandelbrot", "http://127.0.0.1:1", "token", command=("sleep", "300")))

    reconciling.reconcile(timezone.now())

    assert launcher.survey([]).strays == {}


@pytest.mark.usefixtures("sleeper", "ended")
def test_a_launch_that_was_cut_short_is_taken_up_again(farm: Farm) -> None:
    node = nodes.request_node(farm.resource, None, "test")
    first = LocalLauncher(settings.RRM.data_dir).launch(nodes.spec_of(node))  # and the launching process died here

    nodes.launch(node.pk)

    node.refresh_from_db()
    assert node.handle["pid"] == first["pid"]


@pytest.mark.usefixtures("ended")
def test_launches_that_fail_wait_longer_each_time(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    def spec(node: Node) -> NodeSpec:
        return NodeSpec(node.name, node.resource_id, "http://x", "t", command=("/nonexistent/program",))

    monkeypatch.setattr(nodes, "spec_of", spec)
    node = nodes.request_node(farm.resource, None, "test")

    nodes.launch(node.pk)

    node.refresh_from_db()
    farm.resource.refresh_from_db()
    assert node.state == NodeState.FAILED
    assert farm.resource.launch_failures == 1
    assert farm.resource.retry_at is not None
    assert farm.resource.retry_at > timezone.now()
    farm.submit()
    scaling.autoscale(timezone.now())
    assert not Node.objects.filter(state__in=NODE_LIVE).exists()


@pytest.mark.usefixtures("sleeper", "ended")
def test_a_silent_node_is_stopped_but_not_when_the_manager_was_away(farm: Farm) -> None:
    node = nodes.request_node(farm.resource, None, "test")
    nodes.launch(node.pk)
    register(node)
    now = timezone.now() + timedelta(minutes=5)

    Loop.objects.create(name="reconcile", steady_since=now - timedelta(seconds=59))
    reconciling.reconcile(now)
    node.refresh_from_db()
    assert node.state == NodeState.IDLE
    Loop.objects.update(steady_since=now - timedelta(seconds=60))
    reconciling.reconcile(now)

    node.refresh_from_db()
    assert node.state == NodeState.STOPPING
    assert "Silent" in node.reason


def test_work_starts_a_node_and_idleness_ends_it(farm: Farm) -> None:
    Resource.objects.update(idle_timeout=60, max_nodes=2)
    now = timezone.now()
    job = farm.submit()

    scaling.autoscale(now)
    (node,) = Node.objects.all()
    assert node.state == NodeState.REQUESTED
    register(node)
    node.refresh_from_db()
    farm.work_off(node)
    scaling.autoscale(now + timedelta(seconds=30))
    node.refresh_from_db()
    assert node.state == NodeState.IDLE
    for seconds in (90, 105, 120):
        scaling.autoscale(now + timedelta(seconds=seconds))

    node.refresh_from_db()
    job.refresh_from_db()
    farm.resource.refresh_from_db()
    assert node.state == NodeState.DRAINING
    assert farm.resource.last_plan["want"] == 0
    assert Event.objects.filter(subject_type="resource", kind="log").exists()


def test_each_site_of_a_split_job_gets_a_node(farm: Farm) -> None:
    farm.place(farm.add_site("there"), 1)
    Resource.objects.update(max_nodes=2)
    farm.submit(sites={"policy": "split", "ids": ["here", "there"]})

    scaling.autoscale(timezone.now())

    assert set(Node.objects.values_list("site", flat=True)) == {"here", "there"}


@pytest.mark.usefixtures("sleeper", "ended")
def test_nodes_of_one_local_site_are_no_orphans_of_another(farm: Farm) -> None:
    farm.add_site("there")
    node = nodes.request_node(farm.resource, farm.site, "test")
    nodes.launch(node.pk)

    reconciling.reconcile(timezone.now())

    assert set(LocalLauncher(settings.RRM.data_dir).survey([]).strays) == {node.name}


def test_min_nodes_are_kept(farm: Farm) -> None:
    Resource.objects.update(min_nodes=2, max_nodes=3)

    scaling.autoscale(timezone.now())
    scaling.autoscale(timezone.now())

    assert Node.objects.count() == 2


def test_what_a_node_says_it_holds_is_what_it_holds(farm: Farm) -> None:
    farm.submit()
    model = RenderModel.objects.get()
    node = farm.node()
    loaded = {"digest": model.digest, "load_seconds": 2.5, "size_bytes": 1000}

    reports.heartbeat(node, {"leases": [], "models": [loaded], "cores": 2})
    reports.heartbeat(node, {"leases": [], "models": [loaded], "cores": 2})
    model.refresh_from_db()
    assert HeldModel.objects.filter(node=node, model=model).exists()
    assert (model.load_seconds, model.size_bytes) == (2.5, 1000)
    reports.heartbeat(node, {"leases": [], "models": [], "cores": 2})

    assert not HeldModel.objects.filter(node=node).exists()


def test_one_process_at_a_time_runs_a_loop(farm: Farm) -> None:
    turns: list[str] = []

    def outer(_now: object) -> None:
        turns.append("outer")
        assert len(turns) > 1 or not loops.run("tick", lambda now: turns.append("inner"))

    assert loops.run("tick", outer)
    assert loops.run("tick", lambda now: turns.append("later"))
    assert turns == ["outer", "outer", "later"]  # again, as somebody asked for it meanwhile


def test_a_loop_whose_process_died_is_taken_over(farm: Farm) -> None:
    Loop.objects.create(name="tick", running_until=timezone.now() - timedelta(seconds=1))

    assert loops.run("tick", lambda now: None)


def _until_dead(node: Node) -> None:
    launcher = LocalLauncher(settings.RRM.data_dir)
    for _ in range(1500):
        if node.name not in launcher.survey([]).strays:
            return
        time.sleep(0.02)
    raise AssertionError("the node survived SIGKILL")


def test_signs_of_life_are_written_down_now_and_then(farm: Farm) -> None:
    farm.submit()
    node, now, half = farm.node(), timezone.now(), settings.RRM.heartbeat.total_seconds() / 2
    fifth, lease = settings.RRM.lease_minimum.total_seconds() / 5, farm.lease(node)

    def written(after: float) -> tuple[datetime, datetime]:
        row = Node.objects.get(pk=node.pk)
        reports.heartbeat(row, {"leases": [lease["id"]], "models": []}, now + timedelta(seconds=after))
        row.refresh_from_db()
        seen = row.last_heartbeat
        assert seen is not None
        return seen, Lease.objects.get(pk=lease["id"]).deadline

    first = written(4.0)
    assert first == (now + timedelta(seconds=4), now + timedelta(seconds=4) + settings.RRM.lease_minimum)
    assert written(3.9 + half) == first
    seen = now + timedelta(seconds=4.1 + half)
    assert written(4.1 + half) == (seen, first[1]), "the lease has four fifths of its time left"
    later = now + timedelta(seconds=4.1 + fifth)
    assert written(4.1 + fifth)[1] == later + settings.RRM.lease_minimum
