"""Launches that fail: how long the next one waits, and when the resource gives up."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from rrm.domain.autoscaling import (
    History,
    Phase,
    launch_failed,
    launch_succeeded,
)
from tests.unit.domain.demands import (
    LONG_AGO,
    NOW,
    decide,
    nodes,
    seconds,
    work,
)


def test_failed_launches_back_off_by_doubling_and_from_the_fifth_on_by_a_quarter_of_an_hour() -> None:
    history, now, waits = History(), NOW, list[float]()
    for _ in range(8):
        history = launch_failed(history, now)
        assert history.retry_at is not None
        waits.append((history.retry_at - now).total_seconds())
        now = history.retry_at
    assert waits == [15, 30, 60, 120, 900, 900, 900, 900]


def test_launches_of_one_volley_that_fail_together_count_once() -> None:
    once = launch_failed(History(), NOW)
    assert launch_failed(once, NOW + seconds(14)) == once
    assert launch_failed(once, NOW + seconds(15)).launch_failures == 2


def test_nothing_is_launched_before_the_back_off_is_over() -> None:
    failed = launch_failed(History(), NOW)
    made = decide(work(1), [], history=failed, now=NOW + seconds(14))
    assert made.launch == ()
    assert (
        made.reason
        == "1 wanted, 0 exist: launching none, since the last launch failed and the next is due at 12:00:15 UTC."
    )
    assert decide(work(1), [], history=failed, now=NOW + seconds(15)).launch == ("here",)


def test_after_five_failures_in_a_row_one_node_is_tried_at_a_time() -> None:
    failed = History(launch_failures=5, retry_at=NOW + seconds(900))
    assert failed.inoperable
    made = decide(work(9), [], history=failed)
    reason = (
        "9 wanted, 0 exist: launching none, since 5 launches in a row failed and one more is tried at 12:15:00 UTC."
    )
    assert (made.launch, made.reason) == ((), reason)
    later = NOW + seconds(900)
    assert decide(work(9), [], history=failed, now=later).launch == ("here",)
    tried = decide(work(9), nodes(1, Phase.STARTING), history=failed, now=later + seconds(30))
    assert (tried.launch, tried.reckoning.blocked) == ((), "5 launches in a row failed and one more is being tried")


def test_what_may_fail_for_the_fifth_time_is_tried_one_node_at_a_time() -> None:
    on_trial = History(launch_failures=4, up_since=LONG_AGO)  # so it is too when a node has come up, and has not lasted
    assert decide(work(9), [], history=on_trial).launch == ("here",)
    assert decide(work(9), nodes(1), history=on_trial).launch == ("here",)
    assert len(decide(work(9), nodes(1), history=replace(on_trial, launch_failures=3)).launch) == 8


def test_a_success_ends_all_waiting() -> None:
    again = launch_succeeded(History(launch_failures=5, retry_at=NOW + seconds(900)))
    assert not again.inoperable
    assert len(decide(work(9), [], history=again).launch) == 4


def test_a_resource_whose_launches_all_fail_is_tried_once_in_a_quarter_of_an_hour() -> None:
    history, tries = History(), list[float]()
    for step in range(4 * 60 * 4):
        now = NOW + seconds(15 * step)
        made = decide(work(9), [], history=history, now=now)
        history = made.history
        if made.launch:
            tries.append(15 * step)
            for _ in made.launch:
                history = launch_failed(history, now)
    waits = [after - before for before, after in pairwise(tries)]
    assert waits[:4] == [15, 30, 60, 120]
    assert len(waits) > 14
    assert set(waits[4:]) == {900}
