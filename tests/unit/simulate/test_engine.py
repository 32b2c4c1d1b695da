"""The clock of the simulator: what is done once, what is counted, and that nothing is left to chance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrm.simulate.arrivals import Order, Visit
from rrm.simulate.dispatch import StreakBound
from rrm.simulate.engine import Scenario, Simulation, Stuck
from rrm.simulate.farm import Job, Node
from rrm.simulate.rivals import ALL
from rrm.simulate.tally import Figures
from rrm.simulate.workload import Workload

LOADS = {"a": 10.0, "b": 10.0, "c": 10.0}
SMALL = Workload(rho=0.6, jobs=200, nodes={"here": 3}, models=8, node_mtbf=1500.0)


def run(orders: list[Order], policy: str = "k16", **facts: Any) -> Figures:
    scenario = Scenario(orders, LOADS, **{"nodes": {"here": 1}, "capacity": 1, **facts})
    return Simulation(scenario, ALL[policy]()).run()


def test_one_node_loads_once_and_serves_what_is_warm_first() -> None:
    # 0: load a (10) + 4; 14: a waits, warm, 4; 18: b has waited since 2: load (10) + 4 -> 32
    found = run([Order(0.0, "a", 4.0), Order(2.0, "b", 4.0), Order(3.0, "a", 4.0)])
    assert found.hit_rate == pytest.approx(1 / 3)
    assert found.loads_per_hour == pytest.approx(2 / (32 / 3600))
    assert found.mean_s == pytest.approx((14 + (18 - 3) + (32 - 2)) / 3)
    assert found.wait_max_s == pytest.approx(18 - 2)
    assert found.node_hours == pytest.approx(32 / 3600)
    assert found.reasons == {"no-holder": 2, "warm": 1}


def test_a_node_with_room_for_two_models_holds_both() -> None:
    found = run([Order(float(at), "ab"[at % 2], 1.0) for at in range(0, 100, 25)], capacity=2)
    assert found.hit_rate == pytest.approx(0.5)


def test_a_node_drops_the_model_that_it_has_not_used_for_the_longest_time() -> None:
    began: list[tuple[str, bool]] = []
    orders = [Order(100.0 * number, model, 1.0) for number, model in enumerate("abacab")]
    scenario = Scenario(orders, LOADS, {"here": 1}, capacity=2)
    Simulation(scenario, StreakBound(), watch=lambda at, node, job, warm: began.append((job.model, warm))).run()
    assert began == [("a", False), ("b", False), ("a", True), ("c", False), ("a", True), ("b", False)]


def test_a_node_that_loads_is_expected_to_be_free_after_the_load_and_the_lease() -> None:
    expected: list[float] = []
    scenario = Scenario([Order(5.0, "a", 4.0, expected=6.0), Order(6.0, "a", 4.0)], LOADS, {"here": 1})
    Simulation(scenario, StreakBound(), watch=lambda at, node, job, warm: expected.append(node.free_at)).run()
    assert expected == [5 + 10 + 6, 5 + 10 + 4 + 4]


def test_the_leases_of_a_job_are_shared_by_the_nodes() -> None:
    found = run([Order(0.0, "a", 10.0, leases=40)], nodes={"here": 4})
    assert found.leases == 40
    assert found.mean_s == pytest.approx(1 + 10 + 10 * 10)  # three of them ask a second later
    assert found.imbalance == pytest.approx(1.0)


def test_a_lease_of_a_node_that_breaks_down_is_done_by_another() -> None:
    began: list[str] = []
    scenario = Scenario([Order(0.0, "a", 4.0)], LOADS, nodes={"here": 2}, capacity=1)
    simulation = Simulation(scenario, StreakBound(), watch=lambda at, node, job, warm: began.append(node.id))
    simulation.at(11.0, lambda _: simulation.leave(simulation.farm.nodes[began[0]]))
    found = simulation.run()
    assert len(set(began)) == 2
    assert (found.jobs, found.lost_leases) == (1, 1)
    assert found.mean_s == pytest.approx(11 + 14)


def test_people_get_a_node_before_any_job_and_one_that_holds_their_model() -> None:
    scenario = Scenario(
        [Order(0.0, "a", 5.0), Order(1.0, "b", 5.0), Order(2.0, "b", 50.0)],
        LOADS,
        nodes={"here": 1},
        capacity=1,
        visits=[Visit(3.0, "a", 20.0)],
    )
    simulation = Simulation(scenario, StreakBound())
    found = simulation.run()
    assert list(simulation.tally.session_waits) == [pytest.approx(12.0)]  # until the node is free at 15, no load
    assert found.wait_max_s == pytest.approx(35 + 10 + 5 - 2)  # the second job of b


@pytest.mark.parametrize("policy", ALL)
def test_the_same_seed_is_the_same_run(policy: str) -> None:
    first, second = (Simulation(SMALL.scenario(3), ALL[policy]()).run() for _ in range(2))
    assert first == second
    assert first != Simulation(SMALL.scenario(4), ALL[policy]()).run()


@settings(max_examples=40)
@given(
    orders=st.lists(
        st.builds(
            Order,
            at=st.floats(0, 300),
            model=st.sampled_from("abc"),
            seconds=st.floats(0.1, 30),
            leases=st.integers(1, 5),
            owner=st.sampled_from(["ada", "bob"]),
            priority=st.sampled_from(["normal", "high"]),
        ),
        max_size=25,
    ),
    policy=st.sampled_from(sorted(ALL)),
    mtbf=st.none() | st.floats(200, 2000),
    nodes=st.integers(1, 4),
    seed=st.integers(0, 5),
)
def test_every_lease_of_every_job_ends_once(
    orders: list[Order], policy: str, mtbf: float | None, nodes: int, seed: int
) -> None:
    orders.sort(key=lambda order: order.at)
    begun: dict[str, int] = {}
    where: dict[Node, Job] = {}

    def watch(at: float, node: Node, job: Job, warm: bool) -> None:
        begun[job.id] = begun.get(job.id, 0) + 1
        assert at >= job.order.at
        assert job.unclaimed > 0
        where[node] = job

    scenario = Scenario(orders, LOADS, {"here": nodes}, node_mtbf=mtbf, repair=30.0, seed=seed)
    simulation = Simulation(scenario, ALL[policy](), watch=watch)
    found = simulation.run()
    assert not simulation.jobs
    assert (found.jobs, len(begun)) == (len(orders), len(orders))
    assert found.leases == sum(begun.values()) == sum(order.leases for order in orders) + found.lost_leases
    work = sum(order.seconds * order.leases for order in orders)
    assert sum(node.busy_seconds for node in where) >= work * 0.999 - 1e-6 if not found.lost_leases else True
    assert found.imbalance >= 0.999


def test_what_a_farm_holds_never_exceeds_its_capacity_and_pins_stay() -> None:
    scenario = replace(SMALL.scenario(1), pinned=frozenset({"m0"}), node_mtbf=None)
    seen: dict[Node, bool] = {}

    def watch(at: float, node: Node, job: Job, warm: bool) -> None:
        assert len(node.held) <= 2
        assert node.models == frozenset(node.held)
        if job.model == "m0":
            seen[node] = True
        assert not seen.get(node) or "m0" in node.held

    Simulation(scenario, StreakBound(), watch=watch).run()
    assert seen


def test_a_run_whose_jobs_nobody_can_do_is_given_up() -> None:
    with pytest.raises(Stuck, match=r"for 2[4-9] simulated hours though 3 waited: nodes broke down"):
        Simulation(Scenario([Order(0.0, "a", 5.0)] * 3, LOADS, {"here": 2}, node_mtbf=0.1), StreakBound()).run()


def test_a_run_is_patient_with_long_leases_and_with_days_without_orders() -> None:
    day = 86400.0
    orders = [Order(0.0, "a", 3 * day), Order(1.0, "b", 1.0), Order(20 * day, "b", 1.0)]
    visits = [Visit(10 * day, "a", 2 * day), Visit(30 * day, "a", 1.0)]
    found = Simulation(Scenario(orders, LOADS, {"here": 1}, 1, visits=visits), StreakBound()).run()
    assert found.jobs == 3


def ends(orders: list[Order]) -> dict[str, float]:
    """When the last lease of each owner begins, on two nodes."""
    last: dict[str, float] = {}

    def watch(at: float, node: Node, job: Job, warm: bool) -> None:
        last[job.order.owner] = at

    Simulation(Scenario(orders, LOADS, {"here": 2}, 1), StreakBound(), watch=watch).run()
    return last


def test_who_asks_for_little_is_not_kept_behind_who_asks_for_much() -> None:
    flood = [Order(0.0, "a", 5.0, owner="ada") for _ in range(100)]
    found = ends([*flood, *(Order(20.0, "a", 5.0, owner="bob") for _ in range(5))])
    assert found["bob"] < 60 < found["ada"]


def test_a_more_urgent_job_begins_first() -> None:
    flood = [Order(0.0, "a", 5.0, owner="ada") for _ in range(100)]
    found = ends([*flood, *(Order(20.0, "b", 5.0, owner="bob", priority="high") for _ in range(5))])
    assert found["bob"] < 60 < found["ada"]
