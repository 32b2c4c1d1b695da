"""When a further node loads what others hold already, and when it rather loads what nobody holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rrm.domain.facts import Holders, JobFacts, NodeFacts
from rrm.domain.queues import Queues
from rrm.domain.scheduling import Choice, Reason, choose

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
LOAD = 60.0
FREE = NodeFacts("free", "mandelbrot", "here")
HOLDER = NodeFacts("holder", "mandelbrot", "here", frozenset({"held"}), busy_seconds=5.0)


def job(id_: str, model: str, age: float, seconds: float, **facts: Any) -> JobFacts:
    created = NOW - timedelta(seconds=age)
    return JobFacts(id_, "mandelbrot", model, "ada", "normal", created, seconds, LOAD, lease_seconds=10.0, **facts)


def decide(*jobs: JobFacts) -> Choice | None:
    return choose(FREE, jobs, Holders.of([FREE, HOLDER]), NOW)


def reason(*jobs: JobFacts) -> tuple[str, Reason] | None:
    found = decide(*jobs)
    return (found.job_id, found.reason) if found else None


def test_a_job_does_not_wait_for_itself() -> None:
    assert reason(job("x", "held", age=1, seconds=64)) is None  # 5 s until the holder is free, then 54 s of others
    assert reason(job("x", "held", age=1, seconds=65)) == ("x", Reason.BREAK_EVEN)


def test_a_model_that_nobody_holds_comes_before_a_copy_of_one_with_more_work() -> None:
    older, younger = job("older", "held", age=9, seconds=400), job("younger", "new", age=1, seconds=400)
    assert reason(older, younger) == ("younger", Reason.NO_HOLDER)


def test_a_copy_comes_before_a_model_with_less_work_than_each_copy_would_have() -> None:
    older, younger = job("older", "held", age=9, seconds=400), job("younger", "new", age=1, seconds=199)
    assert reason(older, younger) == ("older", Reason.BREAK_EVEN)


def test_an_aged_job_waits_for_no_bigger_one() -> None:
    older, younger = job("older", "held", age=200, seconds=400), job("younger", "new", age=1, seconds=4000)
    assert reason(older, younger) == ("older", Reason.AGED)


def test_a_job_that_is_served_does_not_age() -> None:
    for served, expected in ((119, None), (120, ("x", Reason.AGED))):
        lately = NOW - timedelta(seconds=served)
        assert reason(job("x", "held", age=1e5, seconds=20, served_at=lately)) == expected


def test_queues_know_when_a_model_was_served() -> None:
    waiting = job("x", "held", age=1e5, seconds=40)
    queues = Queues([waiting])
    holders = Holders.of([FREE, HOLDER])
    assert choose(FREE, queues, holders, NOW) is not None
    queues.claim(waiting, 10.0, NOW - timedelta(seconds=119))
    assert choose(FREE, queues, holders, NOW) is None


@pytest.mark.parametrize(
    ("busy", "idle", "refused", "among"),
    [
        (0, 1, {"idle0"}, (0, 0.0)),
        (0, 2, {"idle0"}, (1, 0.0)),
        (1, 1, {"idle0"}, (1, 10.0)),
        (1, 2, {"idle0", "idle1"}, (1, 10.0)),
        (2, 1, {"busy0"}, (2, 0.0)),
        (2, 0, {"busy0"}, (1, 30.0)),
        (1, 1, {"another"}, (2, 0.0)),
    ],
)
@pytest.mark.parametrize("sites", [None, frozenset({"here"})])
def test_holders_that_leave_a_job_to_others_are_none_for_it(
    busy: int, idle: int, refused: set[str], among: tuple[int, float], sites: frozenset[str] | None
) -> None:
    holding = [
        NodeFacts(f"{name}{at}", "mandelbrot", "here", frozenset({"held"}), busy_seconds=seconds)
        for name, nodes, seconds in (("busy", busy, 30.0), ("idle", idle, 0.0))
        for at in range(nodes)
    ]
    waiting = job("x", "held", age=1, seconds=1, sites=sites)
    holders = Holders.of(holding)
    assert holders.among(replace(waiting, refused=frozenset(refused))) == among
    assert holders.among(waiting)[0] == busy + idle


def test_a_job_waits_for_no_holder_that_failed_on_it() -> None:
    assert reason(job("x", "held", age=1, seconds=20)) is None
    assert reason(job("x", "held", age=1, seconds=20, refused=frozenset({"holder"}))) == ("x", Reason.NO_HOLDER)
