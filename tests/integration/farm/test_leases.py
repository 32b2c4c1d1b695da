"""Leases: each tile is one node's at a time, results count once, and nothing is lost on the way."""

from __future__ import annotations

import io
import threading
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import numpy as np
import pytest
from django.conf import settings
from django.db import connections
from django.utils import timezone
from PIL import Image

from rrm.domain.states import JobState, LeaseState, NodeState
from rrm.errors import BadBundle, NotFound, StaleLease, TooLarge
from rrm.farm import composing, jobs, leases, nodes
from rrm.farm.models import Event, Job, Lease, Node
from rrm.results import bundle
from tests.integration.farm.conftest import Farm, bundle_of


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
    first = bundle.tile_array(kept.range(whole.pk), 0, "counts", leases.grid_of(job))
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


def test_late_results_are_refused_and_leave_nothing(farm: Farm) -> None:
    job = farm.submit()
    slow, other = farm.node(), farm.node()
    lease = farm.lease(slow)
    Lease.objects.update(deadline=timezone.now() - timedelta(seconds=1))
    assert leases.expire(timezone.now()) == 1

    with pytest.raises(StaleLease):
        farm.deliver(slow, lease)

    job.refresh_from_db()
    assert job.tiles_done == 0
    assert not jobs.files(job).range(lease["id"]).exists()
    farm.work_off(other)
    job.refresh_from_db()
    assert job.state == JobState.COMPOSING


def test_results_that_become_stale_while_they_arrive_are_refused(farm: Farm) -> None:
    job = farm.submit()
    node = farm.node()
    lease = farm.lease(node)

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            Lease.objects.filter(pk=lease["id"]).update(deadline=timezone.now() - timedelta(hours=1))
            leases.expire(timezone.now())
            return super().read(size)

    with pytest.raises(StaleLease):
        leases.complete(node, UUID(lease["id"]), Slow(bundle_of(lease)))

    assert not jobs.files(job).range(lease["id"]).exists()


def test_a_node_cannot_deliver_what_it_was_not_given(farm: Farm) -> None:
    farm.submit()
    owner, thief = farm.node(), farm.node()
    lease = farm.lease(owner)

    with pytest.raises(NotFound):
        leases.complete(thief, UUID(lease["id"]), io.BytesIO(bundle_of(lease)))
    with pytest.raises(NotFound):
        leases.complete(owner, uuid4(), io.BytesIO(b""))
    other = {**lease, "start": lease["stop"], "stop": lease["stop"] + 1}
    with pytest.raises(BadBundle, match="start"):
        leases.complete(owner, UUID(lease["id"]), io.BytesIO(bundle_of(other)))


@pytest.mark.parametrize("cut", [0, 3, 8, 200, -1])
def test_a_truncated_upload_is_refused_and_can_be_sent_again(farm: Farm, cut: int) -> None:
    job = farm.submit()
    node = farm.node()
    lease = farm.lease(node)
    body = bundle_of(lease)

    with pytest.raises(BadBundle):
        leases.complete(node, UUID(lease["id"]), io.BytesIO(body[:cut]))
    assert list(jobs.files(job).ranges.iterdir()) == []
    leases.complete(node, UUID(lease["id"]), io.BytesIO(body))

    assert Lease.objects.get(pk=lease["id"]).state == LeaseState.DONE


def test_an_upload_beyond_the_limit_is_refused(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    job = farm.submit()
    node = farm.node()
    lease = farm.lease(node)
    monkeypatch.setattr(settings, "RRM", replace(settings.RRM, max_body_bytes=100))

    with pytest.raises(TooLarge):
        farm.deliver(node, lease)

    assert list(jobs.files(job).ranges.iterdir()) == []


def test_a_range_that_fails_comes_back_in_halves_until_the_bad_tile_stands_alone(farm: Farm) -> None:
    job = farm.submit(width=128, height=128)
    node = farm.node(cores=1)
    poison = 5

    for _ in range(200):
        lease = farm.ask(node)["lease"]
        if lease is None:
            break
        if lease["start"] <= poison < lease["stop"]:
            leases.fail(node, UUID(lease["id"]), poison, "division by zero")
        else:
            farm.deliver(node, lease)

    job.refresh_from_db()
    assert job.state == JobState.FAILED
    assert "Tile 5 (row 0, column 5)" in job.reason
    assert not job.leases.filter(state=LeaseState.ACTIVE).exists()


def test_a_node_that_failed_on_tiles_leaves_them_to_another(farm: Farm) -> None:
    farm.submit(width=16, height=16)
    bad, good = farm.node(), farm.node()
    leases.fail(bad, UUID(farm.lease(bad)["id"]), 0, "out of memory")

    assert farm.ask(bad)["lease"] is None
    lease = farm.lease(good)
    leases.fail(good, UUID(lease["id"]), 0, "out of memory")
    assert farm.ask(bad)["lease"] is not None


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

    kept = nodes.heartbeat(node, {"leases": [lease["id"]], "models": [], "cores": 1})
    extended = Lease.objects.get(pk=lease["id"]).deadline
    jobs.cancel(job, "ada")
    revoked = nodes.heartbeat(node, {"leases": [lease["id"]], "models": [], "cores": 1})

    assert kept == {"command": "run", "revoked": []}
    assert extended > timezone.now() + timedelta(seconds=5)
    assert revoked == {"command": "run", "revoked": [lease["id"]]}


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


def test_a_damaged_range_is_rendered_again(farm: Farm) -> None:
    job = farm.submit()
    node = farm.node()
    farm.work_off(node)
    victim = job.leases.order_by("start").first()
    assert victim is not None
    path = jobs.files(job).range(victim.pk)
    path.write_bytes(path.read_bytes()[:-50])

    composing.compose_job(job.pk)
    job.refresh_from_db()
    assert job.state == JobState.RUNNING
    farm.work_off(node)
    composing.compose_job(job.pk)

    job.refresh_from_db()
    assert job.state == JobState.COMPLETED


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
    nodes.goodbye(node, "drained")

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
        thread.join(120)

    job.refresh_from_db()
    assert problems == []
    assert job.state == JobState.COMPOSING
    done = sorted((lease.start, lease.stop) for lease in job.leases.filter(state=LeaseState.DONE))
    assert [tile for start, stop in done for tile in range(start, stop)] == list(range(120))
