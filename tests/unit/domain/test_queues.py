"""Queues that are kept give what queues made anew would give, and only what a node may take."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from rrm.domain.facts import Holders, JobFacts, NodeFacts
from rrm.domain.orders import PRIORITIES
from rrm.domain.queues import Queues
from rrm.domain.scheduling import choose
from tests.thoroughness import tries

NOW = datetime(2030, 1, 1, tzinfo=UTC)
names = st.sampled_from("abc")
jobs_of_any_kind = st.builds(
    JobFacts,
    id=st.uuids().map(str),
    resource=st.just("mandelbrot"),
    model=names,
    owner=names,
    priority=st.sampled_from(PRIORITIES),
    created_at=st.integers(0, 300).map(lambda age: NOW - timedelta(seconds=age)),
    remaining_seconds=st.integers(0, 100).map(float),
    load_seconds=st.sampled_from([0.0, 1.0, 60.0]),
    lease_seconds=st.sampled_from([0.0, 10.0]),
    sites=st.none() | st.frozensets(names),
    deadline=st.none() | st.just(NOW),
    pressed=st.booleans(),
    refused=st.frozensets(st.sampled_from(["n", "other"])),
    is_loadable=st.booleans(),
)


class KeptQueues(RuleBasedStateMachine):
    known = Bundle("known")

    def __init__(self) -> None:
        super().__init__()
        self.kept, self.now_left = Queues(), dict[str, JobFacts]()

    @rule(target=known, job=jobs_of_any_kind)
    def add(self, job: JobFacts) -> JobFacts:
        self.kept.add(job)
        self.now_left[job.id] = job
        return job

    @rule(job=known, part=st.floats(0, 1))
    def claim(self, job: JobFacts, part: float) -> None:
        if job.id in self.now_left:
            left = self.now_left[job.id]
            self.kept.claim(job, left.remaining_seconds * part)
            self.now_left[job.id] = replace(left, remaining_seconds=left.remaining_seconds * (1 - part), is_begun=True)

    @rule(job=consumes(known))
    def remove(self, job: JobFacts) -> None:
        self.kept.remove(job)
        del self.now_left[job.id]

    @invariant()
    def it_is_as_if_they_were_made_anew(self) -> None:
        assert len(self.kept) == len(self.now_left)
        holders = Holders.of([NodeFacts("h", "mandelbrot", "a", frozenset("b"), busy_seconds=55)])
        for facts in _NODES:
            anew = choose(facts, self.now_left.values(), holders, NOW, rounds={"a": 1}, full={"b"})
            assert choose(facts, self.kept, holders, NOW, rounds={"a": 1}, full={"b"}) == anew


def _node(**changes: Any) -> NodeFacts:
    return replace(NodeFacts("n", "mandelbrot", "a", frozenset("a")), **changes)


_NODES = (
    _node(),
    _node(held=frozenset(), works_for=frozenset("b")),
    _node(streak=20, streak_since=NOW - timedelta(seconds=100), site="b"),
    _node(held=frozenset("c"), ends_at=NOW + timedelta(seconds=60)),
)

TestKeptQueues = KeptQueues.TestCase
TestKeptQueues.settings = settings(max_examples=tries("QUEUE_EXAMPLES", 30, 600), stateful_step_count=25)
