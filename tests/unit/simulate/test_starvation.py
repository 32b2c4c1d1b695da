"""No job waits longer than the policy promises, whatever comes after it.

Farms are made so that waits come near what is promised: every node has more work than it can do of models that it
holds, all of it younger than the job that waits. STARVATION_FARMS sets how many farms are made up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import attrgetter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrm.domain.scheduling import Policy
from rrm.simulate.arrivals import Order
from rrm.simulate.dispatch import StreakBound
from rrm.simulate.engine import Scenario, Simulation
from rrm.simulate.farm import Job, Node
from tests.thoroughness import tries

FARMS = tries("STARVATION_FARMS", 150, 3000)
POLL = 1.0
Log = list[tuple[float, Job]]


@dataclass(frozen=True)
class Crowd:
    """Each node has one lease of a popular model when a job of each rare one comes, and then work without end.

    Numbers are seconds; `popular` and `rare` are the models' loads. The work that comes later is of the popular models,
    and of the rare ones up to the last if `rare_too`.
    """

    nodes: int
    capacity: int
    policy: Policy
    lease: float
    popular: tuple[float, ...]
    rare: tuple[float, ...]
    rare_too: bool = False
    others: tuple[tuple[float, int, float, int], ...] = ()
    """More orders: the gap before each, its model by number, seconds and leases."""

    @property
    def loads(self) -> dict[str, float]:
        return {f"p{at}": load for at, load in enumerate(self.popular)} | {
            f"r{at}": load for at, load in enumerate(self.rare)
        }

    def orders(self) -> list[Order]:
        """They end well after the last of the rare jobs should have begun."""
        first = [Order(0.0, f"p{at}", self.lease) for at in range(min(self.nodes, len(self.popular)))]
        rare = [Order(0.01, f"r{at}", self.lease) for at in range(len(self.rare))]
        flooded = list(self.loads)[: -1 if self.rare_too else len(self.popular)]
        lasts = 1.5 * longest(len(self.rare), self.nodes, max(self.loads.values()), self.lease, self.policy)
        leases = math.ceil(lasts * self.nodes / self.lease / len(flooded))
        flood = [Order(0.02, name, self.lease, leases) for name in flooded]
        return sorted(first + rare + flood + self._others(), key=attrgetter("at"))

    def _others(self) -> list[Order]:
        at, orders, names = 0.0, [], list(self.loads)
        for gap, model, seconds, leases in self.others:
            at += gap
            orders.append(Order(at, names[model % len(names)], seconds, leases))
        return orders


def begun(orders: list[Order], loads: dict[str, float], nodes: int, capacity: int, policy: Policy) -> Log:
    """When each lease began. What has not begun when all could be done, one after the other, never will."""
    log: Log = []

    def watch(at: float, node: Node, job: Job, warm: bool) -> None:
        log.append((at, job))

    number, age = sum(order.leases for order in orders), policy.age_factor * max(loads.values())
    work = sum(order.leases * (order.seconds + loads[order.model] + POLL) for order in orders)
    scenario = Scenario(orders, loads, {"here": nodes}, capacity, poll=POLL)
    Simulation(scenario, StreakBound(policy), watch=watch).run(until=orders[-1].at + age + work)
    assert len(log) == number, f"{number - len(log)} leases of {number} never began"
    return log


def longest(ahead: int, nodes: int, load: float, lease: float, policy: Policy) -> float:
    """How long the first job of a model may wait, `ahead` leases of older jobs being queued when its turn came.

    It ages; every node ends what it does; from then on each serves a streak at most between two loads, and the loads
    go to older jobs and then to this one.
    """
    streak = max(policy.streak_limit * lease, policy.streak_loads * load + lease)
    rounds = math.ceil((ahead + 1) / nodes)
    return policy.age_factor * load + (load + lease) + rounds * (streak + load + lease + POLL)


def check(log: Log, loads: dict[str, float], nodes: int, policy: Policy) -> float:
    """No wait is longer than it may be; the greatest part of it that one was."""
    lease, load = max(job.order.estimate for _, job in log), max(loads.values())
    most, served = 0.0, dict[str, float]()
    for at, job in log:
        since = max(job.order.at, served.get(job.model, 0.0))
        served[job.model] = at
        if at - since <= most * longest(0, nodes, load, lease, policy):
            continue
        older = [when for when, other in log if (other.order.at, other.id) < (job.order.at, job.id) and when > since]
        allowed = longest(len(older), nodes, load, lease, policy)
        assert at - since <= allowed, f"{job.id} of {job.model} waited {at - since} s, allowed {allowed}"
        most = max(most, (at - since) / allowed)
    return most


def nearness(crowd: Crowd) -> float:
    """The longest wait in a crowd, as a part of what is allowed."""
    log = begun(crowd.orders(), crowd.loads, crowd.nodes, crowd.capacity, crowd.policy)
    return check(log, crowd.loads, crowd.nodes, crowd.policy)


@pytest.mark.parametrize(
    "crowd",
    [
        pytest.param(Crowd(1, 1, Policy(16, age_factor=0), 5.0, (1.0,), (1.0,)), id="the number of a streak"),
        pytest.param(Crowd(1, 1, Policy(2, age_factor=0), 1.0, (20.0,), (20.0, 20.0), True), id="the time of a streak"),
        pytest.param(Crowd(1, 1, Policy(2, age_factor=12), 1.0, (1.0, 1.0, 1.0), (20.0,)), id="the age of a job"),
        pytest.param(Crowd(2, 1, Policy(8, age_factor=0), 4.0, (2.0, 2.0), (2.0,) * 7, True), id="older jobs"),
    ],
)
def test_a_job_may_have_to_wait_nearly_that_long(crowd: Crowd) -> None:
    assert nearness(crowd) > 0.8


policies = st.builds(Policy, streak_limit=st.integers(1, 16), age_factor=st.sampled_from([0.0, 0.5, 2.0, 6.0, 12.0]))
loads = st.floats(0.5, 8)
crowds = st.builds(
    Crowd,
    nodes=st.integers(1, 3),
    capacity=st.integers(1, 2),
    policy=policies,
    lease=st.floats(0.5, 5),
    popular=st.lists(loads, min_size=1, max_size=7).map(tuple),
    rare=st.lists(loads, min_size=1, max_size=4).map(tuple),
    rare_too=st.booleans(),
    others=st.lists(
        st.tuples(st.floats(0, 20), st.integers(0, 10), st.floats(0.1, 5), st.integers(1, 6)), max_size=20
    ).map(tuple),
)


@settings(max_examples=FARMS)
@given(crowd=crowds)
def test_no_first_job_of_a_model_waits_longer_than_its_bound(crowd: Crowd) -> None:
    nearness(crowd)
