"""How resources share the places of the sites that they have in common."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrm.domain.autoscaling import Demand, History, Limits, Phase, Plan, Pool, SiteRoom, SupplyNode, plan_farm
from tests.unit.domain.demands import LONG_AGO, NOW, UNWRITTEN, idle, nodes, seconds, work
from tests.unit.domain.test_autoscaling_invariants import demands, histories, limits_of_any_kind, supplies

FULL = Limits(min_nodes=0, max_nodes=10, sites=(SiteRoom("here", 0),))
LASTING = History(up_since=LONG_AGO)
NOTHING = Demand()


def pool(name: str, demand: Demand, *supply: SupplyNode, limits: Limits = FULL, history: History = LASTING) -> Pool:
    own = [replace(node, id=f"{name}-{node.id}") for node in supply]
    return Pool(name, demand, own, limits, history)


def plans(*pools: Pool) -> dict[str, Plan]:
    return plan_farm(pools, NOW)


def test_an_idle_node_makes_place_at_once_for_a_resource_without_any() -> None:
    made = plans(pool("a", NOTHING, idle("1", since=NOW)), pool("b", work(1)))
    assert made["a"].yields == (("a-1", "b"),)
    assert made["a"].reason == "0 wanted, 1 exist: making place, 1 for b."
    assert (made["b"].launch, made["b"].reason) == ((), "1 wanted, 0 exist: no site has room.")


def test_an_idle_node_makes_place_at_once_for_people_who_wait() -> None:
    made = plans(pool("a", NOTHING, idle("1", since=NOW)), pool("b", Demand(sessions=2), *nodes(1)))
    assert made["a"].yields == (("a-1", "b"),)


def test_an_idle_node_is_left_alone_for_as_long_as_a_start_takes_where_the_other_has_some() -> None:
    slow = replace(FULL, start_time=seconds(100))
    for age, yields in ((99, ()), (100, (("a-1", "b"),))):
        giver = pool("a", NOTHING, idle("1", since=NOW - seconds(age)), limits=slow)
        assert plans(giver, pool("b", work(3), *nodes(1)))["a"].yields == yields


def test_what_a_resource_wants_itself_stays() -> None:
    rival = pool("b", work(3), *nodes(1))
    assert plans(pool("a", work(0.5), idle("1")), rival)["a"].yields == ()
    for kept in (replace(FULL, min_nodes=1), replace(FULL, standby=1)):
        assert plans(pool("a", NOTHING, idle("1"), limits=kept, history=UNWRITTEN), rival)["a"].yields == ()
    assert plans(pool("a", NOTHING, idle("1", "m", pinned=True)), rival)["a"].yields == ()
    booked = SupplyNode("1", "here", Phase.BUSY, booked=True)
    assert plans(pool("a", Demand(sessions=1), booked), pool("b", work(3)))["a"].yields == ()


def test_nodes_of_which_nobody_can_tell_if_they_are_used_stay() -> None:
    unknown = replace(FULL, gives_way=False)
    assert plans(pool("a", NOTHING, idle("1"), limits=unknown), pool("b", work(1)))["a"].yields == ()
    assert plans(pool("a", work(9), *nodes(3), limits=unknown), pool("b", work(1)))["a"].yields == ()


def test_a_node_elsewhere_does_not_help() -> None:
    there = replace(FULL, sites=(SiteRoom("there", 0),))
    assert plans(pool("a", NOTHING, idle("1", site="there"), limits=there), pool("b", work(1)))["a"].yields == ()


def test_a_busy_node_makes_place_for_a_resource_without_any_but_never_the_last() -> None:
    assert len(plans(pool("a", work(9), *nodes(3)), pool("b", work(1)))["a"].yields) == 1
    assert plans(pool("a", work(9), *nodes(1)), pool("b", work(1)))["a"].yields == ()
    least = replace(FULL, min_nodes=3)
    assert plans(pool("a", work(9), *nodes(3), limits=least), pool("b", work(1)))["a"].yields == ()


def test_two_resources_that_both_have_work_take_nothing_from_each_other() -> None:
    made = plans(pool("a", work(9), *nodes(3), idle("1")), pool("b", work(9), *nodes(1), idle("1")))
    assert (made["a"].yields, made["b"].yields) == ((), ())


def test_no_second_node_is_asked_to_leave_while_the_first_is_leaving() -> None:
    leaving = replace(idle("1"), phase=Phase.LEAVING)
    assert plans(pool("a", NOTHING, leaving, idle("2", since=NOW)), pool("b", work(1)))["a"].yields == ()


def test_those_who_cannot_start_any_take_nothing() -> None:
    failed = History(launch_failures=1, retry_at=NOW + seconds(10), up_since=LONG_AGO)
    for rival in (pool("b", work(1), history=failed), pool("b", work(1), limits=replace(FULL, max_nodes=0))):
        assert plans(pool("a", NOTHING, idle("1", since=NOW)), rival)["a"].yields == ()


@pytest.mark.parametrize("room", [2, 3, 6])
def test_every_resource_gets_its_first_node_before_any_gets_more(room: int) -> None:
    limits = replace(FULL, sites=(SiteRoom("here", room),))
    made = plans(pool("a", work(9), limits=limits), pool("b", work(9), limits=limits))
    assert min(len(made["a"].launch), len(made["b"].launch)) >= 1
    assert len(made["a"].launch) + len(made["b"].launch) == room


def test_the_first_node_is_started_elsewhere_where_the_preferred_site_is_full() -> None:
    two = replace(FULL, sites=(SiteRoom("near", 1), SiteRoom("far", 1)))
    made = plans(pool("a", work(1), limits=two), pool("b", work(1), limits=two))
    assert (made["a"].launch, made["b"].launch) == (("near",), ("far",))


def test_only_what_a_batch_job_of_several_machines_lacks_makes_place() -> None:
    one_left, triples = (replace(FULL, sites=(SiteRoom("here", 1, machines),)) for machines in (1, 3))
    idlers = (idle(name, since=NOW) for name in "1234")
    made = plans(pool("a", NOTHING, *idlers, limits=one_left), pool("b", work(1), limits=triples))
    assert made["b"].launch == ()
    assert [rival for _, rival in made["a"].yields] == ["b", "b"]


@pytest.mark.parametrize(("machines", "others"), [(4, 3), (3, 1)])
def test_no_node_leaves_for_a_batch_job_that_would_not_fit_all_the_same(machines: int, others: int) -> None:
    one_left, batch = (replace(FULL, sites=(SiteRoom("here", 1, each),)) for each in (1, machines))
    for phase in (Phase.BUSY, Phase.IDLE):
        busy = pool("a", work(9), *nodes(others, phase), limits=one_left)
        made = plans(busy, pool("b", work(1), limits=batch))
        assert (made["a"].yields, made["b"].launch) == ((), ())


def test_a_batch_job_gets_all_its_places_at_one_site() -> None:
    halves = replace(FULL, sites=(SiteRoom("near", 0), SiteRoom("far", 0)))
    pairs = replace(FULL, sites=(SiteRoom("near", 0, 2), SiteRoom("far", 0, 2)))
    here, there = idle("1", site="near", since=NOW), [idle(each, site="far", since=NOW) for each in "23"]
    assert plans(pool("a", NOTHING, here, there[0], limits=halves), pool("b", work(1), limits=pairs))["a"].yields == ()
    made = plans(pool("a", NOTHING, here, *there, limits=halves), pool("b", work(1), limits=pairs))
    assert made["a"].yields == (("a-2", "b"), ("a-3", "b"))


def test_places_are_set_aside_for_all_the_machines_of_a_first_batch_job() -> None:
    single, batch = (replace(FULL, sites=(SiteRoom("here", 5, machines),)) for machines in (1, 4))
    made = plans(pool("a", work(9), limits=single), pool("b", work(1), limits=batch))
    assert (made["a"].launch, made["b"].launch) == (("here",), ("here",) * 4)


def test_places_that_come_one_by_one_are_kept_for_the_batch_job_that_they_are_made_for() -> None:
    single, batch = (replace(FULL, sites=(SiteRoom("here", 2, machines),)) for machines in (1, 4))
    supply = [*nodes(1), *nodes(2, Phase.LEAVING)]
    made = plans(pool("a", work(9), *supply, limits=single), pool("b", work(1), limits=batch))
    assert (made["a"].launch, made["a"].yields, made["b"].launch) == ((), (), ())


def test_an_idle_node_makes_place_at_once_for_people_though_nodes_of_theirs_are_at_work() -> None:
    made = plans(pool("a", NOTHING, idle("1", since=NOW)), pool("b", replace(work(3), sessions=1), *nodes(3)))
    assert made["a"].yields == (("a-1", "b"),)


def test_a_vast_maximum_costs_a_plan_nothing() -> None:
    vast = Limits(min_nodes=0, max_nodes=10**12, sites=(SiteRoom("here", 10**12),))
    made = plans(pool("a", NOTHING, limits=vast), pool("b", work(2), limits=vast, history=UNWRITTEN))
    assert (made["a"].launch, made["b"].launch) == ((), ("here", "here"))


pools_of_any_kind = st.builds(Pool, st.sampled_from(["a", "b", "c"]), demands, supplies, limits_of_any_kind, histories)


@settings(max_examples=80, deadline=None)
@given(st.lists(pools_of_any_kind, max_size=3, unique_by=lambda pool: pool.id))
def test_plans_of_all_keep_the_limits_of_the_sites_and_of_each(pools: list[Pool]) -> None:
    rooms: Counter[str] = Counter()
    for each in pools:
        rooms.update({site.id: site.room for site in each.limits.sites if site.id not in rooms})
    made = plan_farm(pools, NOW)
    launched = Counter(site for plan in made.values() for site in plan.launch)
    assert all(count <= max(rooms[site], 0) for site, count in launched.items())
    for each in pools:
        decided, by_id = made[each.id], {node.id: node for node in each.supply}
        assert not decided.launch or len(each.supply) + len(decided.launch) <= each.limits.max_nodes
        assert len(set(decided.leaving)) == len(decided.leaving)
        assert not any(by_id[id_].booked for id_, _ in decided.beyond)
        assert not any(by_id[id_].pinned or by_id[id_].booked for id_, _ in decided.yields)
        if decided.yields and each.limits.enabled:
            left = decided.have - len(decided.drain) - len(decided.yields) - len(decided.beyond)
            assert left >= min(each.limits.min_nodes, each.limits.max_nodes - 1)
