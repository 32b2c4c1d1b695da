"""Sites have places: nodes that queue or boot take one each, as those that are there."""

from __future__ import annotations

from collections import Counter

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
