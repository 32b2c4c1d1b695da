"""Launches that fail: how long the next one waits, and when the resource gives up."""

from __future__ import annotations

from rrm.domain.autoscaling import (
    History,
    launch_failed,
    launch_succeeded,
)
from tests.unit.domain.demands import (
    LONG_AGO,
    NOW,
    decide,
    seconds,
    work,
)


def test_failed_launches_back_off_by_doubling_up_to_a_quarter_of_an_hour() -> None:
    history, now, waits = History(), NOW, list[float]()
    for _ in range(8):
        history = launch_failed(history, now)
        assert history.retry_at is not None
        waits.append((history.retry_at - now).total_seconds())
        now = history.retry_at
    assert waits == [15, 30, 60, 120, 240, 480, 900, 900]


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


def test_five_failures_in_a_row_make_the_resource_inoperable_until_a_success() -> None:
    failed = History(launch_failures=5, retry_at=LONG_AGO)
    assert failed.inoperable
    made = decide(work(1), [], history=failed)
    assert (made.launch, made.reason) == ((), "1 wanted, 0 exist: launching none, since 5 launches in a row failed.")
    again = launch_succeeded(made.history)
    assert not again.inoperable
    assert decide(work(1), [], history=again).launch == ("here",)
