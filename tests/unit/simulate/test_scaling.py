"""The autoscaler in a simulated farm: it follows the work, never overshoots, and gives up on sites that fail."""

from __future__ import annotations

import random
from itertools import pairwise, takewhile

import pytest

from rrm.simulate.arrivals import Order, Rate, Zipf, instants, orders, steady
from rrm.simulate.dispatch import StreakBound
from rrm.simulate.engine import Scenario, Simulation
from rrm.simulate.scaling import Autoscaler, Supplier, Turn, limits

MODELS = Zipf(8)
PERIOD = 15.0


def simulate(
    found: list[Order], until: float, least: int = 0, most: int = 60, supplier: Supplier | None = None
) -> list[Turn]:
    supplier = supplier or Supplier(most, boot=30.0)
    scaler = Autoscaler(limits(least, most, supplier.boot + supplier.queue_wait), {"here": supplier})
    scenario = Scenario(found, dict.fromkeys(MODELS.names, 20.0), {}, 2)
    Simulation(scenario, StreakBound(), scaler=scaler).run(until)
    return scaler.turns


def demand(rate: Rate, highest: float, until: float, seed: int = 0, seconds: float = 10.0) -> list[Order]:
    chance = random.Random(seed)
    made = orders(instants(rate, highest, chance), MODELS, seconds, chance)
    return list(takewhile(lambda order: order.at < until, made))


def changes_of_direction(turns: list[Turn]) -> list[float]:
    """When the number of nodes asked for or let go turned from up to down or back."""
    found, last = list[float](), 0
    for turn in turns:
        way = (turn.launched > 0) - (turn.drained > 0)
        if way and last and way != last:
            found.append(turn.at)
        last = way or last
    return found


@pytest.mark.parametrize(("rate", "seconds"), [(0.05, 60.0), (0.5, 10.0), (2.0, 10.0)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_constant_load_turns_the_number_of_nodes_at_most_once_in_ten_minutes(
    rate: float, seconds: float, seed: int
) -> None:
    turns = simulate(demand(steady(rate), rate, 5400.0, seed, seconds), 5400.0)
    changes = changes_of_direction(turns)
    assert max((sum(at <= other < at + 600 for other in changes) for at in changes), default=0) <= 1
    assert turns[-1].ready >= rate * seconds


def test_ten_times_the_work_is_answered_by_all_nodes_in_two_periods_and_a_boot() -> None:
    before = [Order(float(at), "m0", 1.0, leases=60) for at in range(0, 1000, 15)]
    turns = simulate([*before, Order(1000.0, "m0", 1.0, leases=10500)], 1200.0)
    want = next(turn.want for turn in turns if turn.at > 1000)
    assert want >= 40
    ready_at = next(turn.at for turn in turns if turn.ready >= 0.9 * want)
    assert ready_at <= 1000 + PERIOD + 2 * PERIOD + 30 + PERIOD  # seen, lasting, booted, and seen again


@pytest.mark.parametrize("wait", [0.0, 120.0])
def test_there_are_never_more_than_the_limit_with_those_on_their_way(wait: float) -> None:
    supplier = Supplier(100, queue_wait=wait, boot=30.0, failures=0.1)
    turns = simulate(demand(steady(4.0), 4.0, 1800.0), 2400.0, most=12, supplier=supplier)
    assert max(turn.exist for turn in turns) == 12


def test_idle_nodes_go_down_to_the_least() -> None:
    turns = simulate(demand(steady(2.0), 2.0, 900.0), 4000.0, least=2)
    assert max(turn.ready for turn in turns) > 10
    assert (turns[-1].ready, turns[-1].exist) == (2, 2)


def test_a_site_that_fails_is_tried_once_in_a_quarter_of_an_hour_after_five_failures() -> None:
    turns = simulate([Order(0.0, "m0", 1.0, leases=2000)], 4 * 3600.0, supplier=Supplier(50, failures=1.0))
    tries = [(turn.at, turn.launched) for turn in turns if turn.launched]
    assert len(tries) > 14
    assert all(later - earlier >= 900 for (earlier, _), (later, _) in pairwise(tries[4:]))
    assert {launched for _, launched in tries[4:]} == {1}
    assert not turns[-1].ready
