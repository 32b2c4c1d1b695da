"""No job waits longer than the policy promises, whatever comes after it."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from rrm.domain.scheduling import Policy
from rrm.simulate.arrivals import Order
from rrm.simulate.dispatch import StreakBound
from rrm.simulate.engine import Scenario, Simulation
from rrm.simulate.farm import Job, Node

POLL = 1.0
Log = list[tuple[float, Job]]


def begun(orders: list[Order], loads: dict[str, float], nodes: int, capacity: int, policy: Policy) -> Log:
    """When each lease began."""
    log: Log = []

    def watch(at: float, node: Node, job: Job, warm: bool) -> None:
        log.append((at, job))

    scenario = Scenario(orders, loads, {"here": nodes}, capacity, poll=POLL)
    Simulation(scenario, StreakBound(policy), watch=watch).run()
    return log


def longest(ahead: int, nodes: int, load: float, lease: float, policy: Policy) -> float:
    """How long the first job of a model may wait, `ahead` leases of older jobs being queued when its turn came.

    It ages; every node ends what it does; from then on each serves a streak at most between two loads, and the loads
    go to older jobs and then to this one.
    """
    streak = max(policy.streak_limit * lease, policy.streak_loads * load + lease)
    rounds = math.ceil((ahead + 1) / nodes)
    return policy.age_factor * load + (load + lease) + rounds * (streak + load + lease + POLL)


def check(log: Log, loads: dict[str, float], nodes: int, policy: Policy) -> None:
    lease = max(job.order.estimate for _, job in log)
    load, served = max(loads.values()), dict[str, float]()
    for at, job in log:
        since = max(job.order.at, served.get(job.model, 0.0))
        older = [when for when, other in log if (other.order.at, other.id) < (job.order.at, job.id) and when > since]
        allowed = longest(len(older), nodes, load, lease, policy)
        assert at - since <= allowed, f"{job.id} of {job.model} waited {at - since} s, allowed {allowed}"
        served[job.model] = at


@settings(max_examples=60)
@given(
    arrivals=st.lists(
        st.tuples(st.floats(0, 20), st.integers(0, 7), st.floats(0.1, 5), st.integers(1, 6)), min_size=1, max_size=60
    ),
    loads=st.lists(st.floats(0.5, 20), min_size=8, max_size=8),
    nodes=st.integers(1, 4),
    capacity=st.integers(1, 3),
    limit=st.integers(1, 16),
    factor=st.floats(0, 4),
)
def test_no_first_job_of_a_model_waits_longer_than_its_bound(
    arrivals: list[tuple[float, int, float, int]],
    loads: list[float],
    nodes: int,
    capacity: int,
    limit: int,
    factor: float,
) -> None:
    at, orders = 0.0, []
    for gap, model, seconds, leases in arrivals:
        at += gap
        orders.append(Order(at, f"m{model}", seconds, leases))
    costs = {f"m{model}": load for model, load in enumerate(loads)}
    policy = Policy(streak_limit=limit, age_factor=factor)
    check(begun(orders, costs, nodes, capacity, policy), costs, nodes, policy)


def test_a_rare_model_is_served_beside_one_that_never_ends() -> None:
    policy = Policy(streak_limit=16)
    hot = [Order(float(at), "hot", 1.9) for at in range(1000)]
    rare = [Order(50.0, "rare", 2.0), Order(51.0, "rare", 2.0)]
    orders = sorted(hot + rare, key=lambda order: order.at)
    log = begun(orders, {"hot": 5.0, "rare": 5.0}, 1, 1, policy)
    waits = [at - job.order.at for at, job in log if job.model == "rare"]
    assert max(waits) < 16 * 1.9 + 6 * 5.0 + 20.0
    check(log, {"hot": 5.0, "rare": 5.0}, 1, policy)
