"""The lifecycles: every state is reachable, final states stay final, and the tables name no strangers."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import pytest

from rrm.domain import states
from rrm.domain.states import JOB_MOVES, LEASE_MOVES, NODE_MOVES, JobState, LeaseState, NodeState

TABLES = [
    (JobState, JOB_MOVES, JobState.QUEUED),
    (LeaseState, LEASE_MOVES, LeaseState.ACTIVE),
    (NodeState, NODE_MOVES, NodeState.REQUESTED),
]


@pytest.mark.parametrize(("kind", "moves", "first"), TABLES)
def test_every_state_has_a_row_and_can_be_reached(
    kind: type[StrEnum], moves: Mapping[StrEnum, frozenset[StrEnum]], first: StrEnum
) -> None:
    reached, frontier = {first}, [first]
    while frontier:
        for target in moves[frontier.pop()]:
            if target not in reached:
                reached.add(target)
                frontier.append(target)

    assert set(moves) == set(kind) == reached
    assert all(type(state) is kind for row in moves.values() for state in row)


def test_what_is_gone_stays_gone() -> None:
    assert all(not NODE_MOVES[state] for state in states.NODE_GONE)
    assert not JOB_MOVES[JobState.COMPLETED]


def test_a_job_cannot_complete_without_composing() -> None:
    assert [state for state in JobState if JobState.COMPLETED in JOB_MOVES[state]] == [JobState.COMPOSING]


def test_a_drained_node_never_works_again() -> None:
    assert not NODE_MOVES[NodeState.DRAINING] & states.NODE_WORKING
    assert not NODE_MOVES[NodeState.STOPPING] & states.NODE_WORKING


def test_every_live_node_can_fail() -> None:
    assert all(NodeState.FAILED in NODE_MOVES[state] for state in states.NODE_LIVE)
