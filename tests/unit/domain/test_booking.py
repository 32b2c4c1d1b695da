"""What somebody who wants a renderer is told."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from rrm.domain.booking import (
    Free,
    Life,
    Place,
    Prospects,
    best,
    held_back,
    outlook,
    retry_after,
    warning_due,
    why_over,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_a_node_that_holds_the_model_is_taken_before_the_preferred_site_and_the_emptiest() -> None:
    nodes = [Free("a", False, 0, 0), Free("b", True, 3, 1), Free("c", False, 2, 0), Free("d", False, 0, 1)]
    assert [node.id for node in best(nodes)] == ["b", "a", "c", "d"]


def test_who_comes_next_waits_for_what_is_ready_soonest() -> None:
    prospects = Prospects([Place(60, "a node to be started at far"), Place(2, "a node that finishes what it renders")])
    first, second = (outlook(prospects, ahead, 60, NOW) for ahead in (0, 1))
    assert (first.fits, first.position, first.seconds) == (True, 1, 2)
    assert first.reason == "Waits for a node that finishes what it renders."
    assert (second.fits, second.position, second.seconds) == (True, 2, 60)


def test_who_would_not_wait_so_long_is_told_how_long_it_takes() -> None:
    answer = outlook(Prospects([Place(60, "a node to be started at far")]), 0, 10, NOW)
    assert not answer.fits
    assert answer.reason == (
        "The next is a node to be started at far, in about 60 s, longer than the 10 s that you would wait."
    )


def test_where_nothing_can_be_started_the_next_end_of_a_session_is_what_can_be_told() -> None:
    prospects = Prospects(ends=[NOW + HOUR, NOW + HOUR / 2], obstacle="site here has no place left")
    assert outlook(prospects, 0, 10, NOW).seconds == 1800
    behind = outlook(prospects, 1, 10, NOW)
    assert (behind.fits, behind.position, behind.seconds) == (False, 2, 3600)
    assert behind.reason == "No renderer is free, and site here has no place left. One other waits already."
    assert outlook(prospects, 2, 10, NOW).seconds is None
    failed = Prospects(obstacle="the last node could not be started: No such file.")
    assert outlook(failed, 2, 10, NOW).reason == (
        "No renderer is free, and the last node could not be started: No such file. 2 others wait already."
    )


@pytest.mark.parametrize(("seconds", "least", "most"), [(0, 1, 1), (10, 8, 13), (None, 24, 37), (86400, 300, 300)])
def test_those_refused_together_come_back_apart(seconds: float | None, least: int, most: int) -> None:
    pauses = {retry_after(seconds, random.Random(seed)) for seed in range(200)}
    assert min(pauses) >= least
    assert max(pauses) <= most
    if seconds == 10:
        assert len(pauses) > 3


def test_a_session_is_over_when_nobody_uses_it_or_its_time_is_up() -> None:
    life = Life(NOW, NOW + HOUR)
    assert why_over(life, timedelta(seconds=300), NOW) == "Nobody used it for 300 s."
    assert why_over(life, timedelta(seconds=300), NOW + HOUR) == "Its time is over."
    assert why_over(life, timedelta(seconds=300), NOW - timedelta(seconds=1)) == ""


def test_each_warning_is_given_once_and_a_late_look_gives_only_the_last() -> None:
    life = Life(NOW + HOUR, NOW + HOUR)
    ten, two = timedelta(minutes=10), timedelta(minutes=2)
    assert warning_due(life, None, NOW) is None
    assert warning_due(life, None, NOW + HOUR - ten) == ten
    assert warning_due(life, ten, NOW + HOUR - ten / 2) is None
    assert warning_due(life, ten, NOW + HOUR - two) == two
    assert warning_due(life, two, NOW + HOUR - two / 2) is None
    assert warning_due(life, None, NOW + HOUR - two) == two


def test_a_node_that_holds_the_model_is_held_back_for_who_waits_for_it_and_no_more_than_needed() -> None:
    busy = [("a", frozenset[str]()), ("b", frozenset({"m"})), ("c", frozenset({"m"}))]
    assert held_back(busy, []) == frozenset()
    assert held_back(busy, ["m"]) == {"b"}
    assert held_back(busy, ["m", "m", "m"]) == {"a", "b", "c"}
    assert held_back(busy, [None]) == {"a"}
    assert held_back(busy, ["x", "m"]) == {"a", "b"}
    assert held_back(busy[:1], ["m", "m"]) == {"a"}
