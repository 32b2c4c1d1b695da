"""Slurm's words, all of them, and what they mean for a node."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm.launchers.base import Liveness, Observation
from rrm.launchers.slurm.reasons import pending_reason
from rrm.launchers.slurm.states import BASE_STATES, FLAGS, is_terminal, observe, status_words

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
# slurm.h names twelve base states and seventeen flags; REQUEUE is printed as REQUEUED, and UPDATE_DB is an older flag.
NAMED_FLAGS = FLAGS.keys() - {"REQUEUE", "UPDATE_DB"}
ALIVE = {"RUNNING", "SUSPENDED"}


def test_every_base_state_and_every_flag_is_known() -> None:
    assert (len(BASE_STATES), len(NAMED_FLAGS)) == (12, 17)


@pytest.mark.parametrize("base", BASE_STATES)
def test_a_base_state_is_waiting_alive_or_over(base: str) -> None:
    expected = Liveness.PENDING if base == "PENDING" else Liveness.RUNNING if base in ALIVE else Liveness.GONE
    assert observe(base).liveness is expected
    assert is_terminal(base) is (expected is Liveness.GONE)


@pytest.mark.parametrize(("base", "flag"), list(product(BASE_STATES, FLAGS)))
@pytest.mark.parametrize("joined", ["{0}+{1}", "{0} {1}", "{0},{1}", "{1} {0}"])
def test_a_flag_counts_more_than_its_base_state_unless_it_leaves_it_alone(base: str, flag: str, joined: str) -> None:
    decided = FLAGS[flag][0]
    assert observe(joined.format(base, flag)).liveness is (BASE_STATES[base] if decided is None else decided)


@pytest.mark.parametrize(
    ("words", "liveness"),
    [
        ("COMPLETING", Liveness.RUNNING),
        ("CONFIGURING", Liveness.PENDING),
        ("REQUEUED", Liveness.PENDING),
        ("SPECIAL_EXIT", Liveness.PENDING),
        ("REVOKED", Liveness.UNKNOWN),
        ("RESIZING", Liveness.RUNNING),
        ("LAUNCH_FAILED", Liveness.GONE),
        ("RUNNING COMPLETING", Liveness.RUNNING),
        ("CANCELLED+", Liveness.GONE),
        ("CANCELLED by 1000", Liveness.GONE),
        (" running\n", Liveness.RUNNING),
    ],
)
def test_words_as_they_are_printed(words: str, liveness: Liveness) -> None:
    assert observe(words).liveness is liveness


@pytest.mark.parametrize("words", ["", "   ", "R", "PR", "PD", "CG", "NEW_STATE", "12", "BY", "(null)"])
def test_what_is_not_known_is_unknown_and_shown(words: str) -> None:
    seen = observe(words)
    assert seen.liveness is Liveness.UNKNOWN
    assert words.strip() in seen.reason


@given(st.text())
def test_no_word_is_too_odd(words: str) -> None:
    assert observe(words, words, NOON, 1).liveness in Liveness


def test_only_what_runs_has_an_end_ahead() -> None:
    assert observe("RUNNING", "None", NOON) == Observation(Liveness.RUNNING, "", NOON)
    assert observe("PENDING", "Resources", NOON).ends_at is None
    assert observe("TIMEOUT", "TimeLimit", NOON).ends_at is None


@pytest.mark.parametrize(
    ("state", "reason", "status", "said"),
    [
        ("FAILED", "NonZeroExitCode", 3, "Its job failed: exit code 3 (FAILED)."),
        ("FAILED", "NonZeroExitCode", 137, "Its job failed: signal 9 (FAILED)."),
        ("FAILED", "NonZeroExitCode", None, "Its job failed (FAILED)."),
        ("COMPLETED", "None", 0, "Its job ended by itself: exit code 0 (COMPLETED)."),
        ("CANCELLED by 1000", "None", None, "Its job was cancelled: by user 1000 (CANCELLED)."),
        ("TIMEOUT", "TimeLimit", 0, "Its job reached its time limit (TIMEOUT)."),
        ("NODE_FAIL", "NodeDown", None, "A machine of its job failed (NODE_FAIL)."),
        ("PREEMPTED", "None", None, "Its job made room for one of higher priority (PREEMPTED)."),
        ("OUT_OF_MEMORY", "OutOfMemory", None, "Its job needed more memory than it had asked for (OUT_OF_MEMORY)."),
    ],
)
def test_an_end_is_told_in_words(state: str, reason: str, status: int | None, said: str) -> None:
    assert observe(state, reason, None, status).reason == said


def test_a_status_is_a_signal_beyond_128() -> None:
    assert [status_words(status) for status in (0, 128, 137, 192, 255)] == [
        "exit code 0", "exit code 128", "signal 9", "signal 64", "exit code 255",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("Resources", "Waits for machines to become free."),
        ("(Priority)", "Waits behind jobs of higher priority."),
        ("ReqNodeNotAvail, UnavailableNodes:n3", "Machines that it asks for are not available (UnavailableNodes:n3)."),
        ("ReqNodeNotAvail", "Machines that it asks for are not available."),
        ("AssocMaxJobsLimit", "Waits for a limit of its account or quality of service (AssocMaxJobsLimit)."),
        ("QOSMaxCpuPerUserLimit", "Waits for a limit of its account or quality of service (QOSMaxCpuPerUserLimit)."),
        ("Nodes required for job are DOWN", "Slurm's reason: Nodes required for job are DOWN."),
        ("", ""),
    ],
)
def test_waiting_is_explained(reason: str, said: str) -> None:
    assert pending_reason(reason) == said


@pytest.mark.parametrize("reason", ["DependencyNeverSatisfied", "PartitionTimeLimit", "PartitionConfig", "JobHeldUser"])
def test_what_never_starts_is_told_apart(reason: str) -> None:
    assert "will not start by itself" in observe("PENDING", reason).reason
