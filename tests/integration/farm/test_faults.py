"""Nodes that fail, lie, or come too late: nothing of it is kept, and the job is done by others."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from django.utils import timezone

from rrm.domain.states import JobState, LeaseState
from rrm.errors import BadBundle, NotFound, StaleLease, TooLarge
from rrm.farm import composing, deliveries, jobs, reports
from rrm.farm.models import Job, Lease
from tests.integration.farm.conftest import Farm, bundle_of


def test_late_results_are_refused_and_leave_nothing(farm: Farm) -> None:
    job = farm.submit()
    slow, other = farm.node(), farm.node()
    lease = farm.lease(slow)
    Lease.objects.update(deadline=timezone.now() - timedelta(seconds=1))
    assert deliveries.expire(timezone.now()) == 1

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
            deliveries.expire(timezone.now())
            return super().read(size)

    with pytest.raises(StaleLease):
        deliveries.complete(node, UUID(lease["id"]), Slow(bundle_of(lease)))

    assert not jobs.files(job).range(lease["id"]).exists()


def test_a_node_cannot_deliver_what_it_was_not_given(farm: Farm) -> None:
    farm.submit()
    owner, thief = farm.node(), farm.node()
    lease = farm.lease(owner)

    with pytest.raises(NotFound):
        deliveries.complete(thief, UUID(lease["id"]), io.BytesIO(bundle_of(lease)))
    with pytest.raises(NotFound):
        deliveries.complete(owner, uuid4(), io.BytesIO(b""))
    other = {**lease, "start": lease["stop"], "stop": lease["stop"] + 1}
    with pytest.raises(BadBundle, match="start"):
        deliveries.complete(owner, UUID(lease["id"]), io.BytesIO(bundle_of(other)))


@pytest.mark.parametrize("cut", [0, 3, 8, 200, -1])
def test_a_truncated_upload_is_refused_and_can_be_sent_again(farm: Farm, cut: int) -> None:
    job = farm.submit()
    node = farm.node()
    lease = farm.lease(node)
    body = bundle_of(lease)

    with pytest.raises(BadBundle):
        deliveries.complete(node, UUID(lease["id"]), io.BytesIO(body[:cut]))
    assert list(jobs.files(job).ranges.iterdir()) == []
    deliveries.complete(node, UUID(lease["id"]), io.BytesIO(body))

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
            deliveries.fail(node, UUID(lease["id"]), poison, "division by zero")
        else:
            farm.deliver(node, lease)

    job.refresh_from_db()
    assert job.state == JobState.FAILED
    assert "Tile 5 (row 0, column 5)" in job.reason
    assert not job.leases.filter(state=LeaseState.ACTIVE).exists()


def test_one_sick_node_does_not_fail_a_job_that_others_can_do(farm: Farm) -> None:
    job = farm.submit()
    sick, sound = farm.node(cores=1), farm.node(cores=1)

    for _ in range(64):
        lease = farm.ask(sick)["lease"]
        if lease is None:
            break
        deliveries.fail(sick, UUID(lease["id"]), None, "no GPU")
    farm.work_off(sound)

    job.refresh_from_db()
    assert job.state == JobState.COMPOSING


def test_a_heartbeat_does_not_keep_a_lease_for_ever(farm: Farm) -> None:
    farm.submit(width=16, height=16)
    stuck, free = farm.node(), farm.node()
    lease = farm.lease(stuck)
    later = timezone.now() + settings.RRM.lease_longest + timedelta(seconds=1)

    reports.heartbeat(stuck, {"leases": [lease["id"]], "models": [], "cores": 2}, later)
    assert deliveries.expire(later) == 1

    assert farm.ask(free)["lease"] is not None


def test_an_absurd_load_time_is_ignored(farm: Farm) -> None:
    farm.submit()
    liar, honest = farm.node(), farm.node()
    digest = farm.lease(liar)["model"]["digest"]

    for seconds in (1e300, -1.0, float("nan")):
        entry = {"digest": digest, "load_seconds": seconds, "size_bytes": 2**70}
        reports.heartbeat(liar, {"leases": [], "models": [entry], "cores": 10**9})

    assert farm.ask(honest)["lease"] is not None
    liar.refresh_from_db()
    assert liar.cores <= 4096


def test_a_render_time_longer_than_the_lease_is_not_believed(farm: Farm) -> None:
    farm.submit()
    node = farm.node()
    lease = farm.lease(node)
    body = bundle_of(lease)
    boast = re.sub(rb'"render_ms": ?[0-9.e-]+', lambda found: b'"render_ms":9' + b"0" * (len(found[0]) - 13), body)
    assert len(boast) == len(body)

    deliveries.complete(node, UUID(lease["id"]), io.BytesIO(boast))

    assert Lease.objects.get(pk=lease["id"]).render_ms < 60_000


def test_a_job_that_is_deleted_while_results_arrive_takes_nothing(farm: Farm) -> None:
    job = farm.submit()
    node = farm.node()
    lease = farm.lease(node)

    class Deleting(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if Job.objects.filter(pk=job.pk).exists():
                jobs.cancel(job, "ada")
                jobs.delete(job, "ada")
                jobs.files(job).remove()
            return super().read(size)

    with pytest.raises(StaleLease):
        deliveries.complete(node, UUID(lease["id"]), Deleting(bundle_of(lease)))


def test_a_node_that_failed_on_tiles_leaves_them_to_another(farm: Farm) -> None:
    farm.submit(width=16, height=16)
    bad, good = farm.node(), farm.node()
    deliveries.fail(bad, UUID(farm.lease(bad)["id"]), 0, "out of memory")

    assert farm.ask(bad)["lease"] is None
    lease = farm.lease(good)
    deliveries.fail(good, UUID(lease["id"]), 0, "out of memory")
    assert farm.ask(bad)["lease"] is not None


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
