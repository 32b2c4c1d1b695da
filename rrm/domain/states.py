"""The lifecycles and what may follow what. Anything not listed is illegal.

Members of different `StrEnum`s compare equal when their text is equal, so each lifecycle has a table of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class JobState(StrEnum):
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPOSING = "COMPOSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class LeaseState(StrEnum):
    ACTIVE = "ACTIVE"
    DONE = "DONE"
    RETURNED = "RETURNED"


class NodeState(StrEnum):
    REQUESTED = "REQUESTED"
    SUBMITTED = "SUBMITTED"
    IDLE = "IDLE"
    BUSY = "BUSY"
    BOOKED = "BOOKED"
    DRAINING = "DRAINING"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    FAILED = "FAILED"


class SessionState(StrEnum):
    PENDING = "PENDING"
    READY = "READY"
    ENDED = "ENDED"
    FAILED = "FAILED"


JOB_MOVES: Mapping[JobState, frozenset[JobState]] = {
    # Straight to COMPOSING where no tile is missing: a recolouring, or a retry after the disk was full.
    JobState.QUEUED: frozenset(
        {JobState.RUNNING, JobState.COMPOSING, JobState.PAUSED, JobState.FAILED, JobState.CANCELLED}
    ),
    JobState.RUNNING: frozenset({JobState.COMPOSING, JobState.PAUSED, JobState.FAILED, JobState.CANCELLED}),
    JobState.PAUSED: frozenset({JobState.QUEUED, JobState.RUNNING, JobState.FAILED, JobState.CANCELLED}),
    # Back to RUNNING when the file of a finished range turns out to be lost or damaged.
    JobState.COMPOSING: frozenset({JobState.COMPLETED, JobState.RUNNING, JobState.FAILED}),
    JobState.COMPLETED: frozenset(),
    # A retry offers the tiles that are not done once more; the done ones stay.
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
}

LEASE_MOVES: Mapping[LeaseState, frozenset[LeaseState]] = {
    LeaseState.ACTIVE: frozenset({LeaseState.DONE, LeaseState.RETURNED}),
    LeaseState.DONE: frozenset({LeaseState.RETURNED}),
    LeaseState.RETURNED: frozenset(),
}

NODE_MOVES: Mapping[NodeState, frozenset[NodeState]] = {
    NodeState.REQUESTED: frozenset({NodeState.SUBMITTED, NodeState.IDLE, NodeState.STOPPED, NodeState.FAILED}),
    NodeState.SUBMITTED: frozenset({NodeState.IDLE, NodeState.STOPPING, NodeState.STOPPED, NodeState.FAILED}),
    NodeState.IDLE: frozenset(
        {NodeState.BUSY, NodeState.BOOKED, NodeState.DRAINING, NodeState.STOPPING, NodeState.STOPPED, NodeState.FAILED}
    ),
    NodeState.BUSY: frozenset(
        {NodeState.IDLE, NodeState.DRAINING, NodeState.STOPPING, NodeState.STOPPED, NodeState.FAILED}
    ),
    NodeState.BOOKED: frozenset(
        {NodeState.IDLE, NodeState.DRAINING, NodeState.STOPPING, NodeState.STOPPED, NodeState.FAILED}
    ),
    NodeState.DRAINING: frozenset({NodeState.STOPPING, NodeState.STOPPED, NodeState.FAILED}),
    NodeState.STOPPING: frozenset({NodeState.STOPPED, NodeState.FAILED}),
    NodeState.STOPPED: frozenset(),
    NodeState.FAILED: frozenset(),
}

SESSION_MOVES: Mapping[SessionState, frozenset[SessionState]] = {
    SessionState.PENDING: frozenset({SessionState.READY, SessionState.ENDED, SessionState.FAILED}),
    SessionState.READY: frozenset({SessionState.ENDED, SessionState.FAILED}),
    SessionState.ENDED: frozenset(),
    SessionState.FAILED: frozenset(),
}

JOB_FINAL = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED})
JOB_OFFERED = frozenset({JobState.QUEUED, JobState.RUNNING})
NODE_GONE = frozenset({NodeState.STOPPED, NodeState.FAILED})
NODE_STARTING = frozenset({NodeState.REQUESTED, NodeState.SUBMITTED})
NODE_TAKING = frozenset({NodeState.IDLE, NodeState.BUSY})
NODE_WORKING = NODE_TAKING | {NodeState.BOOKED}
NODE_LEAVING = frozenset({NodeState.DRAINING, NodeState.STOPPING})
NODE_CHECKED_IN = NODE_WORKING | NODE_LEAVING
NODE_LIVE = frozenset(NodeState) - NODE_GONE
SESSION_OPEN = frozenset({SessionState.PENDING, SessionState.READY})
