"""Farms to be simulated: a made-up demand of a given load, or the orders of a trace file."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from rrm.simulate.arrivals import Order, Rate, Visit, Zipf, bursts, diurnal, instants, orders, steady
from rrm.simulate.engine import Scenario

ARRIVALS = ("steady", "bursts", "diurnal")


@dataclass(frozen=True, slots=True)
class Workload:
    """Orders of models by Zipf's law, each of exponential length, that keep `rho` of the nodes busy if all hit."""

    rho: float = 0.5
    jobs: int = 6000
    nodes: Mapping[str, int] = field(default_factory=lambda: {"here": 16})
    capacity: int = 2
    models: int = 64
    zipf: float = 1.0
    seconds: float = 20.0
    """Mean length of a lease on a node that holds the model."""
    load: float = 60.0
    leases: int = 1
    """Leases of a job."""
    arrivals: str = "steady"
    owners: int = 1
    sessions_per_hour: float = 0.0
    session_seconds: float = 600.0
    node_mtbf: float | None = None

    @property
    def rate(self) -> float:
        """Orders per second on average."""
        return self.rho * sum(self.nodes.values()) / (self.seconds * self.leases)

    def scenario(self, seed: int) -> Scenario:
        popularity = Zipf(self.models, self.zipf)
        return Scenario(
            orders=self._orders(popularity, seed),
            loads=dict.fromkeys(popularity.names, self.load),
            nodes=self.nodes,
            capacity=self.capacity,
            visits=self._visits(popularity, seed) if self.sessions_per_hour else (),
            node_mtbf=self.node_mtbf,
            seed=seed,
        )

    def _orders(self, popularity: Zipf, seed: int) -> Iterator[Order]:
        chance = random.Random(f"{seed}/orders")
        rate, highest = _rate(self.arrivals, self.rate)
        owners = [f"owner-{number}" for number in range(self.owners)]
        times = instants(rate, highest, chance)
        made = orders(times, popularity, self.seconds, chance, leases=self.leases, owners=owners)
        return islice(made, self.jobs)

    def _visits(self, popularity: Zipf, seed: int) -> Iterator[Visit]:
        """People, as long as orders come."""
        chance = random.Random(f"{seed}/visits")
        rate, models, at = self.sessions_per_hour / 3600, popularity.draws(chance), 0.0
        end = self.jobs / self.rate
        while (at := at + chance.expovariate(rate)) < end:
            yield Visit(at, next(models), chance.expovariate(1 / self.session_seconds))


def _rate(kind: str, mean: float) -> tuple[Rate, float]:
    """The rate at any instant, and the highest."""
    if kind == "steady":
        return steady(mean), mean
    if kind == "bursts":
        return bursts(mean), 5 * mean
    return diurnal(mean), 2 * mean


def of_trace(
    found: Sequence[Order], nodes: Mapping[str, int], capacity: int, loads: Mapping[str, float], load: float
) -> Scenario:
    """A farm that gets the orders of a trace; models that `loads` does not name load in `load` seconds."""
    models = {order.model for order in found}
    return Scenario(found, {model: loads.get(model, load) for model in models}, nodes, capacity)
