"""Quotas: exact however many ask at the same time, and refusals that say what to do."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connections, transaction
from django.utils import timezone

from rrm.domain.states import LeaseState
from rrm.errors import Invalid, NoCapacity, StateConflict, TooMany
from rrm.farm import booking, composing, jobs, quotas
from rrm.farm.models import Job, Lease, Quota, Session
from tests.integration.farm.conftest import VIEW, Farm

PIXELS = 64 * 64


def at_once(*attempts: Callable[[], Any]) -> list[Any]:
    """What all of them came to when they ran at the same time."""
    begin, done = threading.Barrier(len(attempts)), list[Any]()

    def run(attempt: Callable[[], Any]) -> None:
        try:
            begin.wait(60)
            done.append(attempt())
        except (TooMany, StateConflict, NoCapacity) as refused:
            done.append(refused)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=[attempt]) for attempt in attempts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    return done


def accepted(outcomes: Sequence[Any]) -> list[Any]:
    return [outcome for outcome in outcomes if not isinstance(outcome, Exception)]


def test_a_job_that_is_too_many_pixels_is_refused_with_what_is_used(farm: Farm) -> None:
    quotas.change(farm.owner, {"max_queued_pixels": 2 * PIXELS + 1})
    farm.submit()
    farm.submit()

    with pytest.raises(TooMany, match=r"may have 8,193 pixels together. They have 8,192, and this one has 4,096"):
        farm.submit()
    with pytest.raises(TooMany, match="order a smaller picture") as refused:
        farm.submit(width=128, height=128)
    assert refused.value.members == {"limit": "max_queued_pixels", "allowed": 8193, "used": 8192, "asked": 16384}


def test_what_is_cancelled_makes_room_and_what_is_retried_takes_it(farm: Farm) -> None:
    quotas.change(farm.owner, {"max_queued_pixels": PIXELS})
    first = farm.submit()
    jobs.cancel(first, "ada")
    farm.submit()

    with pytest.raises(TooMany, match="wait until some are done"):
        jobs.retry(first, "ada")
    first.refresh_from_db()
    assert first.state == "CANCELLED"


def test_a_finished_job_counts_no_more(farm: Farm) -> None:
    quotas.change(farm.owner, {"max_queued_pixels": PIXELS})
    job = farm.submit()
    farm.work_off(farm.node())
    composing.compose_job(job.pk)
    farm.submit()


@pytest.mark.django_db(transaction=True)
def test_no_more_pixels_are_queued_than_may_be_however_many_are_sent_at_once(shared_farm: Farm) -> None:
    quotas.change(shared_farm.owner, {"max_queued_pixels": 3 * PIXELS})
    outcomes = at_once(*[shared_farm.submit] * 8)
    assert len(accepted(outcomes)) == Job.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_no_more_jobs_are_taken_than_one_person_may_have(shared_farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "RRM", replace(settings.RRM, max_open_jobs=2))
    assert len(accepted(at_once(*[shared_farm.submit] * 6))) == Job.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_no_more_sessions_are_opened_than_may_be(shared_farm: Farm) -> None:
    quotas.change(shared_farm.owner, {"max_sessions": 2})
    for _ in range(5):
        shared_farm.node(answers=True)
    wish = booking.Wish(shared_farm.resource, max_wait=timedelta(seconds=30))
    outcomes = at_once(*[lambda: booking.book(shared_farm.owner, wish, timezone.now())] * 6)
    assert len(accepted(outcomes)) == Session.objects.count() == 2


def test_a_person_may_have_more_sessions_than_others(farm: Farm) -> None:
    quotas.change(farm.owner, {"max_sessions": 5})
    wish = booking.Wish(farm.resource)
    for _ in range(5):
        booking.reserve(farm.owner, wish)
    with pytest.raises(TooMany, match="You have 5 open sessions and may have 5; end one first"):
        booking.reserve(farm.owner, wish)


def test_further_nodes_work_for_others(farm: Farm) -> None:
    quotas.change(farm.owner, {"max_nodes": 1})
    farm.submit(width=256, height=256)
    first, second = farm.node(), farm.node()
    held = farm.lease(first)
    assert farm.ask(second)["lease"] is None
    assert farm.ask(first, held["id"])["lease"] is not None

    bob = User.objects.create_user("bob")
    other, _ = jobs.submit(bob, {"params": VIEW, "width": 64, "height": 64, "tile_size": 16})
    assert farm.lease(second)["job"] == str(other.pk)


@pytest.mark.django_db(transaction=True)
def test_no_more_nodes_work_for_an_owner_than_may_be(shared_farm: Farm) -> None:
    quotas.change(shared_farm.owner, {"max_nodes": 2})
    for _ in range(6):
        shared_farm.submit(width=256, height=256)
    nodes = [shared_farm.node() for _ in range(6)]
    at_once(*[lambda node=node: shared_farm.ask(node) for node in nodes])
    active = Lease.objects.filter(state=LeaseState.ACTIVE)
    assert 1 <= active.values("node").distinct().count() <= 2


def test_a_claim_beyond_the_limit_is_refused_whatever_was_read_before(farm: Farm) -> None:
    quotas.change(farm.owner, {"max_nodes": 1})
    farm.submit(width=256, height=256)
    farm.lease(farm.node())
    with pytest.raises(StateConflict, match="1 node at work for the owner"), transaction.atomic():
        quotas.hold_node(farm.owner.pk, farm.node())


def test_node_seconds_are_charged_once_with_the_load_they_needed(farm: Farm) -> None:
    job = farm.submit(width=256, height=256)
    node = farm.node(cores=2)
    lease = farm.lease(node)
    job.model.load_seconds = 30
    job.model.save()
    farm.deliver(node, lease)
    farm.deliver(node, lease)
    first = Quota.objects.get().charged_seconds
    assert 30 < first < 31
    farm.deliver(node, farm.lease(node))
    assert first < Quota.objects.get().charged_seconds < first + 1


def test_who_comes_later_begins_in_the_lowest_round_of_those_at_work(farm: Farm) -> None:
    farm.submit()
    Quota.objects.filter(owner=farm.owner).update(charged_seconds=500)
    quotas.change(User.objects.create_user("bob"), {"weight": 2.0})
    bob = User.objects.get(username="bob")
    jobs.submit(bob, {"params": VIEW, "width": 64, "height": 64, "tile_size": 16})
    assert Quota.objects.get(owner=bob).charged_seconds == 1000


def test_another_weight_leaves_a_person_in_their_round(farm: Farm) -> None:
    quotas.change(farm.owner, {"weight": 1.0})
    Quota.objects.update(charged_seconds=500)
    quotas.change(farm.owner, {"weight": 4.0})
    assert Quota.objects.get().charged_seconds == 2000


def test_a_limit_counts_from_the_moment_in_which_it_is_set(shared_farm: Farm) -> None:
    shared_farm.submit(width=256, height=256)
    one, other = shared_farm.node(cores=1), shared_farm.node(cores=1)
    shared_farm.deliver(one, shared_farm.lease(one))
    shared_farm.deliver(other, shared_farm.lease(other))  # it holds the model
    in_hand = shared_farm.lease(one)
    quotas.change(shared_farm.owner, {"max_nodes": 1})
    other.refresh_from_db()
    assert shared_farm.ask(other)["lease"] is None
    shared_farm.deliver(one, in_hand)


@pytest.mark.parametrize("charged", [math.inf, 1e300])
def test_a_stored_charge_that_is_no_number_of_seconds_is_forgotten_with_the_next(farm: Farm, charged: float) -> None:
    farm.submit(width=256, height=256)
    Quota.objects.update(charged_seconds=charged)
    node = farm.node()
    farm.deliver(node, farm.lease(node))
    assert 0 <= Quota.objects.get().charged_seconds < 60


def test_limits_that_cannot_be_are_refused_wherever_they_come_from(farm: Farm) -> None:
    with pytest.raises(Invalid) as refused:
        quotas.change(farm.owner, {"weight": math.inf, "max_nodes": 2**31, "max_sessions": 1})
    assert set(refused.value.errors) == {"weight", "max_nodes"}


def test_one_of_a_thing_is_told_as_one(farm: Farm) -> None:
    farm.submit()
    quotas.change(farm.owner, {"max_queued_pixels": 1})
    with pytest.raises(TooMany, match="may have 1 pixel together"):
        farm.submit()
