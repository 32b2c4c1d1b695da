"""Sites have places: nodes that queue or boot take one each, as those that are there."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from rrm.simulate.arrivals import Order
from rrm.simulate.dispatch import StreakBound
from rrm.simulate.engine import Scenario, Simulation
from rrm.simulate.scaling import Autoscaler, Supplier, limits


def test_no_site_ever_starts_more_nodes_than_it_has_places() -> None:
    suppliers = {"lab": Supplier(3, boot=100.0), "cluster": Supplier(5, boot=100.0)}
    scaler = Autoscaler(limits(0, 60, 100.0), suppliers)
    scenario = Scenario([Order(0.0, "a", 10.0, leases=2000)], {"a": 5.0}, {})
    simulation = Simulation(scenario, StreakBound(), scaler=scaler)
    most: Counter[str] = Counter()
    for instant in range(1, 600, 7):
        simulation.run(float(instant))
        here = [*(node.site for node in simulation.farm.nodes.values()), *scaler.starting.values()]
        most |= Counter(here)
    assert most == {"lab": 3, "cluster": 5}


@pytest.mark.parametrize("what", ["maximum", "places"])
def test_nodes_beyond_a_limit_that_is_lowered_do_what_they_have_in_hand_and_go(what: str) -> None:
    scaler = Autoscaler(limits(0, 6, 10.0), {"lab": Supplier(6, boot=10.0)})
    scenario = Scenario([Order(0.0, "a", 40.0, leases=600)], {"a": 5.0}, {})
    simulation = Simulation(scenario, StreakBound(), scaler=scaler)
    simulation.run(200.0)
    assert len(simulation.farm.nodes) == 6
    if what == "maximum":
        scaler.limits = replace(scaler.limits, max_nodes=2)
    else:
        scaler.suppliers["lab"] = Supplier(2, boot=10.0)
    simulation.run(220.0)
    assert (scaler.turns[-1].ready, scaler.turns[-1].exist) == (2, 6)
    simulation.run(265.0)
    assert (len(simulation.farm.nodes), scaler.turns[-1].exist, simulation.tally.lost) == (2, 2, 0)
    assert sum(turn.launched for turn in scaler.turns) == 6
