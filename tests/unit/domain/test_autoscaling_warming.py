"""What idle nodes load in advance, when nodes retire, and what is expected to be loaded at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rrm.domain.autoscaling import Demand, Phase, SupplyNode, Work
from rrm.domain.autoscaling.lifetimes import staggered, turning_points
from rrm.domain.autoscaling.warming import Candidate, most_saving, wanted
from tests.unit.domain.demands import HERE, NOW, decide, idle, nodes, seconds, work

HOUR = timedelta(hours=1)


def test_a_use_counts_half_as_much_a_day_later() -> None:
    uses = [("new", NOW), ("old", NOW - 24 * HOUR), ("old", NOW - 48 * HOUR)]
    assert wanted(uses, NOW) == {"new": 1.0, "old": 0.75}


def test_the_model_that_saves_most_is_loaded_if_it_fits() -> None:
    often, slow = Candidate("often", 10, 1.0, 100), Candidate("slow", 2, 20.0, 900)
    instant = Candidate("instant", 1000, 0.1)
    assert most_saving([often, slow, instant], (), 1000) == slow
    assert most_saving([often, slow, instant], (), 500) == often
    assert most_saving([often, slow, instant], {"slow"}, 1000) == often
    assert most_saving([often, replace(slow, holders=7)], (), 1000) == often
    assert most_saving([instant], (), 1000) is None


def test_expected_misses_are_work() -> None:
    def work_of(hit_rate: float | None, *supply: SupplyNode) -> float:
        demand = Demand((Work(100, 50, None, "m", 2.0),), hit_rate=hit_rate, lease_seconds=0.5)
        return decide(demand, list(supply)).reckoning.work[0].load_seconds

    assert work_of(1.0) == 2.0  # nobody holds it
    assert work_of(1.0, idle("a", "m")) == 0.0
    assert round(work_of(0.9, idle("a", "m")), 6) == 40.0  # a tenth of 200 leases
    assert work_of(0.0, idle("a", "m")) == 100.0  # no more than the rendering that it speeds up


def test_loads_of_misses_want_nodes_too() -> None:
    sticky, random = (Demand((Work(290, 500, None, "m", 5.0),), hit_rate=rate) for rate in (1.0, 0.5))
    assert (decide(sticky, []).want, decide(random, []).want) == (1, 2)


def test_preloads_want_as_many_nodes_as_the_most_of_them() -> None:
    assert decide(Demand(preloads=3), []).want == 3
    assert decide(replace(work(2), preloads=3), []).want == 3
    assert decide(Demand(preloads=3), [], replace(HERE, max_nodes=2)).want == 2


def test_nodes_of_one_volley_end_at_different_times_and_each_at_its_own() -> None:
    limits = [staggered(10 * HOUR, f"node {number}") for number in range(100)]
    assert 8 * HOUR <= min(limits) < 8.2 * HOUR
    assert 9.8 * HOUR < max(limits) <= 10 * HOUR
    assert limits == [staggered(10 * HOUR, f"node {number}") for number in range(100)]
    assert staggered(timedelta(minutes=5), "a") == timedelta(minutes=5)


def test_a_node_retires_a_minute_before_its_end_and_is_replaced_a_start_before_that() -> None:
    assert turning_points(NOW, NOW + HOUR, seconds(120)) == (NOW + seconds(3420), NOW + seconds(3540))
    assert turning_points(NOW, NOW + seconds(40), seconds(120)) == (NOW + seconds(26), NOW + seconds(36))


def test_another_node_is_launched_before_one_ends() -> None:
    ending = SupplyNode("a", "here", Phase.BUSY, replace_at=NOW + seconds(15), retire_at=NOW + seconds(60))
    limits = replace(HERE, min_nodes=1)
    assert decide(Demand(), [ending], limits).launch == ()
    made = decide(Demand(), [ending], limits, now=NOW + seconds(15))
    assert (made.launch, made.retire) == (("here",), ())
    made = decide(Demand(), [ending, *nodes(1, Phase.STARTING)], limits, now=NOW + seconds(60))
    assert (made.launch, made.retire, made.reason) == ((), ("a",), "1 wanted, 1 exist: retiring 1, as their time ends.")
    booked = replace(ending, booked=True)
    assert decide(Demand(sessions=1), [booked], limits, now=NOW + seconds(60)).retire == ()
