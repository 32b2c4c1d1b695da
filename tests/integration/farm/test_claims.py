"""Claims: how much of a job a node gets at once, and whether there is room for one more node of an owner."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone

from rrm.farm import claims, jobs, market, quotas, wakeups
from rrm.farm.models import HeldModel, Job, JobShare, Lease, Node
from tests.integration.farm.conftest import VIEW, Farm


def size_of(farm: Farm, node: Node) -> int:
    lease = farm.lease(node)
    return int(lease["stop"] - lease["start"])


def test_a_lease_is_no_more_than_what_may_be_uploaded_at_once(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    three_tiles = 3 * 12 * 16 * 16
    farm.submit(width=128, height=128)
    node = farm.node(cores=8)
    monkeypatch.setattr(settings, "RRM", replace(settings.RRM, max_body_bytes=three_tiles))
    assert size_of(farm, node) == 3

    monkeypatch.setattr(settings, "RRM", replace(settings.RRM, max_body_bytes=1))
    assert size_of(farm, farm.node(cores=8)) == 1


@pytest.mark.parametrize(("age", "tiles"), [(0, 4), (5, 4), (15, 12), (25, 20), (1000, 20)])
def test_leases_grow_with_the_age_of_their_job_to_five_times_the_least(farm: Farm, age: int, tiles: int) -> None:
    job, node = farm.submit(width=1024, height=1024), farm.node(cores=1)
    farm.deliver(node, farm.lease(node))
    least = settings.RRM.lease_target
    HeldModel.objects.update(pixel_seconds=least.total_seconds() / (4 * 16 * 16))
    Job.objects.filter(pk=job.pk).update(started_at=timezone.now() - (age + 0.01) * least)

    assert size_of(farm, node) == tiles


def take(offered: market.Market, node: Node) -> None:
    choice = offered.choose(offered.asking(node, ()), timezone.now())
    assert choice is not None
    job = offered.jobs[choice.job_id]
    claims.take(offered, claims.Claim(node, job, job.shares[0], choice, None), timezone.now())
    node.refresh_from_db()


def test_a_node_counts_once_for_its_owner_however_many_leases_it_has(farm: Farm) -> None:
    quotas.change(farm.owner, {"max_nodes": 2})
    farm.submit(width=256, height=256)
    first, second = farm.node(cores=1), farm.node(cores=1)
    offered = market.of(first)

    take(offered, first)
    take(offered, first)
    assert offered.full == frozenset()
    take(offered, second)
    assert offered.full == {str(farm.owner.pk)}


def test_when_a_node_is_done_another_may_work_for_the_owner_at_once(lasting: Farm) -> None:
    quotas.change(lasting.owner, {"max_nodes": 1})
    lasting.submit(width=256, height=256)
    first, second = lasting.node(cores=1), lasting.node(cores=1)
    lease = lasting.lease(first)
    assert lasting.ask(second)["lease"] is None

    rung_at = wakeups.WORK.rung_at
    lasting.deliver(first, lease)

    assert wakeups.WORK.rung_at == rung_at  # nobody was told to look again
    assert lasting.ask(second)["lease"] is not None


def test_where_another_process_took_the_last_place_of_an_owner_the_node_works_for_somebody_else(
    lasting: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    quotas.change(lasting.owner, {"max_nodes": 1})
    lasting.submit(width=256, height=256, priority="urgent")
    bob = User.objects.create_user("bob")
    other, _ = jobs.submit(bob, {"params": VIEW, "width": 64, "height": 64, "tile_size": 16})
    lasting.lease(lasting.node(cores=1))
    monkeypatch.setattr(quotas, "room", lambda limited: dict.fromkeys(limited, 1))  # as read before that
    wakeups.WORK.ring()

    assert lasting.lease(lasting.node(cores=1))["job"] == str(other.pk)


def test_what_comes_while_a_node_waits_is_given_at_once(lasting: Farm) -> None:
    node = lasting.node()
    assert lasting.ask(node)["lease"] is None
    lasting.submit()
    assert lasting.ask(node)["lease"] is not None


def test_where_another_process_took_the_last_of_a_job_the_node_turns_to_the_next(lasting: Farm) -> None:
    lasting.submit(priority="urgent")
    other = lasting.submit(width=256, height=256)
    first, second = lasting.node(cores=1), lasting.node(cores=1)
    taken = lasting.lease(first)
    share = JobShare.objects.get(job=taken["job"])
    share.cursor = share.stop
    share.save()
    rest = {"job": share.job, "share": share, "node": first, "start": taken["stop"], "stop": share.stop}
    Lease.objects.create(**rest, decision="warm", deadline=timezone.now() + timedelta(minutes=1))

    assert lasting.lease(second)["job"] == str(other.pk)
