"""Which job a node gets: affinity, its bounds, priorities, fairness and sites."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm.domain.facts import Holders, JobFacts, NodeFacts, is_done_before, is_pressed
from rrm.domain.queues import Queues
from rrm.domain.scheduling import Choice, Policy, Reason, choose
from tests.unit.domain import offers
from tests.unit.domain.offers import NOW, may_run

LOAD = 60.0
LOADED = NOW + timedelta(seconds=LOAD)
K = 16


def node(id_: str = "n1", *held: str, **changes: Any) -> NodeFacts:
    return replace(NodeFacts(id_, "mandelbrot", "here", frozenset(held)), **changes)


def job(id_: str, model: str, age: float = 0, **changes: Any) -> JobFacts:
    """A job created `age` seconds ago, with 10 s of work and a model that takes LOAD seconds to load."""
    created = NOW - timedelta(seconds=age)
    return replace(JobFacts(id_, "mandelbrot", model, "ada", "normal", created, 10.0, LOAD), **changes)


def decide(asking: NodeFacts, jobs: list[JobFacts], *others: NodeFacts, **rounds: int) -> Choice | None:
    return choose(asking, jobs, Holders.of([asking, *others]), NOW, rounds=rounds)


def busy(id_: str, *held: str, seconds: float = 5) -> NodeFacts:
    return node(id_, *held, busy_seconds=seconds)


def test_a_node_serves_the_oldest_job_of_a_model_it_holds() -> None:
    jobs = [job("cold", "b", age=50), job("young", "a", age=1), job("old", "a", age=2)]
    assert decide(node("n1", "a", streak=3), jobs) == Choice("old", "a", Reason.WARM, streak=4)


def test_a_node_without_models_loads_what_nobody_holds() -> None:
    choice = decide(node(), [job("x", "a", age=1), job("y", "b", age=2)])
    assert choice == Choice("y", "b", Reason.NO_HOLDER, streak=0, streak_since=LOADED)
    assert not choice.warm


def test_nothing_is_chosen_from_nothing() -> None:
    assert decide(node(), []) is None


def test_a_model_is_left_to_its_holder_while_waiting_costs_less_than_loading() -> None:
    assert decide(node(), [job("x", "a")], busy("n2", "a", seconds=LOAD - 11)) is None


def test_a_model_is_loaded_when_waiting_for_its_holder_costs_as_much() -> None:
    choice = decide(node(), [job("x", "a")], busy("n2", "a", seconds=LOAD - 10))
    assert choice == Choice("x", "a", Reason.BREAK_EVEN, streak=0, streak_since=LOADED)


def test_the_work_of_a_model_is_shared_by_its_holders_before_another_loads_it() -> None:
    jobs = [job("x", "a", remaining_seconds=80), job("y", "a", remaining_seconds=80)]
    assert decide(node(), jobs, busy("n2", "a", seconds=0), busy("n3", "a", seconds=0)) is not None
    assert decide(node(), jobs, *(busy(f"h{i}", "a", seconds=0) for i in range(3))) is None


def test_a_model_that_loads_in_no_time_is_taken_at_once() -> None:
    choice = decide(node(), [job("x", "a", load_seconds=0)], busy("n2", "a"))
    assert choice is not None
    assert choice.reason is Reason.BREAK_EVEN


def test_an_aged_job_is_loaded_by_a_node_without_warm_work() -> None:
    holder = busy("n2", "a", seconds=0)
    assert decide(node(), [job("x", "a", age=2 * LOAD - 1)], holder) is None
    assert decide(node(), [job("x", "a", age=2 * LOAD)], holder) == Choice(
        "x", "a", Reason.AGED, streak=0, streak_since=LOADED
    )


def test_age_alone_never_beats_warmth() -> None:
    jobs = [job("cold", "b", age=1e6), job("warm", "a")]
    choice = decide(node("n1", "a", streak=K - 1), jobs, busy("n2", "b", seconds=0))
    assert choice == Choice("warm", "a", Reason.WARM, streak=K)


def test_a_used_up_streak_lets_an_aged_job_in() -> None:
    jobs = [job("cold", "b", age=2 * LOAD), job("warm", "a")]
    choice = decide(node("n1", "a", streak=K), jobs, busy("n2", "b", seconds=0))
    assert choice == Choice("cold", "b", Reason.AGED, streak=0, streak_since=LOADED)


def test_a_used_up_streak_goes_on_while_no_cold_job_is_worth_a_load() -> None:
    jobs = [job("cold", "b"), job("warm", "a")]
    choice = decide(node("n1", "a", streak=K), jobs, busy("n2", "b", seconds=0))
    assert choice == Choice("warm", "a", Reason.WARM, streak=K + 1)


def test_a_streak_lasts_six_times_as_long_as_the_load_would_however_small_leases_are() -> None:
    jobs = [job("cold", "b", age=1e6), job("warm", "a")]
    begun = NOW - timedelta(seconds=6 * LOAD)
    used_up = node("n1", "a", streak=1000, streak_since=begun)
    assert decide(used_up, jobs) == Choice("cold", "b", Reason.NO_HOLDER, streak=0, streak_since=LOADED)
    still = replace(used_up, streak_since=begun + timedelta(seconds=1))
    assert decide(still, jobs) == Choice("warm", "a", Reason.WARM, 1001, still.streak_since)


def test_a_model_that_loads_in_a_small_part_of_a_lease_comes_in_its_turn() -> None:
    jobs = [job("light", "b", age=10, load_seconds=0.1, lease_seconds=1), job("warm", "a", age=5)]
    choice = decide(node("n1", "a", streak=3), jobs, busy("n2", "b"))
    assert choice == Choice("light", "b", Reason.BREAK_EVEN, streak=4)
    later = [replace(jobs[0], created_at=NOW), jobs[1]]
    assert decide(node("n1", "a", streak=3), later) == Choice("warm", "a", Reason.WARM, 4)


def test_a_job_whose_owner_had_more_is_loaded_once_it_is_aged() -> None:
    jobs = [job("warm", "a"), job("cold", "b", age=2 * LOAD - 1, owner="bob")]
    assert decide(node("n1", "a", streak=K), jobs, bob=3) == Choice("warm", "a", Reason.WARM, K + 1)
    aged = [jobs[0], replace(jobs[1], created_at=NOW - timedelta(seconds=2 * LOAD))]
    assert decide(node("n1", "a", streak=K), aged, bob=3) == Choice("cold", "b", Reason.NO_HOLDER, 0, LOADED)


def test_a_job_pressed_by_its_deadline_comes_first_of_its_owners_round() -> None:
    due = [NOW + timedelta(seconds=seconds) for seconds in (200, 100)]
    jobs = [job("old", "a", age=50), *(job(f"due{n}", "a", deadline=at, pressed=True) for n, at in enumerate(due))]
    assert decide(node("n1", "a"), jobs) == Choice("due1", "a", Reason.WARM, 1)
    others = [*jobs, job("other", "a", owner="bob")]
    assert decide(node("n1", "a"), others, ada=1) == Choice("other", "a", Reason.WARM, 1)


@pytest.mark.parametrize(("left", "nodes", "pressed"), [(1000, 10, True), (1000, 20, False), (0, 0, False)])
def test_a_job_is_pressed_when_all_its_nodes_would_barely_do_it_in_time(left: float, nodes: int, pressed: bool) -> None:
    assert is_pressed(NOW + timedelta(seconds=150), left, nodes, NOW) is pressed
    assert not is_pressed(None, left, nodes, NOW)
    assert is_pressed(NOW - timedelta(days=1), 0, 1, NOW)


def test_what_is_served_does_not_age() -> None:
    cold, holder = job("cold", "b", age=1e6), busy("n2", "b", seconds=0)
    just_now = NOW - timedelta(seconds=2 * LOAD - 1)
    assert decide(node(), [replace(cold, served_at=just_now)], holder) is None
    loaded = decide(node(), [replace(cold, served_at=just_now - timedelta(seconds=1))], holder)
    assert loaded == Choice("cold", "b", Reason.AGED, 0, LOADED)


def test_kept_queues_know_what_is_served() -> None:
    cold = job("cold", "b", age=1e6)
    queues, holders = Queues([cold]), Holders.of([busy("n2", "b", seconds=0)])
    queues.claim(cold, 1, NOW - timedelta(seconds=1))
    assert choose(node(), queues, holders, NOW) is None
    assert choose(node(), queues, holders, NOW + timedelta(seconds=2 * LOAD)) is not None


def test_the_lease_that_a_job_waits_for_is_not_waited_for() -> None:
    jobs = [job("x", "a", remaining_seconds=LOAD + 9, lease_seconds=10)]
    assert decide(node(), jobs, busy("n2", "a", seconds=0)) is None
    assert decide(node(), jobs, busy("n2", "a", seconds=1)) is not None


def test_a_model_that_nobody_holds_comes_before_more_nodes_for_one_that_some_hold() -> None:
    many = job("many", "a", age=9, remaining_seconds=4 * LOAD)
    holders = [busy("n2", "a"), busy("n3", "a")]
    alone = job("alone", "b", remaining_seconds=2 * LOAD)
    assert decide(node(), [many, alone], *holders) == Choice("alone", "b", Reason.NO_HOLDER, 0, LOADED)
    little = replace(alone, remaining_seconds=LOAD)
    assert decide(node(), [many, little], *holders) == Choice("many", "a", Reason.BREAK_EVEN, 0, LOADED)


def test_an_owner_at_the_limit_gets_no_further_node() -> None:
    jobs = [job("x", "a"), job("y", "a", owner="bob")]
    facts = Holders.of([])
    assert choose(node("n1", "a"), jobs, facts, NOW, full={"ada"}) == Choice("y", "a", Reason.WARM, 1)
    mine = node("n1", "a", works_for=frozenset({"ada"}))
    assert choose(mine, jobs, facts, NOW, full={"ada"}) == Choice("x", "a", Reason.WARM, 1)


def test_nothing_is_loaded_where_enough_load_or_where_loading_failed() -> None:
    assert decide(node(), [job("x", "a", is_loadable=False)]) is None
    assert decide(node("n1", "a"), [job("x", "a", is_loadable=False)]) is not None


def test_a_node_gets_only_what_it_can_finish_before_it_ends() -> None:
    ending = node("n1", "a", ends_at=NOW + timedelta(seconds=40), busy_seconds=5.0)
    long, short = job("long", "a", age=5, lease_seconds=20), job("short", "a", lease_seconds=8)
    assert decide(ending, [long, short]) == Choice("short", "a", Reason.WARM, 1)
    assert decide(ending, [long]) is None
    assert decide(ending, [replace(short, model="b")]) is None, "the load takes too long"


def test_a_node_of_a_later_site_leaves_small_work_to_free_nodes_of_earlier_ones() -> None:
    small, far = job("x", "a", remaining_seconds=1, load_seconds=0.5), node("n1", site="there", rank=1)
    near = node("n2", free_since=NOW)
    assert decide(far, [small], near) is None
    assert decide(near, [small], far) is not None
    assert decide(far, [small]) is not None, "nobody is there"
    assert decide(far, [replace(small, remaining_seconds=100)], near) is not None, "there is enough for all"
    assert decide(far, [small], replace(near, busy_seconds=1)) is not None
    assert decide(far, [replace(small, sites=frozenset({"there"}))], near) is not None
    declined = replace(near, free_since=NOW - timedelta(seconds=3))
    assert decide(far, [replace(small, created_at=NOW - timedelta(seconds=3))], declined) is not None


def test_a_node_of_a_later_site_that_holds_a_large_model_is_not_kept_from_it() -> None:
    far = node("n1", "a", site="there", rank=1)
    assert decide(far, [job("x", "a", remaining_seconds=1)], node("n2", free_since=NOW)) is not None
    assert decide(far, [job("x", "a", remaining_seconds=1)], node("n2", "a", free_since=NOW)) is None


def test_a_load_in_flight_counts_as_a_holder() -> None:
    assert decide(node("n2"), [job("x", "a")], busy("n1", "a", seconds=LOAD / 2)) is None


@pytest.mark.parametrize(("stranger", "reason"), [
    ({"resource": "other"}, Reason.NO_HOLDER), ({"site": "there"}, Reason.NO_HOLDER), ({}, None),
])  # fmt: skip
def test_only_holders_that_may_run_the_job_count(stranger: dict[str, Any], reason: Reason | None) -> None:
    holder = replace(busy("n2", "a", seconds=0), **stranger)
    choice = decide(node(), [job("x", "a", sites=frozenset({"here"}))], holder)
    assert (choice and choice.reason) == reason


def test_a_more_urgent_class_comes_before_affinity() -> None:
    jobs = [job("warm", "a", age=100), job("urgent", "b", priority="high")]
    assert decide(node("n1", "a"), jobs) == Choice("urgent", "b", Reason.NO_HOLDER, streak=0, streak_since=LOADED)


def test_a_node_helps_a_lower_class_while_the_higher_one_waits_for_its_holder() -> None:
    jobs = [job("low", "a", priority="low"), job("urgent", "b", priority="urgent")]
    choice = decide(node("n1", "a"), jobs, busy("n2", "b", seconds=0))
    assert choice == Choice("low", "a", Reason.WARM, streak=1)


def test_the_owner_in_the_lowest_round_comes_first() -> None:
    jobs = [job("first", "a", age=20, owner="ada"), job("second", "a", age=10, owner="bob")]
    assert decide(node("n1", "a"), jobs, ada=5, bob=5) == Choice("first", "a", Reason.WARM, 1)
    assert decide(node("n1", "a"), jobs, ada=1) == Choice("second", "a", Reason.WARM, 1)
    assert decide(node("n1", "a"), jobs, ada=1, bob=2) == Choice("first", "a", Reason.WARM, 1)


def test_only_so_many_cold_models_are_looked_at() -> None:
    jobs = [job("x", "a", age=2), job("y", "b", age=1)]
    holders = Holders.of([busy("n2", "a", seconds=0)])
    assert choose(node(), jobs, holders, NOW, policy=Policy(heads=1)) is None
    assert choose(node(), jobs, holders, NOW, policy=Policy(heads=2)) is not None


@pytest.mark.parametrize("hidden", [{"is_loadable": False}, {"sites": frozenset({"near", "here"})}])
def test_what_a_node_may_not_load_hides_nothing_behind_it(hidden: dict[str, Any]) -> None:
    far = node("n1", rank=1)
    near = node("n2", site="near", rank=0)
    ahead = [job(f"x{at}", f"m{at}", age=2, load_seconds=1.5, remaining_seconds=0.1, **hidden) for at in range(60)]
    jobs = [*ahead, job("last", "b", age=1, sites=frozenset({"here"}))]
    choice = choose(far, jobs, Holders.of([near]), NOW)
    assert choice is not None
    assert choice.job_id == "last"
    # Those that are left to others are looked at, those that nothing may load are not.
    few = choose(far, jobs, Holders.of([near]), NOW, policy=Policy(looks=60))
    assert (few is None) is ("sites" in hidden)


def test_a_node_that_has_rested_takes_an_aged_job_though_others_serve_its_model() -> None:
    served = NOW - timedelta(seconds=1)
    jobs = [job("x", "a", age=2 * LOAD, served_at=served)]
    rested = node(free_since=NOW - timedelta(seconds=1))
    choice = decide(rested, jobs, busy("n2", "a"))
    assert choice == Choice("x", "a", Reason.AGED, streak=0, streak_since=LOADED)
    assert decide(node(), jobs, busy("n2", "a")) is None
    assert decide(node(free_since=NOW), jobs, busy("n2", "a")) is None
    assert decide(rested, [replace(jobs[0], is_begun=True)], busy("n2", "a")) is None
    assert decide(rested, [job("x", "a", age=2 * LOAD - 1, served_at=served)], busy("n2", "a")) is None


def test_a_light_job_that_others_should_do_hides_no_other_light_one() -> None:
    light = {"load_seconds": 0.0}
    jobs = [
        job("refused", "b", age=9, refused=frozenset({"n1"}), **light),
        job("young", "b", age=1, **light),
        job("next", "c", age=8, **light),
        job("warm", "a", age=5),
    ]
    choice = decide(node("n1", "a", streak=3), jobs)
    assert choice is not None
    assert choice.job_id == "next"


def test_a_node_turns_to_a_job_when_it_claims_a_part_of_it() -> None:
    waiting = job("x", "a", age=2 * LOAD)
    queues, holders = Queues([waiting]), Holders.of([busy("n2", "a")])
    rested = node(free_since=NOW - timedelta(seconds=1))
    assert choose(rested, queues, holders, NOW) is not None
    queues.claim(waiting, 1.0, NOW - timedelta(seconds=1))
    assert choose(rested, queues, holders, NOW) is None


jobs_of_any_kind = st.builds(JobFacts, **offers.JOB)
nodes_of_any_kind = st.builds(NodeFacts, id=st.uuids().map(str), busy_seconds=st.floats(0, 100), **offers.NODE)


@given(nodes=st.lists(nodes_of_any_kind, min_size=1, max_size=5), jobs=st.lists(jobs_of_any_kind, max_size=12))
def test_a_choice_is_one_the_node_may_run_and_says_the_truth(nodes: list[NodeFacts], jobs: list[JobFacts]) -> None:
    asking = nodes[0]
    choice = choose(asking, jobs, Holders.of(nodes), NOW)
    allowed = [one for one in jobs if may_run(asking, one)]
    if choice is None:
        assert not any(one.model in asking.held or one.load_seconds == 0 for one in allowed)
        return
    chosen = next(one for one in allowed if one.id == choice.job_id)
    assert choice.model == chosen.model
    assert choice.warm == (chosen.model in asking.held)
    assert choice.streak == (asking.streak + 1 if choice.warm or chosen.is_light else 0)
    same = [one for one in allowed if (one.model, one.priority) == (chosen.model, chosen.priority)]
    assert chosen.created_at == min(one.created_at for one in same)


@given(
    nodes=st.lists(nodes_of_any_kind, min_size=1, max_size=5), jobs=st.lists(jobs_of_any_kind, min_size=1, max_size=8)
)
def test_no_work_that_a_node_may_run_waits_longer_than_the_age_limit_for_an_idle_node(
    nodes: list[NodeFacts], jobs: list[JobFacts]
) -> None:
    asking = nodes[0]
    later = NOW + timedelta(seconds=200)  # twice the longest load
    choice = choose(asking, jobs, Holders.of(nodes), later)
    assert (choice is None) == (not any(may_run(asking, one) for one in jobs))


def _serve(jobs: list[JobFacts], asking: NodeFacts, others: list[NodeFacts], seconds: float) -> tuple[int, float]:
    """Let one node serve until the cold job's turn comes: how many warm services before it, and how long it waited."""
    clock, warm = NOW, 0
    while True:
        choice = choose(asking, jobs, Holders.of([asking, *others]), clock)
        assert choice is not None
        if choice.job_id == "cold":
            return warm, (clock - NOW).total_seconds()
        warm += 1
        asking = replace(asking, streak=choice.streak)
        clock += timedelta(seconds=seconds)


@given(seconds=st.floats(0.1, 30), load=st.floats(1, 100), streak=st.integers(0, K))
def test_a_cold_job_waits_at_most_its_age_limit_and_one_streak(seconds: float, load: float, streak: int) -> None:
    jobs = [
        job("warm", "a", remaining_seconds=1e6, load_seconds=load),
        job("cold", "b", load_seconds=load, remaining_seconds=0),
    ]
    holder = node("n2", "b", busy_seconds=0)  # it never asks, the worst case
    warm, wait = _serve(jobs, node("n1", "a", streak=streak), [holder], seconds)
    assert wait <= 2 * load + (K + 1) * seconds
    assert warm >= K - streak


def test_under_backlog_a_node_keeps_to_its_model_sixteen_times_of_seventeen() -> None:
    jobs = [job(model, model, age=1e4, remaining_seconds=1e4) for model in "abcdefgh"]
    asking, reasons = node("n1", "a"), Counter[bool]()
    for _ in range(1700):
        choice = decide(asking, jobs)
        assert choice is not None
        reasons[choice.warm] += 1
        asking = replace(asking, held=frozenset({choice.model}), streak=choice.streak)
    assert reasons[True] / reasons.total() == pytest.approx(K / (K + 1), abs=0.001)


@pytest.mark.parametrize(("seconds", "in_time"), [(120, True), (71, True), (69, False), (0, False), (-5, False)])
def test_work_is_done_in_time_when_twice_its_estimate_fits_before_the_end(seconds: float, in_time: bool) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert is_done_before(now + timedelta(seconds=seconds), timedelta(seconds=30), now) is in_time
