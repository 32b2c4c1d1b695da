"""Leases: each tile is one node's at a time, results count once, and nothing is lost on the way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial

import numpy as np
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connections
from django.utils import timezone
from PIL import Image

from rrm.domain.states import JobState, LeaseState, NodeState
from rrm.errors import NotFound, StateConflict, TooMany
from rrm.farm import composing, estimates, jobs, market, nodes, ranges, reconciling, reports, waiting
from rrm.farm.models import Event, Job, Lease, Node, Quota, Resource, Site
from rrm.results import bundle
from tests.integration.farm.conftest import VIEW, Farm


def test_a_job_is_rendered_and_composed(farm: Farm) -> None:
    job = farm.submit(outputs=["png", "counts", "smooth"])
    node = farm.node()

    farm.work_off(node)
    job.refresh_from_db()
    assert job.state == JobState.COMPOSING
    composing.compose_job(job.pk)

    job.refresh_from_db()
    node.refresh_from_db()
    kept = jobs.files(job)
    counts = np.load(kept.counts)
    assert (job.state, job.tiles_done, node.state, node.tiles_done) == ("COMPLETED", 16, "IDLE", 16)
    assert counts.shape == (64, 64)
    with Image.open(kept.image) as picture:
        assert picture.size == (64, 64)
    assert np.load(kept.smooth).dtype == np.float32
    whole = Lease.objects.filter(job=job).order_by("start").first()
    assert whole is not None
    first = bundle.tile_array(kept.range(whole.pk), 0, "counts", job.grid)
    assert (counts[:16, :16] == first).all()


def test_the_first_lease_is_small_and_later_ones_are_sized_in_time(farm: Farm) -> None:
    farm.submit(width=1024, height=1024)
    node = farm.node(cores=2)

    first = farm.lease(node)
    farm.deliver(node, first)
    second = farm.lease(node)

    assert first["stop"] - first["start"] == 2
    assert second["stop"] - second["start"] > 2


def test_a_node_holds_three_leases_and_no_more(farm: Farm) -> None:
    farm.submit()
    node = farm.node(cores=1)

    one = farm.lease(node)
    two = farm.lease(node, one["id"])
    three = farm.lease(node, one["id"], two["id"])
    four = farm.ask(node, one["id"], two["id"], three["id"])

    assert (two["start"], three["start"]) == (one["stop"], two["stop"])
    assert four["lease"] is None


def test_a_lease_whose_answer_was_lost_is_handed_out_again(farm: Farm) -> None:
    farm.submit()
    node = farm.node()

    lost = farm.lease(node)
    again = farm.lease(node)

    assert again["id"] == lost["id"]
    assert Lease.objects.count() == 1


def test_the_same_results_sent_twice_count_once(farm: Farm) -> None:
    job = farm.submit()
    node = farm.node()
    lease = farm.lease(node)

    farm.deliver(node, lease)
    farm.deliver(node, lease)

    job.refresh_from_db()
    assert job.tiles_done == lease["stop"] - lease["start"]
    assert Event.objects.filter(job=job, kind="tiles").count() == 1


def test_what_a_site_may_not_take_does_not_crowd_out_what_it_may(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market, "_CANDIDATES", 3)
    farm.place(farm.add_site("there"), 1)
    for _ in range(4):
        farm.submit(sites={"policy": "only", "ids": ["there"]})
    mine = farm.submit()

    assert farm.lease(farm.node(farm.site))["job"] == str(mine.pk)


def test_the_urgent_comes_before_many_that_are_older(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market, "_CANDIDATES", 3)
    for _ in range(4):
        farm.submit(priority="low")
    urgent = farm.submit(priority="urgent")

    assert farm.lease(farm.node())["job"] == str(urgent.pk)


def test_an_owner_who_was_served_lately_lets_another_go_first(farm: Farm) -> None:
    node = farm.node(cores=1)
    first = farm.submit(width=256, height=256)
    farm.deliver(node, farm.lease(node))
    bob = User.objects.create_user("bob")
    order = {"params": VIEW, "width": 64, "height": 64, "tile_size": 16}
    other = jobs.submit(bob, order)[0]
    Quota.objects.filter(owner=first.owner).update(charged_seconds=60)

    assert farm.lease(node)["job"] == str(other.pk)
    assert first.owner != bob


@pytest.mark.django_db(transaction=True)
def test_a_job_is_either_retried_or_deleted(shared_farm: Farm) -> None:
    def attempt(work: Callable[[], None]) -> None:
        try:
            work()
        except (StateConflict, NotFound):
            pass
        finally:
            connections.close_all()

    for _ in range(10):
        job = shared_farm.submit(width=16, height=16)
        jobs.cancel(job, "ada")
        stale = Job.objects.get(pk=job.pk)
        tries = (partial(jobs.retry, job, "ada"), partial(jobs.delete, stale, "ada"))
        threads = [threading.Thread(target=attempt, args=(work,)) for work in tries]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(300)
        left = Job.objects.filter(pk=job.pk).first()
        assert left is None or left.state == JobState.QUEUED


def test_one_person_may_have_so_many_open_jobs_and_no_more(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "RRM", replace(settings.RRM, max_open_jobs=2))
    farm.submit()
    farm.submit()

    with pytest.raises(TooMany, match="2 unfinished jobs"):
        farm.submit()


def test_a_job_says_which_site_it_waits_for(farm: Farm) -> None:
    there = farm.add_site("there")
    farm.place(there, 1)
    job = farm.submit(sites={"policy": "only", "ids": ["there"]})
    farm.node(farm.site)

    assert "will be started" in waiting.pending_reason(job)
    Site.objects.filter(pk="there").update(enabled=False)
    assert "No node may run at there" in waiting.pending_reason(job)
    Resource.objects.update(enabled=False)
    assert "disabled" in waiting.pending_reason(Job.objects.get(pk=job.pk))


def test_the_first_range_of_a_job_is_small_even_on_a_fast_node(farm: Farm) -> None:
    node = farm.node(cores=2)
    farm.submit()
    farm.work_off(node)
    farm.submit(width=1024, height=1024)

    first = farm.lease(node)

    assert first["stop"] - first["start"] == 2


def test_a_node_that_is_gone_leaves_its_tiles_to_the_others(farm: Farm) -> None:
    job = farm.submit()
    dead, alive = farm.node(), farm.node()
    farm.lease(dead)

    nodes.gone(dead, NodeState.FAILED, "killed")
    farm.work_off(alive)

    job.refresh_from_db()
    assert job.state == JobState.COMPOSING
    assert Node.objects.get(pk=dead.pk).state == NodeState.FAILED


def test_a_heartbeat_keeps_leases_and_tells_which_to_abandon(farm: Farm) -> None:
    job = farm.submit()
    node = farm.node(cores=1)
    lease = farm.lease(node)
    Lease.objects.update(deadline=timezone.now() + timedelta(seconds=1))

    kept = reports.heartbeat(node, {"leases": [lease["id"]], "models": [], "cores": 1})
    extended = Lease.objects.get(pk=lease["id"]).deadline
    jobs.cancel(job, "ada")
    revoked = reports.heartbeat(node, {"leases": [lease["id"]], "models": [], "cores": 1})

    assert kept == {"command": "run", "revoked": [], "pinned": []}
    assert extended > timezone.now() + timedelta(seconds=5)
    assert revoked == {"command": "run", "revoked": [lease["id"]], "pinned": []}


def test_a_cancelled_job_can_be_retried_and_keeps_what_is_done(farm: Farm) -> None:
    job = farm.submit()
    node = farm.node(cores=1)
    farm.deliver(node, farm.lease(node))
    done = Job.objects.get(pk=job.pk).tiles_done

    job.refresh_from_db()
    jobs.cancel(job, "ada")
    assert farm.ask(node)["lease"] is None
    jobs.retry(job, "ada")
    farm.work_off(node)

    job.refresh_from_db()
    assert done > 0
    assert job.state == JobState.COMPOSING
    assert sum(lease.stop - lease.start for lease in job.leases.filter(state="DONE")) == 16


def test_a_paused_job_gives_nothing_and_goes_on_when_resumed(farm: Farm) -> None:
    job = farm.submit()
    node = farm.node(cores=1)
    lease = farm.lease(node)

    job.refresh_from_db()
    jobs.pause(job, "ada")
    assert farm.ask(node, lease["id"])["lease"] is None
    farm.deliver(node, lease)
    jobs.resume(job, "ada")
    farm.work_off(node)

    job.refresh_from_db()
    assert job.state == JobState.COMPOSING


def test_a_job_whose_last_tiles_arrive_while_it_is_paused_is_composed_when_resumed(farm: Farm) -> None:
    job = farm.submit(width=16, height=16)
    node = farm.node()
    lease = farm.lease(node)

    job.refresh_from_db()
    jobs.pause(job, "ada")
    farm.deliver(node, lease)
    job.refresh_from_db()
    assert job.state == JobState.PAUSED
    jobs.resume(job, "ada")

    job.refresh_from_db()
    assert job.state == JobState.COMPOSING


def test_split_gives_each_site_its_own_half(farm: Farm) -> None:
    there = farm.add_site("there")
    farm.place(there, 1)
    job = farm.submit(sites={"policy": "split", "ids": ["here", "there"]})
    near, far = farm.node(farm.site), farm.node(there)

    farm.work_off(near)
    assert {lease.node.site_id for lease in job.leases.all()} == {"here"}
    assert Job.objects.get(pk=job.pk).tiles_done == 8
    farm.work_off(far)

    job.refresh_from_db()
    sites = jobs.by_site([job])[job.pk]
    assert [(site["site"], site["tiles"]) for site in sites] == [("here", 8), ("there", 8)]


def test_only_keeps_other_sites_out(farm: Farm) -> None:
    there = farm.add_site("there")
    farm.place(there, 1)
    farm.submit(sites={"policy": "only", "ids": ["there"]})

    assert farm.ask(farm.node(farm.site))["lease"] is None
    assert farm.ask(farm.node(there))["lease"] is not None


def test_a_draining_node_delivers_and_is_told_to_leave(farm: Farm) -> None:
    farm.submit()
    node = farm.node(cores=1)
    lease = farm.lease(node)
    node.refresh_from_db()

    nodes.drain(node, "operator")
    told = farm.ask(node, lease["id"])
    delivered = farm.deliver(node, lease)
    reports.goodbye(node, "drained")

    node.refresh_from_db()
    assert (told["command"], told["lease"], delivered["command"]) == ("drain", None, "drain")
    assert node.state == NodeState.STOPPING


@pytest.mark.django_db(transaction=True)
def test_rivals_never_share_a_tile(shared_farm: Farm) -> None:
    job = shared_farm.submit(width=192, height=160)  # 120 tiles
    workers = [shared_farm.node(cores=1) for _ in range(8)]
    problems: list[BaseException] = []

    def run(node: Node) -> None:
        try:
            idle = 0
            while idle < 20:
                lease = shared_farm.ask(node)["lease"]
                idle = 0 if lease else idle + 1
                if lease:
                    shared_farm.deliver(node, lease)
                if Job.objects.get(pk=job.pk).state != JobState.RUNNING and not lease:
                    break
        except BaseException as error:
            problems.append(error)
            raise
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(node,)) for node in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)

    job.refresh_from_db()
    assert problems == []
    assert job.state == JobState.COMPOSING
    done = sorted((lease.start, lease.stop) for lease in job.leases.filter(state=LeaseState.DONE))
    assert [tile for start, stop in done for tile in range(start, stop)] == list(range(120))


def test_a_busy_node_that_has_nothing_any_more_is_freed_by_the_repair_loop(farm: Farm) -> None:
    farm.submit()
    node = farm.node()
    farm.lease(node)
    ranges.give_back(Lease.objects.get(), "as two that end at once leave it")
    now = timezone.now()

    reconciling.reconcile(now)
    node.refresh_from_db()
    assert node.state == NodeState.BUSY  # it may be about to be freed
    reconciling.reconcile(now + timedelta(seconds=6))
    node.refresh_from_db()
    assert node.state == NodeState.IDLE


def test_a_node_that_ends_soon_gets_no_work(farm: Farm) -> None:
    farm.submit()
    node, now = farm.node(), timezone.now()
    node.ends_at = now + timedelta(seconds=8)
    assert farm.ask(node)["lease"] is None
    node.ends_at = now + timedelta(hours=1)
    assert farm.ask(node)["lease"] is not None


def test_a_model_that_takes_long_to_load_goes_to_a_node_that_lives_long_enough(farm: Farm) -> None:
    job = farm.submit()
    node, now = farm.node(), timezone.now()
    estimates.learn_load(job.model_id, node, 600, now)
    node.ends_at = now + timedelta(seconds=900)
    assert farm.ask(node)["lease"] is None
