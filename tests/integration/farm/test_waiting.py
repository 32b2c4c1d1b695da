"""Why a job waits: the facts behind the sentences, in a constant number of queries."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from rrm.domain.states import NodeState
from rrm.farm import estimates, jobs, nodes, quotas, snapshot, waiting
from rrm.farm.models import HeldModel, Job, Node, RenderModel, Resource, Site
from tests import factories as make
from tests.integration.farm.conftest import VIEW, Farm
from tests.integration.farm.people import SOON, book


def reason(job: Job) -> str:
    return waiting.pending_reason(Job.objects.get(pk=job.pk))


def test_a_job_behind_others_is_told_how_many(farm: Farm) -> None:
    node = farm.node()
    farm.submit(width=256, height=256, priority="urgent")
    farm.lease(node)
    farm.submit(priority="high")
    farm.submit()
    job = farm.submit()
    assert reason(job) == (
        "The only node of mandelbrot that may take it is busy; "
        "it is behind 2 jobs of higher priority and 1 job whose turn comes first."
    )


def test_a_job_is_behind_those_alone_that_the_nodes_it_may_use_can_do(farm: Farm) -> None:
    there = farm.add_site("there")
    farm.place(there, 1)
    node = farm.node()
    farm.submit(width=256, height=256, priority="urgent")
    farm.lease(node)
    only, split = {"policy": "only", "ids": ["there"]}, {"policy": "split", "ids": ["here", "there"]}
    farm.submit(priority="high", sites=only)
    farm.submit(sites=only)
    job, last = farm.submit(sites={"policy": "only", "ids": ["here"]}), farm.submit(sites=split)
    assert reason(job) == (
        "The only node of mandelbrot that may take it is busy; it is behind 1 job of higher priority."
    )
    assert reason(last).endswith("it is behind 1 job of higher priority and 1 job whose turn comes first.")
    Site.objects.filter(pk="here").update(capabilities=["gpu"])
    farm.submit(priority="high", requires=["gpu"])
    assert reason(job).endswith("it is behind 2 jobs of higher priority.")
    Site.objects.filter(pk="here").update(capabilities=[])
    assert reason(job).endswith("it is behind 1 job of higher priority.")
    other = farm.node(there)
    farm.lease(other)
    assert reason(last).startswith("All 2 nodes")
    assert reason(last).endswith("it is behind 2 jobs of higher priority and 2 jobs whose turn comes first.")


def test_a_job_behind_a_session_is_told_so_also_by_its_resource(farm: Farm) -> None:
    Resource.objects.update(max_nodes=1)
    farm.node(answers=True)
    book(farm)
    assert snapshot.resource_states([Resource.objects.get()], timezone.now()) == {
        "mandelbrot": ("active", "1 node at work for people.")
    }
    why = reason(farm.submit())
    assert why == (
        "The only node of mandelbrot that may take it is booked for a session; it is next. "
        "mandelbrot may have 1 node at most."
    )
    assert snapshot.resource_states([Resource.objects.get()], timezone.now()) == {
        "mandelbrot": ("active", f"1 node at work for people. 1 job waits. {why}")
    }


def test_that_a_node_will_be_started_is_said_only_where_the_limits_allow_one(farm: Farm) -> None:
    job, there = farm.submit(), farm.add_site("there", max_nodes=1)
    assert reason(job) == "No node of mandelbrot is running there; one will be started."
    Resource.objects.update(max_nodes=0)
    assert reason(job) == "No node of mandelbrot is running there; mandelbrot may have none at present."
    Resource.objects.update(max_nodes=5)
    Site.objects.filter(pk="here").update(max_nodes=1)
    make.node(make.resource(farm.site, name="other"), farm.site)
    full = "No node of mandelbrot is running there; here can take no more nodes: it waits for a place."
    assert reason(job) == full
    farm.place(there, 1)
    assert reason(job) == "No node of mandelbrot is running there; one will be started."


def test_a_job_of_an_owner_with_all_their_nodes_waits_for_one(farm: Farm) -> None:
    quotas.change(farm.owner, {"max_nodes": 1})
    farm.submit(width=256, height=256)
    farm.lease(farm.node())
    farm.node()
    assert reason(farm.submit()) == "1 node is at work for its owner, who may have no more: it waits for that one."


def test_a_job_waits_for_a_holder_that_is_free_sooner_than_another_could_load(farm: Farm) -> None:
    holder, other = farm.node(), farm.node()
    job = farm.submit()
    estimates.learn_load(job.model_id, holder, 60, timezone.now())
    farm.submit(params={**VIEW, "max_iter": 65}, priority="urgent", width=256, height=256)
    farm.lease(holder)
    HeldModel.objects.create(node=holder, model=job.model)
    assert other.state == "IDLE"
    assert "sooner than another could load it (60 s)" in reason(job)
    assert farm.ask(other)["lease"] is None


def test_a_job_waits_for_its_turn_to_load_where_as_many_load_as_may(farm: Farm) -> None:
    Site.objects.update(max_parallel_loads=1)
    loading, free = farm.node(), farm.node()
    farm.submit(params={**VIEW, "max_iter": 65})
    farm.lease(loading)
    job = farm.submit()
    assert farm.ask(free)["lease"] is None
    assert reason(job) == ("It waits for its turn to load its model at here: as many as may be are loaded there now.")
    RenderModel.objects.filter(pk=job.model_id).update(load_seconds=0.5)
    assert reason(job) == "A node of mandelbrot is free and takes it up next."
    assert farm.lease(free)["job"] == str(job.pk)


def test_no_node_is_free_for_a_job_that_it_could_not_end(farm: Farm) -> None:
    node = farm.node()
    job = farm.submit()
    Node.objects.update(ends_at=timezone.now() + timedelta(seconds=5))
    node.refresh_from_db()
    assert farm.ask(node)["lease"] is None
    assert reason(job) == "The only node of mandelbrot that may take it is too near its end; it is next."
    Node.objects.update(ends_at=timezone.now() + timedelta(minutes=5))
    assert reason(job) == "A node of mandelbrot is free and takes it up next."


def test_an_idle_node_that_is_reserved_for_a_session_is_not_free_for_a_job(farm: Farm) -> None:
    node = farm.node()
    Node.objects.update(reserved_for=book(farm, SOON).pk)
    node.refresh_from_db()
    assert reason(farm.submit()) == (
        "The only node of mandelbrot that may take it is booked for a session; it is next."
    )
    assert farm.ask(node)["lease"] is None
    Node.objects.update(reserved_for=None)


def test_a_node_that_failed_on_all_of_a_job_is_not_free_for_it_while_another_works(farm: Farm) -> None:
    busy, failed = farm.node(), farm.node()
    farm.submit(width=256, height=256, priority="urgent")
    farm.lease(busy)
    job = farm.submit(sites={"policy": "only", "ids": ["here"]})
    HeldModel.objects.create(node=failed, model=job.model)
    assert reason(job) == "A node of mandelbrot that holds its model is free and takes it up next."

    job.shares.update(failed_on=[failed.name])
    assert reason(job) == (
        "The only node of mandelbrot that may take it is busy; it is behind 1 job of higher priority."
    )
    nodes.gone(busy, NodeState.FAILED, "It was killed.")
    assert reason(job) == "A node of mandelbrot that holds its model is free and takes it up next."


def test_a_node_goes_on_at_a_site_that_was_disabled(farm: Farm) -> None:
    node = farm.node()
    job = farm.submit()
    Site.objects.update(enabled=False)
    assert reason(job) == "A node of mandelbrot is free and takes it up next."
    assert farm.lease(node)["job"] == str(job.pk)


def test_a_job_whose_model_is_quarantined_says_so(farm: Farm) -> None:
    farm.node()
    job = farm.submit()
    now = timezone.now()
    failed = [["n1", now.timestamp()], ["n0", (now - timedelta(days=1)).timestamp()]]
    RenderModel.objects.update(quarantined_until=now + timedelta(minutes=15), load_failures=failed)
    assert reason(job) == "Nodes could not load its model (n1); it is tried again in 15 min."


def test_a_late_job_is_not_failed_and_says_that_it_is_late(farm: Farm) -> None:
    job = farm.submit(deadline=(timezone.now() + timedelta(hours=1)).isoformat())
    Job.objects.update(deadline=timezone.now() - timedelta(hours=3))
    assert reason(job).endswith("It is late: its deadline was 3 h ago.")
    assert farm.lease(farm.node())["job"] == str(job.pk)


def test_a_job_that_would_be_late_goes_before_older_ones_of_its_owner(farm: Farm) -> None:
    farm.submit(params={**VIEW, "max_iter": 65})
    pressed = farm.submit(deadline=(timezone.now() + timedelta(seconds=50)).isoformat())
    assert farm.lease(farm.node())["job"] == str(pressed.pk)


def test_the_farm_says_what_the_next_job_waits_for(farm: Farm) -> None:
    farm.submit(priority="low")
    farm.submit()
    farm.site.enabled = False
    farm.site.save()
    shown = snapshot.farm_snapshot(timezone.now())
    assert shown["status"] == "starved"
    assert shown["reason"] == (
        "2 jobs wait. No node may run at mandelbrot: every site of it is disabled or has room for none."
    )


def test_the_farm_says_how_many_jobs_wait_for_what(farm: Farm) -> None:
    there = farm.add_site("there", max_nodes=0)
    farm.place(there, 1)
    full = User.objects.create_user("bob")
    quotas.change(full, {"max_nodes": 0})
    order = {"params": VIEW, "width": 64, "height": 64, "tile_size": 16}
    for _ in range(2):
        jobs.submit(full, order)
    Site.objects.filter(pk="there").update(max_nodes=1)
    farm.submit(priority="low", sites={"policy": "only", "ids": ["there"]})
    Site.objects.filter(pk="there").update(max_nodes=0)
    resting = farm.submit(params={**VIEW, "max_iter": 9}, priority="urgent").model_id
    until = timezone.now() + timedelta(minutes=15)
    RenderModel.objects.filter(pk=resting).update(quarantined_until=until)
    for _ in range(3):
        farm.submit()

    assert snapshot.farm_snapshot(timezone.now())["reason"] == (
        "7 jobs wait: 3 for a node to be started, 2 for a node that a quota allows, 1 for a model that nodes could not "
        "load and 1 for a site where a node may run. "
        "Next in turn: Nodes could not load its model; it is tried again in 15 min."
    )


def test_of_very_many_jobs_the_first_are_told_apart(
    farm: Farm, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    monkeypatch.setattr(waiting, "_TOLD_APART", 2)
    for number in range(3):
        farm.submit(params={**VIEW, "max_iter": 10 + number})
    RenderModel.objects.filter(params__max_iter=10).update(quarantined_until=timezone.now() + timedelta(minutes=5))
    with django_assert_max_num_queries(14):
        said = waiting.summaries(["mandelbrot"])
    assert said["mandelbrot"].startswith(
        "3 jobs wait: of the first 2, 1 for a model that nodes could not load and 1 for"
    )


def test_a_resource_that_backs_off_says_when_it_tries_again(farm: Farm) -> None:
    farm.submit()
    Resource.objects.update(retry_at=timezone.now() + timedelta(seconds=100), launch_failures=2, reason="It crashed.")
    ((status, said),) = snapshot.resource_states(list(Resource.objects.all()), timezone.now()).values()
    assert status == "starved"
    assert "2 starts in a row failed; the next is tried in" in said


def test_many_jobs_cost_as_many_queries_as_few(farm: Farm, django_assert_max_num_queries: Any) -> None:
    farm.node()
    for number in range(12):
        owner = User.objects.create_user(f"user{number}")
        quotas.change(owner, {"max_nodes": 1})
        view = {**VIEW, "max_iter": 100 + number}
        jobs.submit(owner, {"params": view, "width": 64, "height": 64, "tile_size": 16})
    shown = list(Job.objects.select_related("model", "resource"))
    with django_assert_max_num_queries(14):
        assert all(waiting.pending_reasons(shown).values())
