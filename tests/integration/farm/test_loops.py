"""Loops go on when something in their turns fails, and know since when they turn without a pause."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from rrm.domain.states import LeaseState
from rrm.farm import loops, reconciling
from rrm.farm.models import Lease, Loop
from tests.integration.farm.conftest import Farm
from tests.integration.farm.walls import Wall


def fails(_now: datetime) -> None:
    raise ValueError("a row is broken")


def test_a_step_that_fails_keeps_the_others_from_nothing_and_is_said(
    farm: Farm, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    farm.submit()
    farm.lease(farm.node())
    Lease.objects.update(deadline=timezone.now())
    monkeypatch.setattr(reconciling, "_STEPS", (fails, *reconciling._STEPS, fails))

    with pytest.raises(ExceptionGroup):
        loops.run("reconcile", reconciling.reconcile)

    assert Lease.objects.get().state == LeaseState.RETURNED
    assert caplog.text.count("fails failed: ValueError('a row is broken')") == 2
    assert Loop.objects.get().last_error.count("a row is broken") == 2
    assert Loop.objects.get().last_finished is None


def test_who_asks_for_a_turn_while_one_is_under_way_gets_one_afterwards(db: None) -> None:
    turns: list[bool] = []

    def asked_meanwhile(_now: datetime) -> None:
        turns.append(len(turns) < 2 and loops.run("autoscale", asked_meanwhile))

    assert loops.run("autoscale", asked_meanwhile)
    assert turns == [False, False, False]
    assert not Loop.objects.get().again


def test_turns_in_a_row_leave_time_for_others(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "_IN_A_ROW", timedelta())
    turns: list[bool] = []

    def asked_meanwhile(_now: datetime) -> None:
        turns.append(loops.run("autoscale", asked_meanwhile))

    for _ in range(2):
        assert loops.run("autoscale", asked_meanwhile)
    assert turns == [False, False]


def test_a_turn_that_is_lost_ends_at_once(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    acted: list[datetime] = []

    def loses(_now: datetime) -> None:
        raise loops.TurnLost("another has it")

    monkeypatch.setattr(reconciling, "_STEPS", (loses, acted.append))
    assert not loops.run("reconcile", reconciling.reconcile)
    assert not acted


def test_turns_that_fail_are_turns_all_the_same(wall: Wall) -> None:
    for _ in range(20):
        with pytest.raises(ValueError, match="broken"):
            loops.run("reconcile", fails)
        wall.set(timedelta(seconds=10))
    assert loops.resumed_at("reconcile", wall()) is None


def test_a_long_turn_that_passes_its_fences_is_no_pause(wall: Wall) -> None:
    def long(_now: datetime) -> None:
        for _ in range(10):
            wall.set(timedelta(seconds=15))
            loops.fence()

    loops.run("reconcile", long)
    wall.set(timedelta(seconds=10))
    loops.run("reconcile", long)
    assert loops.resumed_at("reconcile", wall()) is None


def test_after_a_sleep_in_the_middle_of_a_turn_nobody_could_be_heard(wall: Wall) -> None:
    for _ in range(10):
        loops.run("reconcile", lambda _now: None)
        wall.set(timedelta(seconds=10))
    assert loops.resumed_at("reconcile", wall()) is None

    loops.run("reconcile", lambda _now: wall.set(timedelta(hours=1)))
    loops.run("reconcile", lambda _now: None)

    assert loops.resumed_at("reconcile", wall()) is not None
