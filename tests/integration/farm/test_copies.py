"""Second copies of slow ranges: the first result counts, the other leaves nothing, no tile is lost or done twice."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import Mock
from uuid import UUID

import pytest
from django.db import connection
from django.utils import timezone

from rrm.domain.states import JobState, LeaseState, NodeState
from rrm.errors import StaleLease
from rrm.farm import composing, consistency, copies, deliveries, jobs, leases, nodes, quotas, reports, wakeups
from rrm.farm.models import HeldModel, Job, Lease, Node, RenderModel
from tests.integration.farm.conftest import Farm, bundle_of


class Race:
    """A job whose last range a slow node has, and an idle node that has a copy of it."""

    def __init__(self, farm: Farm) -> None:
        self.farm = farm
        self.slow, self.quick = farm.node(), farm.node()
        first = farm.submit(width=32, height=16)
        farm.work_off(self.slow, self.quick)
        composing.compose_job(first.pk)
        self.job = farm.submit(width=16, height=16)
        self.first = farm.lease(self.slow)
        assert farm.ask(self.quick)["lease"] is None
        age(timedelta(seconds=6))
        self.copy = farm.lease(self.quick)

    def rows(self) -> tuple[Lease, Lease]:
        return Lease.objects.get(pk=self.first["id"]), Lease.objects.get(pk=self.copy["id"])

    def finished(self) -> bool:
        self.job.refresh_from_db()
        return self.job.state == JobState.COMPOSING


def age(by: timedelta) -> None:
    """Have everything that nodes got and delivered be longer ago, and what is known of it be forgotten."""
    wakeups.WORK.ring()
    for lease in Lease.objects.all():
        ended = lease.finished_at - by if lease.finished_at else None
        Lease.objects.filter(pk=lease.pk).update(created_at=lease.created_at - by, finished_at=ended)


@pytest.fixture
def race(farm: Farm) -> Race:
    return Race(farm)


def test_an_idle_node_gets_a_copy_of_a_range_that_takes_too_long(race: Race) -> None:
    first, copy = race.rows()

    assert (copy.job_id, copy.share_id, copy.start, copy.stop) == (first.job_id, first.share_id, 0, 1)
    assert (first.is_copy, copy.is_copy, copy.decision) == (False, True, "copy")
    assert race.farm.ask(race.farm.node())["lease"] is None
    assert list(consistency.problems()) == []


def test_in_quarantine_only_a_node_that_holds_the_model_gets_a_copy(farm: Farm) -> None:
    slow, quick, other = farm.node(), farm.node(), farm.node()
    farm.submit(width=32, height=16)
    farm.work_off(slow, quick)
    farm.submit(width=16, height=16)
    farm.lease(slow)
    RenderModel.objects.update(quarantined_until=timezone.now() + timedelta(minutes=15))
    age(timedelta(seconds=6))

    assert farm.ask(other)["lease"] is None
    assert farm.ask(quick)["lease"] is not None


def test_the_copy_that_is_faster_counts_and_the_first_leaves_nothing(race: Race) -> None:
    race.farm.deliver(race.quick, race.copy)

    assert race.finished()
    first, copy = race.rows()
    assert (first.state, first.is_copy) == (LeaseState.RETURNED, True)
    assert (copy.state, copy.is_copy) == (LeaseState.DONE, False)
    assert "faster" in first.reason
    report = {"leases": [race.first["id"]], "models": [], "cores": 2}
    race.slow.refresh_from_db()
    assert race.slow.state == NodeState.IDLE
    assert reports.heartbeat(race.slow, report)["revoked"] == [race.first["id"]]
    with pytest.raises(StaleLease):
        race.farm.deliver(race.slow, race.first)
    assert {path.stem for path in jobs.files(race.job).ranges.iterdir()} == {race.copy["id"]}
    composing.compose_job(race.job.pk)


def test_the_first_that_is_faster_after_all_counts(race: Race) -> None:
    race.farm.deliver(race.slow, race.first)

    assert race.finished()
    first, copy = race.rows()
    assert (first.state, copy.state, copy.is_copy) == (LeaseState.DONE, LeaseState.RETURNED, True)
    with pytest.raises(StaleLease):
        race.farm.deliver(race.quick, race.copy)


def test_a_result_that_is_overtaken_while_it_arrives_leaves_nothing(race: Race) -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if not race.finished():
                race.farm.deliver(race.quick, race.copy)
            return super().read(size)

    with pytest.raises(StaleLease):
        deliveries.complete(race.slow, UUID(race.first["id"]), Slow(bundle_of(race.first)))

    assert {path.stem for path in jobs.files(race.job).ranges.iterdir()} == {race.copy["id"]}


@pytest.mark.parametrize(
    "end",
    [
        lambda race: nodes.gone(race.slow, NodeState.FAILED, "lost"),
        lambda race: reports.goodbye(race.slow, "done"),
        lambda race: deliveries.fail(race.slow, UUID(race.first["id"]), None, "no GPU"),
        lambda race: (
            Lease.objects.filter(pk=race.first["id"]).update(deadline=timezone.now() - timedelta(1))
            and deliveries.expire(timezone.now())
        ),
    ],
)
def test_a_copy_stands_for_the_tiles_once_the_first_is_given_back(race: Race, end: Callable[[Race], Any]) -> None:
    shares = race.job.shares.count()

    end(race)

    first, copy = race.rows()
    assert (first.state, first.is_copy, copy.is_copy) == (LeaseState.RETURNED, True, False)
    assert race.job.shares.count() == shares
    assert list(consistency.problems()) == []
    race.farm.deliver(race.quick, race.copy)
    assert race.finished()


def test_a_copy_that_fails_changes_nothing_and_is_not_tried_there_again(race: Race) -> None:
    deliveries.fail(race.quick, UUID(race.copy["id"]), None, "out of memory")

    assert race.farm.ask(race.quick)["lease"] is None
    assert race.job.shares.filter(failures__gt=0).count() == 0
    race.farm.deliver(race.slow, race.first)
    assert race.finished()


def test_a_node_that_tried_a_range_meanwhile_gets_no_second_copy_of_it(
    race: Race, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliveries.fail(race.quick, UUID(race.copy["id"]), None, "out of memory")
    look = copies._Look.at((race.quick.resource_id, race.quick.site_id))
    before = replace(look, had=frozenset())  # as another process read it while the node had yet to try
    monkeypatch.setattr(copies, "_looks", Mock(**{"get.return_value": before}))
    race.quick.refresh_from_db()
    assert before.overdue(timezone.now())

    assert copies.claim(race.quick, timezone.now()) is None
    assert race.rows()[0].is_copy is False


def test_a_node_that_failed_on_tiles_gets_no_copy_of_them_either(farm: Farm) -> None:
    failed, slow, third = farm.node(), farm.node(), farm.node()
    job = farm.submit(width=16, height=16)
    deliveries.fail(failed, UUID(farm.lease(failed)["id"]), 0, "out of memory")
    farm.lease(slow)
    age(timedelta(minutes=1))

    assert farm.ask(failed)["lease"] is None
    assert farm.lease(third)["job"] == str(job.pk)


@pytest.mark.parametrize(("load_seconds", "streak"), [(60.0, 0), (0.001, 8), (None, 8)])
def test_a_copy_begins_a_streak_if_its_node_has_to_load_for_long(
    farm: Farm, load_seconds: float | None, streak: int
) -> None:
    cold, warm, long_ago = farm.node(), farm.node(), timezone.now() - timedelta(hours=1)
    for node in (farm.node(), farm.node()):
        job = farm.submit(width=16, height=16)
        farm.lease(node)
    HeldModel.objects.create(node=warm, model=job.model)
    RenderModel.objects.update(load_seconds=load_seconds)
    Node.objects.filter(pk__in=[cold.pk, warm.pk]).update(streak=7, streak_since=long_ago)
    age(timedelta(minutes=10))
    now = timezone.now()

    for node, is_warm in ((cold, False), (warm, True)):
        node.refresh_from_db()
        copy = copies.claim(node, now)
        assert copy is not None
        assert copy.warm is is_warm
        node.refresh_from_db()

    assert (warm.streak, warm.streak_since) == (8, long_ago)
    assert cold.streak == streak
    assert cold.streak_since == (long_ago if streak else now + timedelta(seconds=60))


def test_a_tile_that_fails_on_both_its_nodes_has_failed_twice(race: Race) -> None:
    deliveries.fail(race.quick, UUID(race.copy["id"]), 0, "x")
    deliveries.fail(race.slow, UUID(race.first["id"]), 0, "x")

    again = race.job.shares.get(failures__gt=0)
    assert (again.failures, again.failed_on) == (2, sorted([race.slow.name, race.quick.name]))
    third = race.farm.node()
    deliveries.fail(third, UUID(race.farm.lease(third)["id"]), 0, "x")
    race.job.refresh_from_db()
    assert race.job.state == JobState.FAILED
    assert "failed 3 times" in race.job.reason


def test_a_copy_that_failed_counts_though_the_first_node_is_lost(race: Race) -> None:
    deliveries.fail(race.quick, UUID(race.copy["id"]), 0, "x")
    nodes.gone(race.slow, NodeState.FAILED, "lost")

    again = race.job.shares.get(failures__gt=0)
    assert (again.failures, again.failed_on) == (1, [race.quick.name])


def test_a_job_does_not_fail_by_a_tile_that_a_node_is_still_at(race: Race) -> None:
    race.job.shares.update(failures=2, failed_on=["n1", "n2"])
    deliveries.fail(race.quick, UUID(race.copy["id"]), 0, "x")
    race.job.refresh_from_db()
    assert race.job.state == JobState.RUNNING

    race.farm.deliver(race.slow, race.first)

    assert race.finished()


def test_tiles_that_both_nodes_give_back_are_offered_again(race: Race) -> None:
    deliveries.fail(race.slow, UUID(race.first["id"]), None, "x")
    nodes.gone(race.quick, NodeState.FAILED, "lost")

    third = race.farm.node()
    race.farm.work_off(third)

    assert race.finished()


@pytest.mark.parametrize("end", [jobs.cancel, jobs.pause])
def test_a_job_that_is_stopped_takes_back_both(race: Race, end: Callable[[Job, str], None]) -> None:
    end(race.job, "ada")

    if end is jobs.cancel:
        assert not race.job.leases.filter(state=LeaseState.ACTIVE).exists()
    else:
        race.farm.deliver(race.quick, race.copy)
        jobs.resume(race.job, "ada")
        assert race.finished()


def test_nothing_is_copied_for_a_node_that_has_something_else_to_do(farm: Farm) -> None:
    slow, quick = farm.node(), farm.node()
    farm.submit(width=16, height=16)
    farm.lease(slow)
    other = farm.submit(width=16, height=16)
    age(timedelta(minutes=1))

    assert farm.lease(quick)["job"] == str(other.pk)


def test_what_nobody_has_measured_is_given_more_time(farm: Farm) -> None:
    slow, quick = farm.node(), farm.node()
    farm.submit(width=16, height=16)
    farm.lease(slow)

    age(timedelta(seconds=20))
    assert farm.ask(quick)["lease"] is None
    age(timedelta(seconds=20))
    assert farm.ask(quick)["lease"] is not None


def test_a_node_that_would_need_longer_gets_no_copy(race: Race) -> None:
    deliveries.fail(race.quick, UUID(race.copy["id"]), None, "x")
    race.job.model.load_seconds = 600.0
    race.job.model.save()

    assert race.farm.ask(race.farm.node())["lease"] is None


def test_a_range_is_not_copied_to_a_site_that_its_job_may_not_use(farm: Farm) -> None:
    there = farm.add_site("there")
    farm.place(there, 1)
    slow, elsewhere = farm.node(), farm.node(there)
    farm.submit(width=16, height=16, sites={"policy": "only", "ids": ["here"]})
    farm.lease(slow)
    age(timedelta(minutes=1))

    assert farm.ask(elsewhere)["lease"] is None


def test_copies_for_an_owner_at_the_limit_are_not_even_tried(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(4):
        farm.submit(width=16, height=16)
        farm.lease(farm.node())
    age(timedelta(minutes=1))
    idle, take = farm.node(), Mock(wraps=copies._take)
    monkeypatch.setattr("rrm.farm.copies._take", take)
    quotas.change(farm.owner, {"max_nodes": 4})

    assert list(copies.takers([idle], timezone.now())) == []
    assert farm.ask(idle)["lease"] is None
    take.assert_not_called()
    # What the look does not know yet is learnt by one try, not by one for each range.
    monkeypatch.setattr(quotas, "room", lambda limited: dict.fromkeys(limited, 1))
    wakeups.WORK.ring()
    assert farm.ask(idle)["lease"] is None
    take.assert_called_once()


def test_no_more_than_a_tenth_of_the_nodes_are_at_copies_at_once(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rrm.farm.copies._LEAST_COPIES", 2)
    for _ in range(4):
        farm.submit(width=16, height=16)
        farm.lease(farm.node())
    age(timedelta(minutes=1))
    idle = [farm.node() for _ in range(4)]

    assert len(set(copies.takers(idle, timezone.now()))) == 2
    got = [farm.ask(node)["lease"] for node in idle]
    assert [lease is not None for lease in got] == [True, True, False, False]
    farm.deliver(idle[0], got[0])
    wakeups.WORK.ring()
    assert farm.ask(idle[3])["lease"] is not None


def test_what_is_slow_elsewhere_hides_nothing_here(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rrm.farm.copies._LOOKED_AT", 1)
    there = farm.add_site("there")
    farm.place(there, 2)
    for site, node in (("there", farm.node(there)), ("here", farm.node())):
        farm.submit(width=16, height=16, sites={"policy": "only", "ids": [site]})
        farm.lease(node)
    age(timedelta(minutes=1))

    idle = [farm.node(), farm.node(there)]
    assert set(copies.takers(idle, timezone.now())) == {node.pk for node in idle}
    assert farm.lease(idle[0])["job"] != farm.lease(idle[1])["job"]


def test_two_idle_nodes_do_not_get_the_same_copy(race: Race, monkeypatch: pytest.MonkeyPatch) -> None:
    third = race.farm.node()
    stale = Lease.objects.filter(pk=race.first["id"]).select_related("job__model", "share")
    monkeypatch.setattr("rrm.farm.copies._running", lambda *_: stale)

    assert leases.next_lease(third, {"cores": 2}, timezone.now())["lease"] is None
    assert Node.objects.get(pk=third.pk).state == NodeState.IDLE


@pytest.mark.parametrize("turn", range(6))
def test_when_both_deliver_and_the_deadline_passes_at_once_no_tile_is_lost_or_doubled(
    shared_farm: Farm, turn: int
) -> None:
    race = Race(shared_farm)
    start = threading.Barrier(3)

    def overdue() -> None:
        Lease.objects.filter(pk=race.first["id"]).update(deadline=timezone.now() - timedelta(1))
        deliveries.expire(timezone.now())

    def run(deed: Callable[[], Any]) -> None:
        start.wait()
        try:
            with contextlib.suppress(StaleLease):
                deed()
        finally:
            connection.close()

    deeds = (
        lambda: race.farm.deliver(race.slow, race.first),
        lambda: race.farm.deliver(race.quick, race.copy),
        overdue,
    )
    threads = [threading.Thread(target=run, args=(deed,)) for deed in deeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert race.finished()
    assert list(consistency.problems()) == []
    assert len(list(jobs.files(race.job).ranges.iterdir())) == 1
