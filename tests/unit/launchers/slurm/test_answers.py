"""Answers of squeue, sacct and sbatch: whole ones are understood, others are not taken for answers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm.launchers.slurm.answers import (
    SACCT_FIELDS,
    Job,
    NotAnAnswer,
    Outcome,
    instant,
    read_sacct,
    read_sbatch,
    read_squeue,
    said,
    squeue_format,
)
from tests.hostile import HOSTILE

NONCE = "5f0c1d"
TITLES = ("JOBID", "STATE", "REASON", "END_TIME", "TIME_LIMIT", "NODES", "NAME", "COMMENT")
ROW = ("7", "RUNNING", "None", "2026-11-21T12:00:00", "1:00:00", "2", "rrm-1", "rrm:x")


def printed(*rows: tuple[str, ...], nonce: str = NONCE) -> str:
    """As squeue prints them: each field in the place of its letter."""
    lines = []
    for row in (TITLES, *rows):
        line = squeue_format(nonce)
        for letter, value in zip("iTrelDjk", row, strict=True):
            line = line.replace(f"%{letter}", value, 1)
        lines.append(line)
    return "\n".join(lines) + "\n"


def test_a_row_becomes_a_job() -> None:
    ends_at = datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert read_squeue(printed(ROW), "", 0, NONCE) == [Job("7", "rrm-1", "RUNNING", "None", "rrm:x", ends_at, 2)]


def test_an_empty_queue_is_an_answer_and_silence_is_none() -> None:
    assert read_squeue(printed(), "", 0, NONCE) == []
    with pytest.raises(NotAnAnswer, match="empty or cut off"):
        read_squeue("", "", 0, NONCE)


def test_an_answer_cut_off_anywhere_is_none() -> None:
    whole = printed(ROW, ROW)
    complete = {printed(), printed(ROW), whole}
    for length in range(len(whole)):
        if whole[:length] not in complete:
            with pytest.raises(NotAnAnswer):
                read_squeue(whole[:length], "", 0, NONCE)


@pytest.mark.parametrize(
    ("errors", "status"),
    [
        ("slurm_load_jobs error: Socket timed out on send/recv operation", 0),
        ("slurm_load_jobs error: Unable to contact slurm controller (connect failure)", 1),
        ("slurm_load_jobs error: Zero Bytes were transmitted or received", 0),
        ("squeue: error: Unknown something", 1),
        ("", 137),
    ],
)
def test_an_error_is_no_answer_whatever_the_status_and_the_table_say(errors: str, status: int) -> None:
    with pytest.raises(NotAnAnswer):
        read_squeue(printed(ROW), errors, status, NONCE)


def test_a_job_that_is_not_known_is_an_answer() -> None:
    assert read_squeue("", "slurm_load_jobs error: Invalid job id specified", 1, NONCE) == []


@pytest.mark.parametrize("hostile", [one for one in HOSTILE if "%" not in one])
def test_no_name_or_reason_can_end_its_field(hostile: str) -> None:
    forged = printed(ROW, nonce="guess")
    for value in (hostile, forged, f"\x1f{hostile}|", hostile + "\n7|x"):
        rows = read_squeue(printed((*ROW[:2], value, *ROW[3:6], value, value)), "", 0, NONCE)
        assert [(job.name, job.reason, job.comment) for job in rows] == [(value, value, value)]


@pytest.mark.parametrize(
    ("job", "ends_at", "limit"), [("12_[3-4%2]", "N/A", "INVALID"), ("12_7", "Unknown", "UNLIMITED")]
)
def test_arrays_and_missing_times_are_read(job: str, ends_at: str, limit: str) -> None:
    row = (job, "PENDING", "Priority", ends_at, limit, "1-1", "a", "(null)")
    assert read_squeue(printed(row), "", 0, NONCE) == [Job(job, "a", "PENDING", "Priority")]


@given(st.text(), st.text())
def test_no_answer_is_too_odd(text: str, errors: str) -> None:
    for read in (read_squeue, read_sacct):
        try:
            assert isinstance(read(text, errors, 0, NONCE), list)
        except NotAnAnswer:
            continue


def records(*rows: str) -> str:
    return "".join(f"{row}\n" for row in (NONCE.join(SACCT_FIELDS), *(row.replace("|", NONCE) for row in rows)))


def test_the_last_record_of_a_job_that_was_put_back_comes_last() -> None:
    text = records(
        "7|rrm-1|REQUEUED|0:0|2026-11-21T11:00:00|2026-11-21T11:30:00",
        "7|rrm-1|CANCELLED by 1000|0:15|2026-11-21T11:00:00|2026-11-21T12:00:00",
        "8|broken",
        "9.batch|batch|FAILED|1:0|x|y",
    )
    found = read_sacct(text, "", 0, NONCE)
    assert [(job.state, job.exit_status) for job in found] == [("REQUEUED", 0), ("CANCELLED by 1000", 143)]


def test_without_its_titles_an_answer_of_the_accounting_is_none() -> None:
    assert read_sacct(records(), "", 0, NONCE) == []
    for text, errors, status in (("", "", 0), (records(), "Socket timed out", 0), ("", "storage is disabled", 1)):
        with pytest.raises(NotAnAnswer):
            read_sacct(text, errors, status, NONCE)


REFUSED = "sbatch: error: Batch job submission failed: "


@pytest.mark.parametrize(
    ("text", "errors", "status", "outcome", "told"),
    [
        ("123\n", "", 0, Outcome.TAKEN, "123"),
        ("123;cluster\n", "sbatch: lua: welcome\n", 0, Outcome.TAKEN, "123"),
        ("welcome\n123\n", "", None, Outcome.TAKEN, "123"),
        ("", "", 0, Outcome.IN_DOUBT, "sbatch has not told the number of the job."),
        ("", "", None, Outcome.IN_DOUBT, "sbatch has not told the number of the job."),
        ("", "", -9, Outcome.IN_DOUBT, "sbatch has not told the number of the job."),
        ("", "", 137, Outcome.IN_DOUBT, "sbatch has not told the number of the job."),
        ("", f"{REFUSED}Socket timed out", 1, Outcome.IN_DOUBT, "Socket timed out."),
        ("", f"{REFUSED}Unable to contact slurm controller (connect failure)", 1, Outcome.NOT_SENT,
         "Unable to contact slurm controller (connect failure)."),
        ("", f"{REFUSED}Invalid account or account/partition combination specified", 1, Outcome.REFUSED,
         "Invalid account or account/partition combination specified."),
        ("", "sbatch: unrecognized option '--x'\nTry \"sbatch --help\" for more information", 255, Outcome.REFUSED,
         "unrecognized option '--x'."),
        ("", "", 1, Outcome.REFUSED, "sbatch ended with status 1."),
    ],
)  # fmt: skip
def test_a_submission_was_taken_refused_not_sent_or_is_in_doubt(
    text: str, errors: str, status: int | None, outcome: Outcome, told: str
) -> None:
    assert read_sbatch(text, errors, status) == (outcome, told)


def test_slurms_words_are_told_in_one_line() -> None:
    assert (
        said("sbatch: error: Memory is short\nsbatch: error: Batch job submission failed: No.\n")
        == "Memory is short; No."
    )
    assert said("\n \n") == ""


@pytest.mark.parametrize("text", ["N/A", "Unknown", "", "None", "2026-13-01T00:00:00", "noon"])
def test_what_is_no_time_is_none(text: str) -> None:
    assert instant(text) is None
