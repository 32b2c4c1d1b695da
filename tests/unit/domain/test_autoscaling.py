"""How many nodes are wanted, where more are launched, and which are let go."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrm.domain.autoscaling import (
    Demand,
    History,
    Limits,
    Phase,
    Plan,
    SiteRoom,
    SupplyNode,
    Work,
    launch_failed,
    launch_succeeded,
    plan,
)

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(hours=1)
UNWRITTEN = History()
HERE = Limits(min_nodes=0, max_nodes=100, sites=(SiteRoom("here", 100),))
TWO_SITES = replace(HERE, sites=(SiteRoom("near", 3), SiteRoom("far", 100)))


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def work(nodes: float, *sites: str) -> Demand:
    """Work that keeps so many nodes busy for the drain time, in more ranges than there could be nodes."""
    return Demand((Work(nodes * 300, 1000, frozenset(sites) or None),))


def nodes(number: int, phase: Phase = Phase.BUSY, site: str = "here", **facts: Any) -> list[SupplyNode]:
    idle_since = facts.pop("idle_since", LONG_AGO if phase is Phase.IDLE else None)
    return [SupplyNode(f"{phase}-{site}-{i}", site, phase, idle_since, **facts) for i in range(number)]


def idle(id_: str, *models: str, since: datetime = LONG_AGO, pinned: bool = False, site: str = "here") -> SupplyNode:
    return SupplyNode(id_, site, Phase.IDLE, since, frozenset(models), pinned)


def decide(
    demand: Demand, supply: list[SupplyNode], limits: Limits = HERE, history: History = UNWRITTEN, now: datetime = NOW
) -> Plan:
    return plan(demand, supply, limits, history, now)


def lasting(demand: Demand, supply: list[SupplyNode], limits: Limits = HERE) -> Plan:
    """The plan after the same facts were seen for 30 s."""
    first = decide(demand, supply, limits)
    return decide(demand, supply, limits, first.history, NOW + seconds(30))


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


def test_from_zero_no_more_than_four_are_launched_at_once_and_the_rest_by_doubling() -> None:
    made = decide(work(20), [])
    assert len(made.launch) == 4
    assert made.history.up_since == NOW
    supply = nodes(4, Phase.STARTING)
    soon = decide(work(20), supply, history=made.history, now=NOW + seconds(29))
    assert soon.launch == ()
    assert soon.reason == "20 wanted, 4 exist: launching if this lasts."
    then = decide(work(20), supply, history=soon.history, now=NOW + seconds(30))
    assert len(then.launch) == 4
    assert decide(work(20), nodes(8), history=then.history, now=NOW + seconds(45)).launch == ()
    more = decide(work(20), nodes(8), history=then.history, now=NOW + seconds(60))
    assert len(more.launch) == 8


def test_more_are_launched_after_two_periods_only() -> None:
    first = decide(work(3), nodes(1))
    assert (first.launch, first.history.up_since) == ((), NOW)
    assert decide(work(3), nodes(1), history=first.history, now=NOW + seconds(29)).launch == ()
    assert len(decide(work(3), nodes(1), history=first.history, now=NOW + seconds(30)).launch) == 2


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


def test_sites_are_filled_in_order_of_preference() -> None:
    assert decide(work(4), [], TWO_SITES).launch == ("near", "near", "near", "far")


def test_a_full_site_gets_none() -> None:
    full = replace(HERE, sites=(SiteRoom("here", 0),))
    made = decide(work(4), [], full)
    assert (made.launch, made.reason) == ((), "4 wanted, 0 exist: no site has room.")
    assert decide(work(4), [], replace(HERE, sites=())).reason == "4 wanted, 0 exist: no site is enabled."


def test_split_work_gets_a_node_at_each_of_its_sites() -> None:
    demand = Demand((Work(1, 128, frozenset({"near"})), Work(1, 128, frozenset({"far"}))))
    made = decide(demand, [], TWO_SITES)
    assert (made.want, made.launch) == (2, ("far", "near"))


def test_every_site_of_split_work_gets_one_node_before_any_gets_more() -> None:
    demand = Demand((Work(900, 128, frozenset({"far"})), Work(900, 128, frozenset({"near"}))))
    made = decide(demand, [], replace(TWO_SITES, max_nodes=3))
    assert made.launch == ("far", "near", "far")


def test_a_site_where_bound_work_takes_the_room_gets_no_more() -> None:
    tight = replace(HERE, sites=(SiteRoom("near", 1), SiteRoom("far", 5)))
    demand = Demand((Work(1, 128, frozenset({"near"})), Work(600, 128)))
    assert decide(demand, [], tight).launch == ("near", "far", "far")


def test_work_bound_to_a_site_without_nodes_launches_there_at_once_though_enough_exist() -> None:
    made = decide(work(0.5, "far"), nodes(2, Phase.BUSY, "near"), TWO_SITES)
    assert made.launch == ("far",)


def test_work_for_a_choice_of_sites_is_served_by_any_of_them() -> None:
    assert decide(work(0.5, "near", "far"), nodes(1, Phase.BUSY, "far"), TWO_SITES).launch == ()
    assert decide(work(0.5, "near", "far"), [], TWO_SITES).launch == ("near",)


def test_work_bound_to_sites_that_are_not_enabled_wants_nothing() -> None:
    assert decide(work(2, "elsewhere"), [], TWO_SITES).want == 0


def test_an_idle_node_makes_place_for_work_that_is_bound_elsewhere() -> None:
    limits = replace(TWO_SITES, max_nodes=2)
    supply = [idle("a", since=NOW, site="near"), *nodes(1, Phase.BUSY, "near")]
    made = decide(work(1, "far"), supply, limits)
    assert (made.launch, made.drain) == ((), ("a",))
    leaving = [replace(supply[0], phase=Phase.LEAVING), *supply[1:]]
    assert decide(work(1, "far"), leaving, limits).drain == ()
    assert decide(work(1, "far"), [leaving[0], replace(supply[0], id="b")], limits).drain == ()
    assert decide(work(1, "far"), supply[1:], limits).launch == ("far",)


def test_no_node_makes_place_for_a_site_that_has_no_room() -> None:
    limits = Limits(0, 1, (SiteRoom("near", 1), SiteRoom("far", 0)))
    assert decide(work(1, "far"), [idle("a", since=NOW, site="near")], limits).drain == ()


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
        idle("sole", "s"),
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
    assert decide(work(0.5, "far"), supply, TWO_SITES).drain == ("b", "c")


def test_nodes_beyond_a_lowered_maximum_go_as_soon_as_they_are_idle() -> None:
    supply = [idle("a", since=NOW), *nodes(2)]
    assert decide(work(3), supply, replace(HERE, max_nodes=2)).drain == ("a",)


def test_a_disabled_resource_lets_idle_nodes_go_at_once_and_launches_none() -> None:
    off = replace(HERE, enabled=False, min_nodes=2)
    wanted = History(wanted=((NOW.timestamp() - 1, 5),))
    made = decide(work(9), [idle("a", since=NOW), *nodes(1)], off, wanted)
    assert (made.want, made.launch, made.drain) == (0, (), ("a",))
    made = decide(work(9), nodes(1), off, wanted)
    assert made.reason == "0 wanted, 1 exist: launching none, since the resource is disabled."


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


def test_the_history_stays_short() -> None:
    history = History()
    for step in range(2000):
        history = decide(work(step % 7), nodes(7), history=history, now=NOW + seconds(step)).history
    assert len(history.wanted) <= 8


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 9)), min_size=1, max_size=40))
def test_the_history_knows_the_most_that_was_wanted_during_the_window(steps: list[tuple[int, int]]) -> None:
    history, now, seen = History(), NOW, list[tuple[datetime, int]]()
    for wait, want in steps:
        now += seconds(wait)
        seen.append((now, want))
        history = decide(Demand(sessions=want), nodes(9), history=history, now=now).history
        assert max(one for _, one in history.wanted) == max(one for at, one in seen if at > now - seconds(600))


sites = st.sampled_from(["a", "b", "c"])
works = st.builds(Work, st.floats(0, 1e5), st.integers(0, 500), st.none() | st.frozensets(sites, min_size=1))
demands = st.builds(Demand, st.lists(works, max_size=4).map(tuple), st.integers(0, 5), st.frozensets(sites))
supplies = st.lists(
    st.builds(
        SupplyNode,
        id=st.uuids().map(str),
        site=sites,
        phase=st.sampled_from(Phase),
        idle_since=st.none() | st.floats(0, 2000).map(lambda age: NOW - seconds(age)),
        models=st.frozensets(sites),
        pinned=st.booleans(),
    ),
    max_size=15,
)
limits_of_any_kind = st.builds(
    Limits,
    min_nodes=st.integers(0, 4),
    max_nodes=st.integers(4, 20),
    sites=st.lists(st.builds(SiteRoom, sites, st.integers(-2, 10)), unique_by=lambda site: site.id).map(tuple),
    standby=st.integers(0, 3),
    enabled=st.booleans(),
    idle_timeout=st.none() | st.floats(0, 1000).map(seconds),
)
histories = st.builds(
    History,
    wanted=st.just(()),
    up_since=st.none() | st.floats(0, 100).map(lambda age: NOW - seconds(age)),
    launch_failures=st.integers(0, 5),
    retry_at=st.none() | st.floats(-50, 50).map(lambda age: NOW - seconds(age)),
)


@settings(max_examples=400)
@given(demand=demands, supply=supplies, limits=limits_of_any_kind, history=histories)
def test_every_plan_keeps_the_limits(
    demand: Demand, supply: list[SupplyNode], limits: Limits, history: History
) -> None:
    made = plan(demand, supply, limits, history, NOW)
    launched, by_id = Counter(made.launch), {node.id: node for node in supply}
    rooms = {site.id: site.room for site in limits.sites}
    assert all(count <= rooms[site] for site, count in launched.items())
    assert not made.launch or len(supply) + len(made.launch) <= limits.max_nodes
    assert all(by_id[id_].phase is Phase.IDLE and not by_id[id_].pinned for id_ in made.drain)
    assert len(set(made.drain)) == len(made.drain)
    if limits.enabled:
        assert limits.min_nodes <= made.want <= limits.max_nodes
        assert not made.drain or made.have - len(made.drain) >= min(limits.min_nodes, limits.max_nodes - 1)
    assert made.reason.endswith(".")
    assert "\n" not in made.reason


@settings(max_examples=100)
@given(demand=demands, limits=limits_of_any_kind)
def test_steady_demand_is_reached_and_then_left_alone(demand: Demand, limits: Limits) -> None:
    limits = replace(limits, sites=tuple(replace(site, room=100) for site in limits.sites), enabled=True)
    supply, history, now = list[SupplyNode](), History(), NOW
    for step in range(40):
        made = plan(demand, supply, limits, history, now)
        supply += [SupplyNode(f"{step}-{i}", site, Phase.BUSY) for i, site in enumerate(made.launch)]
        assert made.drain == ()
        history, now = made.history, now + seconds(15)
    if limits.sites:
        assert abs(made.want - len(supply)) <= 0.1 * len(supply)


def test_people_who_wait_get_a_node_at_once_and_no_more_than_the_limit() -> None:
    two_booked = nodes(2)
    assert decide(Demand(sessions=3), two_booked).launch == ("here",)
    assert decide(Demand(sessions=3), [*two_booked, *nodes(1, Phase.STARTING)]).launch == ()
    assert decide(Demand(sessions=5), two_booked, replace(HERE, max_nodes=4)).launch == ("here", "here")


def test_one_node_that_serves_two_needs_is_not_launched_twice() -> None:
    sites = tuple(SiteRoom(name, 100) for name in ("a", "b", "c"))
    demand = Demand((Work(1, 1, frozenset({"a", "b"})), Work(1, 1, frozenset({"a", "c"}))))
    made = decide(demand, [], replace(HERE, sites=sites))
    assert (made.want, made.launch) == (1, ("a",))
