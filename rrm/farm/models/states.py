"""The states of rows as choices of a field."""

from __future__ import annotations

from rrm.domain.states import JobState, LeaseState, NodeState, SessionState


def choices(
    states: type[JobState] | type[LeaseState] | type[NodeState] | type[SessionState],
) -> list[tuple[str, str]]:
    return [(state.value, state.value.capitalize()) for state in states]
