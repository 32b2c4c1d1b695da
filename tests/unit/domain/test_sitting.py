"""Many nodes that ask at one moment get what each would get that asked alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrm.domain.facts import Holders, JobFacts, NodeFacts
from rrm.domain.queues import Queues
from rrm.domain.scheduling import Choice, Policy, Sitting, choose
from tests.thoroughness import tries
from tests.unit.domain import offers
from tests.unit.domain.offers import NOW

EXAMPLES = tries("SCHEDULING_EXAMPLES", 300, 3000)
_ALIKE = {**offers.JOB, "resource": st.just("mandelbrot"), "priority": st.just("normal"), "created_at": offers.ago(100)}
jobs_of_any_kind = st.lists(
    st.builds(JobFacts, **{**_ALIKE, "load_seconds": st.floats(20, 100)}), min_size=1, max_size=6
)
nodes_of_any_kind = st.lists(
    st.builds(
        NodeFacts,
        id=st.uuids().map(str),
        resource=st.just("mandelbrot"),
        site=st.sampled_from("ab"),
        held=st.frozensets(offers.NAMES, max_size=2),
        streak=st.just(0),
        rank=st.integers(0, 1),
        free_since=st.sampled_from([None, NOW, NOW - timedelta(seconds=10)]),
        works_for=st.frozensets(offers.NAMES, max_size=1),
    ),
    min_size=2,
    max_size=12,
)
holding_nodes = st.lists(
    st.builds(
        NodeFacts,
        id=st.uuids().map(str),
        resource=st.just("mandelbrot"),
        site=st.sampled_from("ab"),
        held=st.frozensets(offers.NAMES),
        busy_seconds=st.sampled_from([0.0, 1.0, 30.0]),
    ),
    max_size=4,
)


def asked_alone(
    nodes: list[NodeFacts], jobs: list[JobFacts], holders: Holders, full: frozenset[str]
) -> Iterator[tuple[Choice | None, Choice | None]]:
    """What each node gets in a sitting, and alone; each takes half a job, or all of it when little is left."""
    queues, left = Queues(jobs), {job.id: job for job in jobs}
    sitting = Sitting(queues, holders, NOW)
    for asking in nodes:
        among_others = sitting.choose(asking, full)
        yield among_others, choose(asking, queues, holders, NOW, full=full)
        if among_others is None:
            continue
        job = left[among_others.job_id]
        seconds = job.remaining_seconds / 2
        if seconds < 1:
            queues.remove(job)
        else:
            queues.claim(job, seconds, NOW)
            left[job.id] = replace(job, remaining_seconds=seconds)


@settings(max_examples=EXAMPLES)
@given(nodes=nodes_of_any_kind, jobs=jobs_of_any_kind, holding=holding_nodes, full=st.frozensets(offers.NAMES))
def test_who_asks_among_others_gets_what_it_would_get_alone(
    nodes: list[NodeFacts], jobs: list[JobFacts], holding: list[NodeFacts], full: frozenset[str]
) -> None:
    for among_others, alone in asked_alone(nodes, jobs, Holders.of(holding), full):
        assert among_others == alone


def held_elsewhere(models: int) -> tuple[list[JobFacts], Holders]:
    """A job of each model, which a node elsewhere holds that is soon free: waiting is better than to load it."""
    jobs = [
        JobFacts(f"j{at}", "mandelbrot", f"m{at}", "ada", "normal", NOW, 10.0, 60.0, lease_seconds=2.0)
        for at in range(models)
    ]
    holding = [
        NodeFacts(f"h{at}", "mandelbrot", "here", frozenset({f"m{at}"}), busy_seconds=1.0) for at in range(models)
    ]
    return jobs, Holders.of(holding)


def test_that_no_load_is_worth_while_is_found_once_for_all_that_are_alike() -> None:
    jobs, holders = held_elsewhere(20)
    looks = 0

    class Counted(Holders):
        def among(self, job: JobFacts) -> tuple[int, float]:
            nonlocal looks
            looks += 1
            return super().among(job)

    sitting = Sitting(Queues(jobs), Counted(holders.by_model, holders.free), NOW)
    nodes = [NodeFacts(f"n{at}", "mandelbrot", "here", frozenset({f"other{at}"})) for at in range(100)]
    assert [sitting.choose(asking) for asking in nodes] == [None] * 100
    assert looks == 20


def test_more_work_of_a_model_is_seen_by_those_who_come_after() -> None:
    jobs, holders = held_elsewhere(2)
    queues = Queues(jobs)
    sitting, asking = Sitting(queues, holders, NOW), NodeFacts("n", "mandelbrot", "here")
    assert sitting.choose(asking) is None
    queues.add(replace(jobs[0], id="much", remaining_seconds=1000.0))
    assert sitting.choose(asking) is not None


def waiting(id: str = "x", model: str = "m", **facts: Any) -> JobFacts:
    return replace(JobFacts(id, "mandelbrot", model, "ada", "normal", NOW, 1.0, 60.0, lease_seconds=1.0), **facts)


def asking(*held: str, **facts: Any) -> NodeFacts:
    return replace(NodeFacts("n", "mandelbrot", "here", frozenset(held)), **facts)


FREE_NEAR_BY = NodeFacts("near", "mandelbrot", "near", frozenset("m"))
BUSY_NEAR_BY = replace(FREE_NEAR_BY, busy_seconds=1.0)
LONG_AGO = NOW - timedelta(seconds=200)


@pytest.mark.parametrize(
    ("job", "holding", "first", "second"),
    [
        (waiting(sites=frozenset({"there"})), [], asking(), asking(site="there")),
        (waiting(), [FREE_NEAR_BY], asking("m", rank=1), asking("m", rank=0)),
        (
            waiting(created_at=LONG_AGO, served_at=NOW),
            [BUSY_NEAR_BY],
            asking(free_since=NOW),
            asking(free_since=LONG_AGO),
        ),
        (waiting(refused=frozenset({"bad"})), [], asking(id="bad"), asking()),
        (waiting(), [], asking(ends_at=NOW), asking(ends_at=NOW + timedelta(hours=1))),
    ],
    ids=["site", "rank", "rest", "refused", "end"],
)
def test_nodes_that_differ_in_what_counts_are_not_alike(
    job: JobFacts, holding: list[NodeFacts], first: NodeFacts, second: NodeFacts
) -> None:
    sitting = Sitting(Queues([job]), Holders.of(holding), NOW)
    assert sitting.choose(first) is None
    assert sitting.choose(second) is not None


def test_who_comes_when_an_owner_has_room_again_is_not_like_those_before() -> None:
    sitting = Sitting(Queues([waiting()]), Holders({}), NOW)
    assert sitting.choose(asking(), frozenset({"ada"})) is None
    assert sitting.choose(asking(), frozenset()) is not None


def test_who_holds_what_others_only_look_at_has_a_look_left() -> None:
    jobs = [waiting(), waiting("y", "unheld", created_at=NOW + timedelta(seconds=1), remaining_seconds=1000.0)]
    sitting = Sitting(Queues(jobs), Holders.of([FREE_NEAR_BY]), NOW, policy=Policy(looks=1))
    assert sitting.choose(asking(rank=1)) is None
    assert sitting.choose(asking("m", rank=1)) is not None
