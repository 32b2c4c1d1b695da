"""What scheduling promises whatever comes: how long work waits at most, and what no node is ever given.

BOUND_EXAMPLES sets how many cases of each promise are tried.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rrm.domain.facts import RANK, Holders, JobFacts, NodeFacts, is_in_time
from rrm.domain.queues import Queues
from rrm.domain.scheduling import DEFAULTS, Choice, Reason, choose
from tests.thoroughness import tries
from tests.unit.domain import offers
from tests.unit.domain.offers import NAMES, NOW, ago, may_run

EXAMPLES = tries("BOUND_EXAMPLES", 100, 2000)
K, LOADS, AGED = DEFAULTS.streak_limit, DEFAULTS.streak_loads, DEFAULTS.age_factor


def job(id_: str, model: str, load: float, work: float, age: float = 0.0) -> JobFacts:
    created = NOW - timedelta(seconds=age)
    return JobFacts(id_, "mandelbrot", model, "ada", "normal", created, work, load)


@dataclass
class Farm:
    """Nodes that take leases one after the other, each with a backlog of the model it holds."""

    nodes: list[NodeFacts]
    queues: Queues
    holders: Holders
    seconds: list[float]
    loads: dict[str, float]
    free: list[tuple[float, int]] = field(default_factory=list)
    leases: int = 0

    def __post_init__(self) -> None:
        self.free = [(0.0, number) for number in range(len(self.nodes))]

    def turn(self) -> tuple[float, int, Choice | None]:
        """The next node that is free chooses; when, which, and what."""
        clock, number = heapq.heappop(self.free)
        asking = self.nodes[number]
        choice = choose(asking, self.queues, self.holders, NOW + timedelta(seconds=clock))
        took = self.seconds[self.leases % len(self.seconds)]
        self.leases += 1
        if choice is not None:
            held = asking.held if choice.warm else frozenset({choice.model})
            facts = replace(asking, streak=choice.streak, streak_since=choice.streak_since, held=held)
            self.nodes[number] = facts
            took += 0.0 if choice.warm else self.loads[choice.model]
        heapq.heappush(self.free, (clock + took, number))
        return clock, number, choice


@settings(max_examples=EXAMPLES)
@given(
    nodes=st.integers(1, 4),
    seconds=st.lists(st.floats(0.5, 20), min_size=1, max_size=4),
    loads=st.lists(st.floats(0.5, 60), min_size=1, max_size=5),
    streaks=st.lists(st.integers(0, K), min_size=4, max_size=4),
)
def test_a_cold_job_is_overtaken_by_so_many_warm_services_and_no_more(
    nodes: int, seconds: list[float], loads: list[float], streaks: list[int]
) -> None:
    """The bound of counts: at most K services on each node, where a service lasts LOADS / K load times at least."""
    longest, cold = max(loads), {f"c{number}": load for number, load in enumerate(loads)}
    backlog = job("warm", "w", 1e9, 1e12)
    waiting = {model: job(model, model, load, 0.0, age=len(cold) - at) for at, (model, load) in enumerate(cold.items())}
    last = list(cold)[-1]
    # They hold every cold model, have nothing to do and never ask: the worst case for who waits.
    idle_holders = [NodeFacts(f"h{model}", "mandelbrot", "here", frozenset({model})) for model in cold]
    asking = [
        NodeFacts(f"n{at}", "mandelbrot", "here", frozenset({"w"}), streak=streaks[at], streak_since=NOW)
        for at in range(nodes)
    ]
    farm = Farm(asking, Queues([backlog, *waiting.values()]), Holders.of(idle_holders), seconds, {**cold, "w": 0.0})
    rounds, aged_at = math.ceil(len(cold) / nodes), AGED * longest
    services = max(K, math.ceil(LOADS * longest / min(seconds))) + 1
    streak = max((K + 1) * max(seconds), LOADS * longest + max(seconds))
    allowed = aged_at + (streak + max(seconds) + longest) * rounds + max(seconds) + longest
    overtaken = Counter[int]()
    while last in waiting:
        clock, number, choice = farm.turn()
        assert choice is not None
        assert clock <= allowed
        if not choice.warm and choice.model in waiting:
            farm.queues.remove(waiting.pop(choice.model))
            farm.nodes[number] = replace(farm.nodes[number], held=frozenset({"w"}))
        elif clock >= aged_at:
            overtaken[number] += 1
    assert max(overtaken.values(), default=0) <= services * rounds


@settings(max_examples=EXAMPLES // 5)
@given(lease=st.floats(0.2, 5), load=st.floats(5, 100))
def test_however_small_leases_are_a_farm_spends_little_of_its_time_on_loads(lease: float, load: float) -> None:
    jobs = [job(model, model, load, 1e9, age=1e6) for model in "abcdef"]
    farm = Farm(
        [NodeFacts("n", "mandelbrot", "here", frozenset("a"), streak_since=NOW)],
        Queues(jobs),
        Holders({}),
        [lease],
        dict.fromkeys("abcdef", load),
    )
    spent, clock = 0.0, 0.0
    while clock < 25 * load:
        clock, _, choice = farm.turn()
        assert choice is not None
        spent += 0.0 if choice.warm else load
    assert spent / clock <= 1 / (1 + LOADS) + 0.03


def test_a_model_that_takes_long_to_load_is_not_kept_out_by_ones_that_do_not() -> None:
    quick = [job(f"q{number}", f"q{number}", 3, 1, age=1000 - number) for number in range(500)]
    farm = Farm(
        [NodeFacts("n", "mandelbrot", "here", frozenset("w"), streak=K, streak_since=NOW)],
        Queues([job("w", "w", 1, 1e9), job("long", "long", 100, 1, age=1000), *quick]),
        Holders({}),
        [1.0],
        {"long": 100.0, "w": 0.0} | {one.model: 3.0 for one in quick},
    )
    clock = 0.0
    for _ in range(2000):
        clock, _, choice = farm.turn()
        farm.nodes[0] = replace(farm.nodes[0], held=frozenset("w"))
        if choice is not None and choice.model == "long":
            break
    assert clock <= (LOADS + 1) * 100 + K


def any_job(model: str, **facts: Any) -> JobFacts:
    """Models are quarantined, not jobs."""
    return JobFacts(model=model, is_loadable=model != "d", **facts)


jobs_of_any_kind = st.builds(
    any_job,
    **offers.JOB,
    lease_seconds=st.floats(0, 5),
    is_begun=st.booleans(),
    refused=st.frozensets(st.sampled_from(["n1", "n2"])),
    deadline=st.none() | st.floats(0, 100).map(lambda left: NOW + timedelta(seconds=left)),
    pressed=st.booleans(),
)
nodes_of_any_kind = st.builds(
    NodeFacts,
    id=st.sampled_from(["n1", "n2", "n3"]),
    **offers.NODE,
    busy_seconds=st.sampled_from([0.0, 3.0]),
    streak_since=st.none() | ago(1000),
    free_since=st.none() | ago(10),
    ends_at=st.none() | st.floats(0, 500).map(lambda left: NOW + timedelta(seconds=left)),
    works_for=st.frozensets(NAMES),
    rank=st.integers(0, 2),
)


def _takes(node: NodeFacts, job: JobFacts, full: frozenset[str]) -> bool:
    is_open = job.owner not in full or job.owner in node.works_for
    can_hold = job.model in node.held or job.is_loadable
    return may_run(node, job) and is_open and can_hold and is_in_time(node, job, NOW)


@settings(max_examples=EXAMPLES)
@given(
    nodes=st.lists(nodes_of_any_kind, min_size=1, max_size=5),
    jobs=st.lists(jobs_of_any_kind, max_size=12),
    full=st.frozensets(NAMES),
)
def test_no_node_gets_what_it_may_not_take(nodes: list[NodeFacts], jobs: list[JobFacts], full: frozenset[str]) -> None:
    choice = choose(nodes[0], jobs, Holders.of(nodes[1:]), NOW, full=full)
    if choice is not None:
        chosen = next(one for one in jobs if one.id == choice.job_id)
        assert _takes(nodes[0], chosen, full)
        assert choice.warm == (chosen.model in nodes[0].held)


@settings(max_examples=EXAMPLES)
@given(
    nodes=st.lists(nodes_of_any_kind, min_size=1, max_size=5),
    jobs=st.lists(jobs_of_any_kind, max_size=12),
    full=st.frozensets(NAMES),
)
def test_what_is_aged_is_never_left_to_an_idle_node(
    nodes: list[NodeFacts], jobs: list[JobFacts], full: frozenset[str]
) -> None:
    old = [replace(one, created_at=NOW - timedelta(seconds=2000)) for one in jobs]
    asking = replace(nodes[0], rank=0)  # others leave it for a moment to free nodes of sites that come first
    choice = choose(asking, old, Holders.of(nodes[1:]), NOW, full=full)
    assert (choice is None) == (not any(_takes(asking, one, full) for one in old))


@settings(max_examples=EXAMPLES)
@given(node=nodes_of_any_kind, jobs=st.lists(jobs_of_any_kind, min_size=1, max_size=12))
def test_no_warmth_and_no_age_brings_a_lower_class_before_one_that_can_go_on(
    node: NodeFacts, jobs: list[JobFacts]
) -> None:
    node = replace(node, rank=0)
    choice = choose(node, jobs, Holders({}), NOW)
    able = [one for one in jobs if _takes(node, one, frozenset())]
    if choice is None:
        assert not able  # without holders elsewhere there is nothing to wait for
        return
    chosen = next(one for one in jobs if one.id == choice.job_id)
    assert RANK[chosen.priority] == min(RANK[one.priority] for one in able)


@settings(max_examples=EXAMPLES)
@given(jobs=st.lists(jobs_of_any_kind, min_size=1, max_size=8))
def test_a_reason_is_what_it_says(jobs: list[JobFacts]) -> None:
    node = NodeFacts("n3", "mandelbrot", "a", frozenset("a"), streak=K)
    holder = NodeFacts("h", "mandelbrot", "a", frozenset("b"), busy_seconds=1)
    choice = choose(node, jobs, Holders.of([holder]), NOW)
    if choice is None or choice.reason is Reason.WARM:
        return
    chosen = next(one for one in jobs if one.id == choice.job_id)
    is_held = chosen.model == "b" and (chosen.sites is None or "a" in chosen.sites)
    assert (choice.reason is Reason.NO_HOLDER) == (not is_held)
    if choice.reason is Reason.AGED:
        assert (NOW - chosen.created_at).total_seconds() >= AGED * chosen.load_seconds
