"""Turns between owners: node-seconds go by weight, and nobody saves up turns."""

from __future__ import annotations

import heapq
import math
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm.domain.facts import Holders, JobFacts, NodeFacts
from rrm.domain.fairness import QUANTUM, Ledger, entry_charge, reweighed, round_of
from rrm.domain.queues import Queues
from rrm.domain.scheduling import choose

NOW = datetime(2030, 1, 1, tzinfo=UTC)
HOLDERS = Holders({})


def job(owner: str) -> JobFacts:
    return JobFacts(owner, "mandelbrot", "model", owner, "normal", NOW, 1e9, 60)


def node(number: int) -> NodeFacts:
    return NodeFacts(f"n{number}", "mandelbrot", "here", frozenset({"model"}))


@given(
    weights=st.lists(st.sampled_from([0.5, 1.0, 2.0, 5.0]), min_size=2, max_size=4),
    nodes=st.integers(1, 5),
    leases=st.lists(st.floats(0.1, 8), min_size=50, max_size=200),
)
def test_what_owners_get_goes_by_weight_within_a_quantum_and_a_lease_of_each_node(
    weights: list[float], nodes: int, leases: list[float]
) -> None:
    owners = {f"o{number}": weight for number, weight in enumerate(weights)}
    ledger, queues = Ledger(owners, charged=dict.fromkeys(owners, 0.0)), Queues(map(job, owners))
    free = [(0.0, number, "", 0.0) for number in range(nodes)]
    for seconds in leases:
        clock, number, owner, took = heapq.heappop(free)
        if owner:
            ledger.charge(owner, took)
        choice = choose(node(number), queues, HOLDERS, NOW, rounds=ledger)
        assert choice is not None
        heapq.heappush(free, (clock + seconds, number, choice.job_id, seconds))
    had = [ledger.charged[owner] / weight for owner, weight in owners.items()]
    assert max(had) - min(had) <= QUANTUM + nodes * max(leases) / min(weights)


@given(charged=st.floats(0, 1e6), weight=st.floats(0.1, 10), others=st.lists(st.floats(0, 1e6), max_size=3))
def test_who_comes_back_neither_has_saved_up_turns_nor_lost_any(
    charged: float, weight: float, others: list[float]
) -> None:
    entered = entry_charge(charged, weight, [(other, 1.0) for other in others])
    assert entered >= charged
    assert entered == charged or entered / weight == pytest.approx(min(others))


def test_who_joins_shares_the_farm_from_then_on() -> None:
    ledger = Ledger({"bob": 2.0})
    ledger.charge("ada", 1000)
    ledger.join("bob", ["ada", "bob"])
    assert ledger.charged["bob"] == 2000
    assert (ledger["ada"], ledger["bob"]) == (100, 100)


def test_a_round_is_as_long_as_weight_and_quantum_say() -> None:
    assert [round_of(seconds) for seconds in (0, 9.9, 10, 25)] == [0, 0, 1, 2]
    assert [round_of(seconds, weight=2) for seconds in (0, 19, 20)] == [0, 0, 1]


NO_CHARGES = [math.inf, -math.inf, math.nan, 1e308]


@pytest.mark.parametrize("charged", NO_CHARGES)
def test_a_charge_that_cannot_be_reckoned_with_counts_as_none(charged: float) -> None:
    assert round_of(charged) == round_of(charged, weight=0.01) == 0
    assert reweighed(charged, 1.0, 1000.0) == 0
    assert entry_charge(charged, 1.0, [(20.0, 2.0)]) == 10
    assert entry_charge(30.0, 1.0, [(charged, 1.0)]) == 30


@given(
    charged=st.floats(0, 1e9),
    weights=st.lists(st.floats(allow_nan=False, allow_infinity=False, min_value=1e-300), min_size=1),
)
def test_no_weights_in_turn_make_a_charge_that_cannot_be_reckoned_with(charged: float, weights: list[float]) -> None:
    for old, new in pairwise([1.0, *weights, 1.0]):
        charged = reweighed(charged, old, new)
        assert math.isfinite(charged)
        assert round_of(charged, new) >= 0
