"""Each rival does what it says, on farms so small that one can follow."""

from __future__ import annotations

import pytest

from rrm.simulate.arrivals import Order
from rrm.simulate.engine import Scenario, Simulation
from rrm.simulate.farm import Job, Node
from rrm.simulate.rivals import ALL

LOADS = dict.fromkeys("abcdefgh", 10.0)


def places(policy: str, orders: list[Order], nodes: int = 2, capacity: int = 1) -> list[tuple[str, str, float]]:
    """Model, node and begin of each lease."""
    found: list[tuple[str, str, float]] = []

    def watch(at: float, node: Node, job: Job, warm: bool) -> None:
        found.append((job.model, node.id, at))

    Simulation(Scenario(orders, LOADS, {"here": nodes}, capacity), ALL[policy](), watch=watch).run()
    return found


def crowd(models: str, every: float = 0.1) -> list[Order]:
    return [Order(number * every, model, 20.0) for number, model in enumerate(models)]


def test_the_least_loaded_of_two_gets_the_job_whatever_it_holds() -> None:
    found = places("least", crowd("aaaaaaaa"))
    assert {node for _, node, _ in found} == {"n0", "n1"}


def test_a_consistent_hash_sends_a_model_to_one_node_however_long_its_queue() -> None:
    found = places("hash", crowd("aaaaaaaa"))
    assert len({node for _, node, _ in found}) == 1


def test_a_bounded_hash_spills_what_exceeds_the_mean_by_a_quarter() -> None:
    found = places("bounded", crowd("aaaaaaaa"), nodes=4)
    counts = [sum(node == one for _, node, _ in found) for one in {node for _, node, _ in found}]
    assert len(counts) >= 3
    assert max(counts) <= 3


def test_a_hash_moves_few_models_when_a_node_breaks_down() -> None:
    homes = {}
    for model, node, _ in places("hash", crowd("abcdefgh", 100.0), nodes=3):
        homes[model] = node
    assert len(set(homes.values())) > 1


@pytest.mark.parametrize(("policy", "nodes"), [("score1", 2), ("score.25", 1)])
def test_a_score_weighs_warmth_against_load(policy: str, nodes: int) -> None:
    assert len({node for _, node, _ in places(policy, crowd("aaa"))}) == nodes


def test_warm_node_if_free_else_any_gives_a_free_node_the_oldest_job() -> None:
    found = places("any", [*crowd("abc"), Order(1.0, "a", 20.0)])
    assert [model for model, _, _ in found] == ["a", "b", "c", "a"]


def test_an_exhaustive_node_stays_with_its_model() -> None:
    found = places("exhaustive", [*crowd("abc"), Order(1.0, "a", 20.0), Order(2.0, "a", 20.0)], nodes=1)
    assert [model for model, _, _ in found] == ["a", "a", "a", "b", "c"]


def test_delay_scheduling_passes_a_job_over_for_a_load_time_only() -> None:
    orders = [Order(0.0, "a", 2.0), Order(1.0, "a", 50.0), Order(3.0, "a", 2.0)]
    begins = {(model, node): at for model, node, at in places("delay", orders)}
    # n0 holds a from 0 on and is busy until 12; the second job is due at 11, and n1 loads for it
    assert begins["a", "n1"] == pytest.approx(11.0)


def test_delay_scheduling_skips_the_first_job_and_gives_the_node_the_next_that_it_need_not_wait_for() -> None:
    # n1 is free while a, held by n0, is not due: b is nobody's, and comes at once
    orders = [Order(0.0, "a", 50.0), Order(1.0, "a", 2.0), Order(2.0, "b", 2.0), Order(3.0, "c", 2.0)]
    begins = {(model, node): at for model, node, at in places("delay", orders)}
    assert begins["b", "n1"] == pytest.approx(2.0)
    assert begins["a", "n1"] == pytest.approx(14.0)  # due at 11, when n1 is at b until 14


def test_cost_only_leaves_warm_work_for_what_has_waited_longer_by_the_load() -> None:
    warm = [Order(float(at), "a", 4.0) for at in range(0, 60, 2)]
    found = places("cost", sorted([*warm, Order(10.5, "b", 4.0)], key=lambda order: order.at), nodes=1)
    [begun] = [at for model, _, at in found if model == "b"]
    before = [at for model, _, at in found if model == "a" and at < begun]
    # each lease takes twice the time between two orders: the job of `a` that is next came 10 s after that of `b`
    assert len(before) == pytest.approx((10.5 + 10) / 2, abs=1)


def test_cost_only_loads_nothing_that_its_holders_do_sooner() -> None:
    found = places("cost", [Order(0.0, "a", 5.0), Order(20.0, "b", 8.0), Order(21.0, "b", 8.0)], nodes=2)
    assert len({node for model, node, _ in found if model == "b"}) == 2  # 17 s to wait, 10 s to load
    found = places("cost", [Order(0.0, "a", 5.0), Order(20.0, "b", 8.0), Order(29.0, "b", 8.0)], nodes=2)
    assert len({node for model, node, _ in found if model == "b"}) == 1


def test_an_endless_node_never_leaves_warm_work() -> None:
    orders = [*(Order(float(at), "a", 4.0) for at in range(0, 200, 2)), Order(10.5, "b", 4.0)]
    found = places("endless", sorted(orders, key=lambda order: order.at), nodes=1)
    assert found[-1][0] == "b"


def test_cost_only_copies_a_model_when_its_queue_is_worth_the_load() -> None:
    assert len({node for _, node, _ in places("cost", crowd("aaa"))}) == 2
