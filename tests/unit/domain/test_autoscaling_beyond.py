"""Nodes that a lowered limit does not allow any more leave, whatever they do; the least loss first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rrm.domain.autoscaling import Demand, History, Limits, Phase, Plan, Pool, SiteRoom, SupplyNode, Work, plan_farm
from rrm.domain.autoscaling.sentences import explanation
from tests.unit.domain.demands import HERE, LONG_AGO, NOW, TWO_SITES, decide, idle, nodes, seconds, work

TWO = replace(HERE, max_nodes=2)


def busy(id_: str, *models: str, site: str = "here", pinned: bool = False, booked: bool = False) -> SupplyNode:
    return SupplyNode(id_, site, Phase.BUSY, None, frozenset(models), pinned, booked)


def gone(made: Plan) -> list[str]:
    return [node for node, _ in made.beyond]


def test_busy_nodes_beyond_a_lowered_maximum_leave_and_none_is_launched() -> None:
    made = decide(work(9), nodes(5), TWO)
    assert (len(made.beyond), made.drain, made.launch) == (3, (), ())
    assert made.reason == "2 wanted, 5 exist: letting 3 go, beyond the maximum of 2."
    told = list(explanation(made, work(9), TWO))
    assert (
        "3 nodes beyond the maximum of 2 finish what they hold and leave, idle ones first, then those whose models are "
        "missed least; pinned ones go last."
    ) in told


def test_what_leaves_already_counts_for_the_limit_and_takes_its_place_until_it_is_gone() -> None:
    supply = [*nodes(2), *nodes(3, Phase.LEAVING)]
    assert decide(work(9), supply, TWO).leaving == ()
    lasting = History(up_since=LONG_AGO)
    raised = decide(work(9), supply, replace(HERE, max_nodes=6), lasting)
    assert (raised.leaving, raised.launch) == ((), ("here",))
    raised = decide(work(9), nodes(2), replace(HERE, max_nodes=6), lasting)
    assert len(raised.launch) == 4


def test_a_maximum_that_is_raised_again_is_not_waited_for() -> None:
    lowered = decide(work(9), nodes(5), TWO)
    first = decide(work(9), nodes(2), replace(HERE, max_nodes=5), lowered.history, NOW + seconds(15))
    second = decide(work(9), nodes(2), replace(HERE, max_nodes=5), first.history, NOW + seconds(31))
    assert len(second.launch) == 3


def test_first_idle_nodes_leave_then_starting_ones_then_those_whose_models_are_missed_least() -> None:
    supply = [
        busy("pinned", "e", pinned=True),
        busy("sole", "a"),
        busy("much", "b"),
        busy("much-too", "b"),
        busy("little", "c"),
        busy("little-too", "c"),
        busy("nothing-wanted", "d"),
        *nodes(1, Phase.STARTING),
        idle("idle", "a", since=NOW),
        busy("booked", booked=True),
    ]
    some = [Work(seconds, 99, None, model) for seconds, model in ((900, "b"), (90, "c"), (9, "a"))]
    demand = Demand(tuple(some), sessions=1, models=frozenset("abc"))
    order = [gone(decide(demand, supply, replace(HERE, max_nodes=most))) for most in range(10, -1, -1)]
    assert order[-1] == [
        *("idle", "starting-here-0", "nothing-wanted", "little", "much"),
        *("sole", "little-too", "much-too", "pinned"),
    ]
    assert order[:-1] == [order[-1][:count] for count in range(10)]


def test_booked_nodes_stay_until_their_sessions_end_and_count() -> None:
    one = replace(HERE, max_nodes=1)
    supply = [busy("booked", booked=True), busy("booked-too", booked=True), busy("a")]
    made = decide(replace(work(9), sessions=2), supply, one)
    assert (gone(made), made.reason) == (["a"], "1 wanted, 3 exist: letting 1 go, beyond the maximum of 1.")
    people, sentence = Demand(sessions=1), "1 beyond the maximum of 1 stays until its session ends."
    left = decide(people, supply[:2], one)
    assert (left.leaving, left.reason) == ((), f"1 wanted, 2 exist: {sentence}")
    assert sentence in list(explanation(left, people, one))


def test_the_node_that_bound_work_needs_stays_if_another_can_go() -> None:
    supply = [busy("far", site="far"), busy("near", site="near"), busy("near-too", site="near")]
    made = decide(work(1, "far"), supply, replace(TWO_SITES, max_nodes=1))
    assert gone(made) == ["near", "near-too"]


def test_no_more_idle_nodes_go_than_are_too_many_in_the_end() -> None:
    supply = [*(idle(name) for name in "abcdef"), *nodes(2)]
    assert len(decide(work(2), supply).drain) == 5
    made = decide(work(2), supply, replace(HERE, max_nodes=6))
    assert (len(made.beyond), len(made.drain)) == (2, 3)
    assert not set(gone(made)) & set(made.drain)


def test_a_disabled_resource_keeps_to_its_maximum_too() -> None:
    off = replace(TWO, enabled=False)
    assert len(decide(work(9), nodes(3), off).leaving) == 1
    assert decide(work(9), nodes(2), off).leaving == ()


LOWERED = Limits(min_nodes=0, max_nodes=10, sites=(SiteRoom("here", -2, over=2), SiteRoom("there", 5)))


def pool(name: str, demand: Demand, *supply: SupplyNode, limits: Limits = LOWERED) -> Pool:
    return Pool(name, demand, [replace(node, id=f"{name}-{node.id}") for node in supply], limits, History())


def test_as_many_leave_a_site_as_it_has_too_many_from_who_has_most_to_spare() -> None:
    made = plan_farm([pool("a", work(9), *nodes(4)), pool("b", work(9), *nodes(1))], NOW)
    assert [site for _, site in made["a"].beyond] == ["here", "here"]
    assert made["b"].leaving == ()
    assert made["a"].reason.endswith(": letting 2 go, beyond the limit of here.")
    assert "here" not in made["a"].launch + made["b"].launch


def test_idle_nodes_leave_a_site_before_busy_ones_of_another_resource_and_elsewhere_none_does() -> None:
    resting = pool("b", Demand(), idle("1", since=NOW), idle("2", since=NOW))
    made = plan_farm([pool("a", work(9), *nodes(4), *nodes(3, site="there")), resting], NOW)
    assert (made["a"].leaving, gone(made["b"])) == ((), ["b-1", "b-2"])


def test_what_leaves_a_site_anyway_counts_for_its_limit() -> None:
    both = replace(LOWERED, max_nodes=2)
    made = plan_farm([pool("a", work(9), *nodes(3), limits=both), pool("b", work(9), *nodes(2))], NOW)
    assert sorted(site for each in made.values() for _, site in each.beyond) == ["", "here"]


@pytest.mark.parametrize("kept", ["booked", "pinned"])
def test_booked_nodes_stay_at_a_site_and_pinned_ones_go_last(kept: str) -> None:
    special = busy("k", booked=kept == "booked", pinned=kept == "pinned")
    made = plan_farm([pool("a", work(9), special, *nodes(1))], NOW)
    assert gone(made["a"]) == (["a-busy-here-0"] if kept == "booked" else ["a-busy-here-0", "a-k"])


def test_renderers_of_which_nobody_can_tell_if_they_are_used_leave_a_site_last() -> None:
    unknown = pool("a", Demand(), *(idle(name, since=NOW) for name in "12"), limits=replace(LOWERED, gives_way=False))
    made = plan_farm([unknown, pool("b", work(9), *nodes(3))], NOW)
    assert (made["a"].beyond, len(made["b"].beyond)) == ((), 2)


def test_one_node_beyond_a_limit_and_those_beyond_two_are_told_in_whole_sentences() -> None:
    one = replace(HERE, max_nodes=1)
    assert "1 node beyond the maximum of 1 finishes what it holds and leaves." in list(
        explanation(decide(work(9), nodes(2), one), work(9), one)
    )
    limits = replace(HERE, max_nodes=4, sites=(SiteRoom("here", 0), SiteRoom("there", -1, over=1)))
    supply = [idle("1", since=NOW), busy("2"), busy("3"), busy("4", site="there"), busy("5", site="there")]
    made = plan_farm([Pool("a", work(9), supply, limits, History())], NOW)["a"]
    two = "2 nodes (1 beyond the maximum of 4, 1 beyond the limit of there) finish"
    assert any(told.startswith(two) for told in explanation(made, work(9), limits))


def test_what_leaves_or_may_never_come_outside_the_plan_makes_nobody_leave() -> None:
    limits = replace(HERE, max_nodes=4, taken=2)
    made = decide(work(9), nodes(3), limits)
    outside = "beyond the maximum of 4, of which 2 are taken outside the plan"
    assert made.reason == f"4 wanted, 3 exist: letting 1 go, {outside}."
    passing = decide(work(9), nodes(3), replace(limits, passing=1))
    assert (passing.beyond, passing.launch) == ((), ())


def test_a_last_node_that_leaves_is_not_said_to_stay_for_its_use() -> None:
    ahead = History(((NOW.timestamp() - 15, 0),), None, NOW + seconds(200))
    for limits in (replace(HERE, enabled=False), replace(HERE, max_nodes=0)):
        made = decide(Demand(), [idle("a", since=NOW - seconds(30))], limits, ahead)
        assert made.leaving == ("a",)
        assert not any("stays until" in told for told in explanation(made, Demand(), limits))


def test_nodes_whose_time_ends_are_counted_once_when_a_site_has_too_many() -> None:
    def leaves(*retiring: SupplyNode) -> dict[str, tuple[tuple[str, str], ...]]:
        over = 1 + len(retiring)
        limits = replace(HERE, sites=(SiteRoom("here", -over, over=over), SiteRoom("there", 5)))
        three, two = [busy("1"), busy("2"), busy("3"), *retiring], [busy("6"), busy("7")]
        pools = [Pool("a", work(9), three, limits, History()), Pool("b", work(9), two, limits, History())]
        return {id_: made.beyond for id_, made in plan_farm(pools, NOW).items()}

    ends = [replace(busy(id_), replace_at=NOW - seconds(60), retire_at=NOW - seconds(1)) for id_ in "45"]
    assert leaves(*ends) == leaves()


def test_at_a_full_site_the_minimum_and_the_last_node_of_each_resource_come_late() -> None:
    def leaves(least: int, over: int) -> dict[str, int]:
        limits = replace(HERE, sites=(SiteRoom("here", -over, over=over),))
        pools = [
            Pool("a", work(9), [busy("1"), busy("2")], replace(limits, min_nodes=least), History()),
            Pool("b", work(9), [busy("3"), busy("4")], limits, History()),
            Pool("c", work(9), [busy("5")], limits, History()),
        ]
        return {id_: len(made.beyond) for id_, made in plan_farm(pools, NOW).items()}

    assert leaves(0, 2) == {"a": 1, "b": 1, "c": 0}
    assert leaves(2, 1) == {"a": 0, "b": 1, "c": 0}
    assert leaves(0, 5) == {"a": 2, "b": 2, "c": 1}
