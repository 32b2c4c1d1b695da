"""The autoscaler in a simulated farm: it follows the work, never overshoots, and gives up on sites that fail."""

from __future__ import annotations

import random
from itertools import pairwise, takewhile

import pytest

from rrm.simulate.arrivals import Order, Rate, Zipf, instants, orders, steady
from rrm.simulate.dispatch import StreakBound
from rrm.simulate.engine import Scenario, Simulation
from rrm.simulate.scaling import Autoscaler, Supplier, Turn, limits
from tests.thoroughness import tries

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


@pytest.mark.parametrize("nodes", [1.2, 3, 6])
@pytest.mark.parametrize("seed", range(tries("STEADY_SEEDS", 5, 24)))
def test_constant_load_turns_the_number_of_nodes_at_most_once_in_ten_minutes(nodes: float, seed: int) -> None:
    turns = simulate(demand(steady(nodes / 60), nodes / 60, 5400.0, seed, seconds=60.0), 5400.0)
    changes = changes_of_direction(turns)
    assert all(later - earlier >= 600 for earlier, later in pairwise(changes))
    assert nodes <= turns[-1].ready + 1
    assert max(turn.exist for turn in turns) <= 2 * nodes + 3


def test_less_work_than_one_node_has_seldom_turns_the_number_of_nodes_twice_in_ten_minutes() -> None:
    turned = 0
    for seed in range(12):
        turns = simulate(demand(steady(0.3 / 60), 0.3 / 60, 5400.0, seed, seconds=60.0), 5400.0)
        turned += any(later - earlier < 600 for earlier, later in pairwise(changes_of_direction(turns)))
    assert turned < 5  # 7, did its use not count


def tenfold(before: list[Order], then: Order) -> tuple[Simulation, Autoscaler]:
    """A farm at the moment when ten times the work comes."""
    scaler = Autoscaler(limits(0, 100, 30), {"here": Supplier(100, boot=30.0)})
    scenario = Scenario([*before, then], {"m0": 20.0}, {}, 2)
    simulation = Simulation(scenario, StreakBound(), scaler=scaler)
    simulation.run(then.at - 0.01)
    return simulation, scaler


def asked(simulation: Simulation, scaler: Autoscaler) -> int:
    return len(simulation.farm.nodes) + len(scaler.starting)


@pytest.mark.parametrize("before", [1, 4])
@pytest.mark.parametrize("phase", [0.0, 0.1, 4.0, 7.5, 11.0, 14.9])
def test_ten_times_the_work_has_all_its_nodes_in_two_periods_and_a_boot(before: int, phase: float) -> None:
    at = 1005.0 + phase
    simulation, scaler = tenfold([Order(0.0, "m0", 3000.0, leases=before)], Order(at, "m0", 3000.0, leases=9 * before))
    assert asked(simulation, scaler) == before
    simulation.run(at + 2 * PERIOD)
    assert asked(simulation, scaler) == 10 * before == scaler.turns[-1].want
    simulation.run(at + 2 * PERIOD + 30)
    assert len(simulation.farm.nodes) == 10 * before


@pytest.mark.parametrize("phase", [0.0, 7.5, 14.9])
def test_so_has_a_flood_of_short_ranges_but_for_what_is_done_meanwhile(phase: float) -> None:
    at = 1005.0 + phase
    before = [Order(float(at), "m0", 1.0, leases=60) for at in range(0, 1005, 15)]
    simulation, scaler = tenfold(before, Order(at, "m0", 1.0, leases=10500))
    assert asked(simulation, scaler) == 4
    simulation.run(at + 2 * PERIOD)
    volley = next(turn for turn in scaler.turns if turn.at > at and turn.launched)
    assert asked(simulation, scaler) == volley.want
    assert volley.want >= 39
    simulation.run(at + 2 * PERIOD + 30)
    assert len(simulation.farm.nodes) == volley.want


def test_rare_hits_want_no_more_nodes_than_the_rendering_that_loads_speed_up() -> None:
    many = [Order(0.0, f"m{number}", 20.0, leases=20) for number in range(30)]
    scaler = Autoscaler(limits(0, 400, 30), {"here": Supplier(400, boot=30.0)})
    simulation = Simulation(
        Scenario(many, dict.fromkeys((o.model for o in many), 60.0), {}, 1), StreakBound(), scaler=scaler
    )
    simulation.tally.hits, simulation.tally.loads = 14, 86
    simulation.run(6.0)
    assert scaler.turns[-1].want == 80


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
