"""At which sites nodes are launched, and that work bound to a site gets its node there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rrm.domain.autoscaling import (
    Demand,
    History,
    Limits,
    Phase,
    SiteRoom,
    Work,
)
from rrm.domain.autoscaling.sentences import explanation, parting
from tests.unit.domain.demands import (
    HERE,
    NOW,
    TWO_SITES,
    decide,
    idle,
    lasting,
    nodes,
    seconds,
    work,
)


def test_sites_are_filled_in_order_of_preference() -> None:
    assert decide(work(4), [], TWO_SITES).launch == ("near", "near", "near", "far")


def test_a_full_site_gets_none() -> None:
    full = replace(HERE, sites=(SiteRoom("here", 0),))
    made = decide(work(4), [], full)
    assert (made.launch, made.reason) == ((), "4 wanted, 0 exist: no site has room.")
    nowhere = decide(work(4), [], replace(HERE, sites=()))
    assert nowhere.reason == "4 wanted, 0 exist: no site is enabled and can be reached."


def test_work_that_no_site_may_do_wants_no_node_and_is_told_apart_from_none() -> None:
    for demand in (work(4, "elsewhere"), Demand((Work(1200, 1000, frozenset()),))):
        made = decide(demand, [], TWO_SITES)
        assert (made.want, made.launch) == (0, ())
        assert next(explanation(made, demand, TWO_SITES)) == "There is work, but none that nodes at its sites may do."
    assert next(explanation(decide(Demand(), [], TWO_SITES), Demand(), TWO_SITES)) == "There is no work."


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


@pytest.mark.parametrize(
    ("also", "limits", "launch"),
    [
        (Demand(), {}, ()),
        (Demand(), {"sites": (SiteRoom("near", 1), SiteRoom("far", 8))}, ("near",)),
        (Demand(), {"standby": 1}, ("far",)),
        (Demand(), {"min_nodes": 2}, ("far", "far")),
        (Demand(sessions=3), {}, ("far", "far", "far")),
        (work(2), {}, ("far", "far")),
    ],
    ids=["none", "one place", "standby", "minimum", "people", "other work"],
)
def test_where_sites_are_full_that_work_is_bound_to_others_get_nodes_for_the_rest_alone(
    also: Demand, limits: dict[str, Any], launch: tuple[str, ...]
) -> None:
    full = replace(HERE, sites=(SiteRoom("near", 0), SiteRoom("far", 8)))
    demand = replace(also, work=(*work(4, "near").work, *also.work))

    made = decide(demand, [], replace(full, **limits))

    assert made.launch == launch
    if not launch:
        assert made.reason == "4 wanted, 0 exist: no site that may do the work has room."


def test_nodes_that_exist_where_no_work_is_bound_to_count_for_the_rest() -> None:
    full = replace(HERE, sites=(SiteRoom("near", 0), SiteRoom("far", 8)), standby=2)
    assert lasting(work(4, "near"), nodes(1, Phase.BUSY, "far"), full).launch == ("far",)


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
    why = "to make place for work that is bound to far, as the maximum is 2"
    assert made.reason == f"1 wanted, 2 exist: letting 1 go {why}."
    assert parting(made, "a", limits) == f"It goes {why}."
    assert f"1 node goes {why}." in explanation(made, work(1, "far"), limits)
    leaving = [replace(supply[0], phase=Phase.LEAVING), *supply[1:]]
    assert decide(work(1, "far"), leaving, limits).drain == ()
    assert decide(work(1, "far"), [leaving[0], replace(supply[0], id="b")], limits).drain == ()
    assert decide(work(1, "far"), supply[1:], limits).launch == ("far",)


def test_a_pinned_node_that_can_do_none_of_the_work_stays_and_is_named() -> None:
    one, pinned = replace(TWO_SITES, max_nodes=1), idle("p", "m", pinned=True, site="near")
    made = decide(work(1, "far"), [pinned], one)
    sentence = "ork that only far may do waits, as a pinned node at near takes the last place."
    assert (made.leaving, made.launch, made.reason) == ((), (), f"1 wanted, 1 exist: w{sentence}")
    assert f"W{sentence}" in list(explanation(made, work(1, "far"), one))
    assert made.reckoning.pinned == (("p", "near"),)
    both = decide(work(1, "far"), [pinned, replace(pinned, id="q")], replace(one, max_nodes=2))
    assert both.reason.endswith("as 2 pinned nodes at near take the last places.")
    beside = decide(work(1, "far"), [pinned, idle("a", site="near", since=NOW)], replace(one, max_nodes=2))
    assert (beside.drain, beside.reckoning.pinned) == (("a",), ())
    why = "to make place for work that is bound to far, as the maximum is 2"
    assert beside.reason == f"1 wanted, 2 exist: letting 1 go {why}."
    expired = [idle(name, site="near") for name in "abcd"]
    made = decide(work(1, "far"), expired, replace(one, max_nodes=4))
    assert made.reason == "1 wanted, 4 exist, at most 1 wanted lately: letting 2 go."
    busy = decide(work(1, "far"), nodes(1, site="near"), one)
    assert busy.reason == "1 wanted, 1 exist: work that only far may do waits for the place of another node."


def test_nodes_that_may_do_none_of_the_work_do_not_count_for_it() -> None:
    supply = [*(idle(name, since=NOW - seconds(14), site="near") for name in "abc"), *nodes(1, site="far")]
    first = decide(work(4, "far"), supply, TWO_SITES)
    assert (first.launch, first.reason) == ((), "4 wanted, 4 exist: 3 of them may do none of the work that waits.")
    assert decide(work(4, "far"), supply, TWO_SITES, first.history, NOW + seconds(16)).launch == ("far",) * 3
    settling = History(up_since=NOW + seconds(300))
    settled = decide(work(4, "far"), supply, TWO_SITES, settling)
    assert decide(work(4, "far"), supply, TWO_SITES, settled.history, NOW + seconds(16)).launch == ("far",) * 3
    for useful in (work(4, "near", "far"), work(4), replace(work(1, "far"), sessions=3)):
        assert lasting(useful, supply, TWO_SITES).launch == ()


def test_they_make_place_once_they_were_idle_for_as_long_as_a_start_takes() -> None:
    four = replace(TWO_SITES, max_nodes=4, start_time=seconds(40))
    for age, drained in ((39, ()), (40, ("a", "b", "c"))):
        supply = [*(idle(name, since=NOW - seconds(age), site="near") for name in "abc"), *nodes(1, site="far")]
        assert decide(work(4, "far"), supply, four).drain == drained
        assert decide(work(3, "far"), supply, four).drain == drained[:2]
        assert decide(replace(work(3, "far"), sessions=3), supply, four).drain == ()


@pytest.mark.parametrize("idlers", [1, 2])
def test_as_many_make_place_as_a_batch_job_has_machines_or_none_where_it_would_not_fit(idlers: int) -> None:
    pairs = replace(TWO_SITES, max_nodes=2, sites=(SiteRoom("near", 3), SiteRoom("far", 100, machines=2)))
    supply = [idle(name, since=NOW, site="near") for name in "ab"[:idlers]]
    assert len(decide(work(1, "far"), supply, pairs).drain) == idlers
    assert decide(work(1, "far"), [*supply, *nodes(2 - idlers, site="near")], pairs).drain == tuple("ab"[:idlers]) * (
        idlers == 2
    )


def test_no_node_makes_place_for_a_site_that_has_no_room() -> None:
    limits = Limits(0, 1, (SiteRoom("near", 1), SiteRoom("far", 0)))
    assert decide(work(1, "far"), [idle("a", since=NOW, site="near")], limits).drain == ()


def test_places_that_others_take_are_not_planned_with() -> None:
    limits = replace(HERE, max_nodes=3, taken=2)
    assert decide(work(3), [], limits).launch == ("here",)
    made = decide(work(3), nodes(1), limits)
    assert (made.want, made.launch, made.drain) == (3, (), ())
    assert decide(work(3), [idle("a"), *nodes(1)], limits).beyond == (("a", ""),)  # the maximum was lowered


def test_one_node_that_serves_two_needs_is_not_launched_twice() -> None:
    sites = tuple(SiteRoom(name, 100) for name in ("a", "b", "c"))
    demand = Demand((Work(1, 1, frozenset({"a", "b"})), Work(1, 1, frozenset({"a", "c"}))))
    made = decide(demand, [], replace(HERE, sites=sites))
    assert (made.want, made.launch) == (1, ("a",))


def test_batch_jobs_of_several_machines_are_launched_whole_or_not_at_all() -> None:
    pairs = replace(HERE, sites=(SiteRoom("here", 5, machines=2),))
    assert decide(work(3), [], pairs).launch == ("here",) * 4
    assert decide(work(3), [], replace(pairs, max_nodes=3)).launch == ("here",) * 2

    made = decide(work(3), [], replace(HERE, sites=(SiteRoom("here", 1, machines=2),)))
    assert made.launch == ()
    assert made.reason == "3 wanted, 0 exist: no room is left for a batch job, which makes 2 nodes at once."


def test_nodes_that_do_bound_work_count_for_it_however_much_there_is() -> None:
    limits = replace(TWO_SITES, max_nodes=4)
    made = decide(work(12, "far"), nodes(4, site="far"), limits)
    assert (made.reckoning.misplaced, made.reckoning.since) == (0, None)
    assert made.reason == "4 wanted, 4 exist: 12 are needed, and the maximum is 4."
    for wanted in (4, 12):  # the standby node stays, whatever waits at the other site
        supply = [*nodes(3, site="far"), idle("s", site="near")]
        assert decide(work(wanted, "far"), supply, replace(limits, standby=1)).leaving == ()
    within = replace(TWO_SITES, max_nodes=20)
    first = decide(work(50, "far"), nodes(19, site="far"), within)
    assert decide(work(50, "far"), nodes(19, site="far"), within, first.history, NOW + seconds(30)).launch == ()


def test_a_batch_job_that_does_not_fit_is_told_beside_a_full_site_of_single_nodes() -> None:
    limits = replace(HERE, sites=(SiteRoom("local", 0), SiteRoom("slurm", 2, machines=3)))
    first = decide(work(9), nodes(4), limits)
    made = decide(work(9), nodes(4), limits, first.history, NOW + seconds(30))
    assert made.reason.endswith(": no room is left for a batch job, which makes 3 nodes at once.")


def test_a_node_goes_for_work_that_any_of_several_sites_may_do() -> None:
    limits = Limits(0, 1, tuple(SiteRoom(site, 5) for site in "abc"))
    made = decide(Demand((Work(300, 9, frozenset("ab")),)), [idle("x", site="c")], limits)
    assert "work that is bound to a or b, as the maximum is 1" in parting(made, "x", limits)


def test_no_node_is_started_where_it_may_do_nothing_for_a_session_at_a_full_site() -> None:
    limits = replace(TWO_SITES, max_nodes=3, sites=(SiteRoom("near", 0), SiteRoom("far", 4)))
    demand = Demand((Work(3.5, 3, frozenset({"near"})),), sessions=1)
    lasting = History(up_since=NOW - seconds(60))
    booked = replace(nodes(1, site="near")[0], booked=True)
    assert decide(demand, [booked], limits, lasting).launch == ()
    assert decide(replace(demand, sessions=2), [booked], limits, lasting).launch == ("far",)
