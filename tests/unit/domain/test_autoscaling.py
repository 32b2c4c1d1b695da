"""How many nodes are wanted, and when more are launched."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rrm.domain.autoscaling import (
    Demand,
    History,
    Phase,
    Plan,
    SiteRoom,
    Work,
)
from rrm.domain.autoscaling.sentences import explanation
from tests.unit.domain.demands import (
    HERE,
    NOW,
    decide,
    lasting,
    nodes,
    seconds,
    work,
)


def test_nothing_to_do_wants_nothing() -> None:
    assert decide(Demand(), []) == Plan(0, 0, (), (), "0 wanted, 0 exist.", History(wanted=((NOW.timestamp(), 0),)))


@pytest.mark.parametrize(
    ("demand", "want"),
    [
        (work(2.5), 3),
        (work(0), 1),
        (Demand((Work(3000, 4),)), 4),
        (Demand((Work(3000, 0),)), 0),
        (Demand((Work(100, 9), Work(250, 9))), 2),
        (Demand(sessions=2), 2),
        (Demand((Work(100, 9),), sessions=2), 3),
        (work(500), 100),
    ],
)
def test_the_want_is_the_work_that_drains_in_time(demand: Demand, want: int) -> None:
    assert decide(demand, []).want == want


def test_the_want_includes_standby_and_stays_within_the_limits() -> None:
    limits = replace(HERE, standby=2, min_nodes=1, max_nodes=5)
    assert [decide(work(number), [], limits).want for number in (1, 3, 9)] == [3, 5, 5]
    assert decide(Demand(), [], replace(limits, standby=0)).want == 1


def test_from_zero_nodes_are_launched_at_once() -> None:
    made = decide(work(2), [])
    assert made.launch == ("here", "here")
    assert made.reason == "2 wanted, 0 exist: launching 2 at here."
    assert made.history.up_since is None


def test_from_zero_no_more_than_four_are_launched_at_once_and_the_rest_if_it_lasts() -> None:
    made = decide(work(20), [])
    assert len(made.launch) == 4
    assert made.history.up_since == NOW
    supply = nodes(4, Phase.STARTING)
    soon = decide(work(20), supply, history=made.history, now=NOW + seconds(15))
    assert soon.launch == ()
    assert soon.reason == "20 wanted, 4 exist: launching if this lasts."
    then = decide(work(20), supply, history=soon.history, now=NOW + seconds(30))
    assert len(then.launch) == 16


def test_after_a_volley_that_was_not_enough_the_next_waits_as_long_again() -> None:
    volley = lasting(work(50), nodes(2))
    assert (len(volley.launch), volley.history.up_since) == (18, NOW + seconds(30))
    supply = [*nodes(2), *nodes(18, Phase.STARTING)]
    soon = decide(work(50), supply, history=volley.history, now=NOW + seconds(45))
    assert soon.launch == ()
    assert len(decide(work(50), supply, history=soon.history, now=NOW + seconds(60)).launch) == 30


def test_people_who_get_a_node_at_once_do_not_make_work_wait_longer() -> None:
    first = decide(work(5), nodes(1))
    people = replace(work(5), sessions=2)
    then = decide(people, nodes(1, booked=True), history=first.history, now=NOW + seconds(15))
    assert (len(then.launch), then.history.up_since) == (1, NOW)
    supply = [*nodes(1, booked=True), *nodes(1, Phase.STARTING)]
    assert len(decide(people, supply, history=then.history, now=NOW + seconds(30)).launch) == 5


def test_what_exists_grows_ten_fold_at_most() -> None:
    assert len(lasting(work(50), nodes(2)).launch) == 18
    assert len(lasting(work(20), nodes(2)).launch) == 18
    assert len(lasting(work(19), nodes(2)).launch) == 17


def test_more_are_launched_by_the_last_plan_that_comes_within_two_periods() -> None:
    first = decide(work(3), nodes(1))
    assert (first.launch, first.history.up_since) == ((), NOW)
    for later, launched in ((15, 0), (16, 2), (30, 2)):
        made = decide(work(3), nodes(1), history=first.history, now=NOW + seconds(later))
        assert len(made.launch) == launched


def test_no_plan_launches_more_than_a_thousand() -> None:
    vast = replace(HERE, max_nodes=10**9, sites=(SiteRoom("here", 10**9),))
    assert len(decide(Demand(), [], replace(vast, min_nodes=10**9)).launch) == 1000
    bound = Demand((Work(1e15, 10**12, frozenset({"here"})), Work(1e15, 10**12)))
    made = decide(bound, [], vast)
    assert (made.want, made.launch) == (10**9, ("here",) * 4)


def test_a_need_for_more_than_the_maximum_is_told() -> None:
    one = replace(HERE, max_nodes=1)
    made = decide(replace(work(1), sessions=1), nodes(1, booked=True), one)
    assert made.reason == "1 wanted, 1 exist: 2 are needed, and the maximum is 1."
    told = list(explanation(made, replace(work(1), sessions=1), one))
    assert "That is less than the 2 that are needed, as the maximum is 1: some have to wait." in told
    none = decide(replace(work(1), sessions=1), nodes(1, booked=True), replace(HERE, max_nodes=0))
    assert none.reason == "0 wanted, 1 exist: 2 are needed, and the maximum is 0."


def test_a_want_that_does_not_last_launches_nothing() -> None:
    first = decide(work(3), nodes(1))
    calm = decide(work(1), nodes(1), history=first.history, now=NOW + seconds(15))
    assert calm.history.up_since is None
    assert decide(work(3), nodes(1), history=calm.history, now=NOW + seconds(30)).launch == ()


def test_nodes_that_are_starting_count_as_had() -> None:
    made = lasting(work(3), nodes(3, Phase.STARTING))
    assert (made.have, made.launch, made.reason) == (3, (), "3 wanted, 3 exist.")


def test_nodes_that_leave_do_not_count_as_had_and_still_take_a_place() -> None:
    limits = replace(HERE, max_nodes=3)
    made = lasting(work(3), nodes(3, Phase.LEAVING), limits)
    assert (made.have, made.launch) == (0, ())
    assert made.reason == "3 wanted, 0 exist: waiting for the places of nodes that leave."


@pytest.mark.parametrize(("have", "launched"), [(20, 0), (19, 3)])
def test_a_difference_within_a_tenth_changes_nothing(have: int, launched: int) -> None:
    assert len(lasting(work(22), nodes(have)).launch) == launched


def test_the_minimum_is_launched_at_once_whatever_the_tolerance() -> None:
    assert len(decide(Demand(), nodes(29), replace(HERE, min_nodes=30)).launch) == 1
    assert len(decide(Demand(), [], replace(HERE, min_nodes=10)).launch) == 10


def test_people_who_wait_get_a_node_at_once_and_no_more_than_the_limit() -> None:
    two_booked = nodes(2, booked=True)
    assert decide(Demand(sessions=3), two_booked).launch == ("here",)
    assert decide(Demand(sessions=3), [*two_booked, *nodes(1, Phase.STARTING)]).launch == ()
    assert decide(Demand(sessions=5), two_booked, replace(HERE, max_nodes=4)).launch == ("here", "here")


def test_people_do_not_wait_for_nodes_that_work_for_others() -> None:
    settling = History(up_since=NOW + seconds(540))
    for supply in (nodes(1), nodes(30)):
        made = decide(replace(work(len(supply)), sessions=1), supply, history=settling)
        assert (made.want, made.launch) == (len(supply) + 1, ("here",))
    then = [*nodes(1), *nodes(1, Phase.STARTING)]
    assert decide(replace(work(1), sessions=1), then).launch == ()
    people = replace(work(1), sessions=1)
    made = decide(people, nodes(5))
    assert (made.launch, made.reason) == (("here",), "2 wanted, 5 exist: launching 1 at here.")
    told = "Those that exist are at work or elsewhere: people, and work bound to a site, get others at once."
    assert told in list(explanation(made, people, HERE))
