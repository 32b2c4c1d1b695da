"""Which nodes are let go, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from rrm.domain.autoscaling import (
    Demand,
    History,
    Limits,
    Phase,
    SupplyNode,
)
from rrm.domain.autoscaling.sentences import explanation, parting
from tests.unit.domain.demands import (
    HERE,
    LONG_AGO,
    NOW,
    TWO_SITES,
    decide,
    idle,
    nodes,
    seconds,
    work,
)


def test_a_node_is_let_go_once_it_was_idle_for_five_minutes_and_not_wanted_for_ten() -> None:
    wanted = History(wanted=((NOW.timestamp(), 1),))
    for minutes, drained in ((4, ()), (9, ()), (10, ("a",))):
        made = decide(Demand(), [idle("a", since=NOW)], history=wanted, now=NOW + timedelta(minutes=minutes))
        assert made.drain == drained
    assert made.reason == "0 wanted, 1 exist, at most 0 wanted lately: letting 1 go."
    recent = decide(Demand(), [idle("a", since=NOW - seconds(299))])
    assert recent.drain == ()
    assert (
        recent.reason == "0 wanted, 1 exist: keeping those that are busy, pinned, wanted lately or not idle for long."
    )
    assert decide(Demand(), [idle("a", since=NOW - seconds(300))]).drain == ("a",)


def test_slow_starters_are_kept_twice_their_start_time() -> None:
    slow = replace(HERE, start_time=seconds(400))
    assert decide(Demand(), [idle("a", since=NOW - seconds(799))], slow).drain == ()
    assert decide(Demand(), [idle("a", since=NOW - seconds(800))], slow).drain == ("a",)


def test_what_was_too_many_for_long_goes_though_each_has_some_work_now_and_then() -> None:
    supply = [idle("a", since=NOW - seconds(40)), idle("b", since=NOW - seconds(20)), *nodes(2)]
    young, old = (History(surplus_since=NOW - seconds(age)) for age in (599, 600))
    assert decide(work(2), supply, history=young).drain == ()
    assert decide(work(2), supply, history=old).drain == ("a",)
    assert decide(work(2), supply, replace(HERE, idle_timeout=seconds(60)), old).drain == ()
    assert decide(work(4), supply, history=old).history.surplus_since is None
    assert decide(work(2), supply).history.surplus_since == NOW


def test_of_those_with_work_now_and_then_a_quarter_goes_at_a_time() -> None:
    supply = [*(idle(f"{number}", since=NOW - seconds(40)) for number in range(10)), *nodes(1)]
    made = decide(work(1), supply, history=History(surplus_since=NOW - timedelta(hours=1)))
    assert len(made.drain) == 3
    rest = [node for node in supply if node.id not in made.drain]
    for later, gone in ((149, 0), (150, 2)):
        assert len(decide(work(1), rest, history=made.history, now=NOW + seconds(later)).drain) == gone


def test_the_time_while_all_are_at_work_counts_against_having_too_many() -> None:
    before = History(wanted=((NOW.timestamp() - 10, 1),), surplus_since=NOW - seconds(100))
    busy, rested = nodes(3), [*nodes(2), idle("a", since=NOW)]
    assert decide(work(1), busy, history=before).history.surplus_since == NOW - seconds(50)
    assert decide(work(1), rested, history=before).history.surplus_since == NOW - seconds(100)
    long_busy = replace(before, wanted=((NOW.timestamp() - 500, 1),))
    assert decide(work(1), busy, history=long_busy).history.surplus_since == NOW


def in_turn(*steps: tuple[float, bool], limits: Limits = HERE, supply: int = 1) -> tuple[History, datetime]:
    """What is remembered after these seconds in which all nodes were at work, or were idle though they are wanted."""
    history, now = History(), NOW
    for length, at_work in steps:
        for _ in range(round(length / 15)):
            now += seconds(15)
            there = nodes(supply) if at_work else [idle(f"{number}", since=NOW) for number in range(supply)]
            history = decide(work(supply), there, limits, history, now).history
    return history, now


@pytest.mark.parametrize(
    ("used", "longer"),
    [
        (((15, True),), 0),
        (((165, True),), 150),
        (((90, True), (300, False), (90, True)), 165),
        (((900, True),), 300),
        (((900, True), (300, False)), 300),
    ],
)
def test_the_last_node_stays_longer_by_as_much_as_it_was_used_while_wanted(
    used: tuple[tuple[float, bool], ...], longer: int
) -> None:
    history, ended = in_turn(*used)
    last, then = idle("a", since=ended), list[int]()
    for step in range(0, 1000, 15):
        made = decide(Demand(), [last], history=history, now=ended + seconds(step))
        history = made.history
        then += [step] if made.drain else []
    assert 585 + longer <= then[0] <= 600 + longer


def test_only_the_last_node_stays_longer_and_only_where_it_may_go() -> None:
    used = (900.0, True)
    assert in_turn(used)[0].surplus_since == in_turn(used)[1] + seconds(300)
    assert in_turn(used, supply=2)[0].surplus_since is None
    for kept in (replace(HERE, min_nodes=1), replace(HERE, standby=1), replace(HERE, idle_timeout=seconds(60))):
        assert in_turn(used, limits=kept)[0].surplus_since is None


def test_until_when_the_last_node_stays_is_said_and_a_clock_that_was_set_back_keeps_none() -> None:
    ahead = History(surplus_since=NOW + timedelta(hours=1))
    made = decide(Demand(), [idle("a")], history=ahead)
    assert (made.drain, made.history.surplus_since) == ((), NOW + seconds(300))
    told = list(explanation(made, Demand(), HERE))
    assert told[-1] == "The last one was in use for long, and stays until 12:05:00 UTC."
    assert decide(Demand(), [idle("a")], history=made.history, now=NOW + seconds(300)).drain == ("a",)
    assert decide(Demand(), [idle("a")], replace(HERE, enabled=False), ahead).drain == ("a",)


def test_half_as_many_as_are_wanted_stay_longer_while_there_is_work() -> None:
    supply = [*(idle(name) for name in "abcdef"), *nodes(2)]
    assert len(decide(work(2), supply).drain) == 5
    assert len(decide(work(2), supply, replace(HERE, min_nodes=2)).drain) == 6
    assert len(decide(work(2), supply, replace(HERE, idle_timeout=seconds(60))).drain) == 6


def test_a_few_nodes_are_not_missed_in_the_ten_minutes_after_some_were_let_go() -> None:
    less = decide(Demand(), [idle("a"), idle("b")], replace(HERE, min_nodes=1))
    assert less.drain == ("a",)
    history, left = less.history, nodes(1)
    made = decide(work(2), left, history=history, now=NOW + seconds(60))
    assert made.launch == ()
    assert made.reason == (
        "2 wanted, 1 exist: some were let go lately, so nothing is launched before 12:10:00 UTC "
        "unless more than 2 are wanted."
    )
    for step in range(61, 600, 15):
        history = decide(work(2), left, history=history, now=NOW + seconds(step)).history
    assert decide(work(2), left, history=history, now=NOW + seconds(600)).launch == ()
    assert len(decide(work(2), left, history=history, now=NOW + seconds(601)).launch) == 1


def test_many_nodes_are_missed_also_after_some_were_let_go() -> None:
    less = decide(Demand(), [idle("a"), idle("b")], replace(HERE, min_nodes=1))
    first = decide(work(3), nodes(1), history=less.history, now=NOW + seconds(60))
    assert (first.launch, first.history.up_since) == ((), NOW + seconds(60))
    assert len(decide(work(3), nodes(1), history=first.history, now=NOW + seconds(90)).launch) == 2
    none_left = decide(Demand(), [idle("a")])
    assert decide(work(1), [], history=none_left.history, now=NOW + seconds(15)).launch == ("here",)
    people = decide(Demand(sessions=2), nodes(1, booked=True), history=less.history, now=NOW + seconds(15))
    assert people.launch == ("here",)


def test_an_idle_timeout_of_the_resource_wins() -> None:
    brief = replace(HERE, idle_timeout=seconds(20), start_time=seconds(400))
    wanted = History(wanted=((NOW.timestamp(), 1),))
    assert decide(Demand(), [idle("a", since=NOW)], brief, wanted, NOW + seconds(19)).drain == ()
    assert decide(Demand(), [idle("a", since=NOW)], brief, wanted, NOW + seconds(20)).drain == ("a",)


def test_never_fewer_than_the_minimum_are_kept() -> None:
    made = decide(Demand(), [idle("a"), idle("b"), idle("c")], replace(HERE, min_nodes=2))
    assert len(made.drain) == 1


def test_busy_starting_and_pinned_nodes_stay() -> None:
    supply = [*nodes(1), *nodes(1, Phase.STARTING), idle("p", "m", pinned=True), SupplyNode("new", "here", Phase.IDLE)]
    assert decide(Demand(), supply).drain == ()


def test_those_go_first_whose_models_are_missed_least() -> None:
    supply = [
        idle("wanted", "w"),
        idle("sole", "s", since=LONG_AGO - seconds(2)),
        idle("copy", "c"),
        idle("longer", "c", since=LONG_AGO - seconds(1)),
        idle("empty"),
    ]
    demand = Demand(models=frozenset({"w"}))
    order = [decide(demand, supply, replace(HERE, min_nodes=least)).drain for least in (4, 3, 2, 1, 0)]
    assert order[-1] == ("empty", "longer", "copy", "sole", "wanted")
    assert order == [order[-1][:count] for count in (1, 2, 3, 4, 5)]


def test_the_only_node_at_the_site_of_bound_work_stays() -> None:
    supply = [idle("a", site="far"), idle("b", site="near"), idle("c", site="near")]
    assert decide(work(0.5, "far"), supply, TWO_SITES).drain == ("b",)
    old = History(surplus_since=LONG_AGO)
    assert decide(work(0.5, "far"), [supply[0], supply[2]], TWO_SITES, old).drain == ("c",)
    assert decide(work(0.5, "far"), supply[:1], TWO_SITES, old).drain == ()


def test_a_disabled_resource_lets_idle_nodes_go_at_once_and_launches_none() -> None:
    off = replace(HERE, enabled=False, min_nodes=2)
    wanted = History(wanted=((NOW.timestamp() - 1, 5),))
    made = decide(work(9), [idle("a", since=NOW), *nodes(1)], off, wanted)
    assert (made.want, made.launch, made.drain) == (0, (), ("a",))
    assert made.reason == "0 wanted, 2 exist: letting 1 go as the resource is disabled."
    made = decide(work(9), nodes(1), off, wanted)
    assert made.reason == "0 wanted, 1 exist: launching none, since the resource is disabled."


def test_a_node_beyond_a_lowered_maximum_is_told_so() -> None:
    supply, limits = [idle("a"), *(idle(id_, since=NOW) for id_ in "bc")], replace(HERE, max_nodes=1)
    made = decide(work(1), supply, limits)
    assert (len(made.beyond), made.drain) == (2, ())
    assert made.reason == "1 wanted, 3 exist: letting 2 go, beyond the maximum of 1."
    assert {parting(made, node, limits) for node in made.leaving} == {"It is beyond the maximum of 1."}


def test_who_is_let_go_while_others_are_started_is_told_its_own_reason() -> None:
    made = decide(work(1, "far"), [idle("a", site="near"), *nodes(3, site="near")], TWO_SITES)
    assert (made.launch, made.drain) == (("far",), ("a",))
    assert made.reason == "1 wanted, 4 exist: launching 1 at far."
    assert parting(made, "a", TWO_SITES) == "1 wanted, 4 exist, at most 1 wanted lately: letting 1 go."
