"""What Slurm's programs answer, read with suspicion: they end with status 0 after errors, and cut their output short.

Every question has fresh marks of its own around each field, so that no name or reason that somebody chose can look like
the end of one; and the line of titles must be there, so that silence is not taken for an empty queue.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

_FIELDS = ("%i", "%T", "%r", "%e", "%l", "%D", "%j", "%k")
SACCT_FIELDS = ("JobIDRaw", "JobName", "State", "ExitCode", "Submit", "End")
_ID = re.compile(r"[0-9]+")
_PASSING = re.compile(
    r"Socket timed out|timed out on send|Zero Bytes were transmitted|Transport endpoint|Connection (reset|refused)"
    r"|Unexpected message|Unable to contact|connect failure|standby mode|authentication|munge|temporarily un"
    r"|Resource temporarily|slurm_receive|slurm_send|Communication connection|Insane message|Header lengths"
    r"|error: (?:fetch_config|_fetch)|No such host|Name or service not known",
    re.IGNORECASE,
)
_NOT_SENT = re.compile(
    r"Unable to contact|connect failure|standby mode|authentication|munge|temporarily un", re.IGNORECASE
)
_NO_SUCH_JOB = re.compile(r"Invalid job id", re.IGNORECASE)
_NOISE = re.compile(r"^(?:[a-z]+: )?(?:error: |fatal: )*(?:Batch job submission failed: )?")


class NotAnAnswer(Exception):
    """What a program said cannot be taken for an answer; the text says why."""


class Outcome(Enum):
    """What became of a submission."""

    TAKEN = "taken"
    REFUSED = "refused"
    NOT_SENT = "not sent"
    IN_DOUBT = "in doubt"


@dataclass(frozen=True)
class Job:
    """One of the account's jobs. `ends_at` is aware; `comment` is "" where the site does not keep comments."""

    id: str
    name: str
    state: str
    reason: str = ""
    comment: str = ""
    ends_at: datetime | None = None
    machines: int = 1
    exit_status: int | None = None


def squeue_format(nonce: str) -> str:
    """The -o of a question; `nonce` is letters and digits that nobody could foresee."""
    return _begin(nonce) + _between(nonce).join(_FIELDS) + _end(nonce).rstrip("\n")


def read_squeue(text: str, errors: str, status: int, nonce: str) -> list[Job]:
    """The jobs of an answer. Raises NotAnAnswer unless it is whole."""
    if passing_trouble(errors) or (status and not _NO_SUCH_JOB.search(errors)):
        raise NotAnAnswer(said(errors) or f"squeue ended with status {status}.")
    records = [piece.split(_end(nonce)) for piece in text.split(_begin(nonce))]
    if status:  # one job was asked for and is not known
        return []
    if len(records) < 2 or records[0] != [""] or any(record[1:] != [""] for record in records[1:]):
        raise NotAnAnswer("squeue's answer is empty or cut off." if not said(errors) else said(errors))
    titles, *rows = (record[0].split(_between(nonce)) for record in records[1:])
    if _ID.match(titles[0]) or any(len(row) != len(_FIELDS) for row in (titles, *rows)):
        raise NotAnAnswer("squeue's answer has not the fields that it was asked for.")
    return [_job(row) for row in rows]


def read_sacct(text: str, errors: str, status: int, separator: str) -> list[Job]:
    """The records of an answer, the later ones of a job that was put back into the queue last.

    Raises NotAnAnswer when it is none, also where there is no accounting.
    """
    lines = text.split("\n")
    if status or passing_trouble(errors) or not lines[0].startswith(SACCT_FIELDS[0] + separator):
        raise NotAnAnswer(said(errors) or "sacct does not answer.")
    rows = [line.split(separator) for line in lines[1:]]
    return [_record(row) for row in rows if len(row) == len(SACCT_FIELDS) and _ID.fullmatch(row[0])]


def has_accounting(errors: str) -> bool:
    return "accounting storage is disabled" not in errors


def read_sbatch(text: str, errors: str, status: int | None) -> tuple[Outcome, str]:
    """What became of a submission, with the job's id, or Slurm's words. `status` None: it has not ended in time."""
    found = re.search(r"^([0-9]+)(?:;\S+)?\s*$", text, re.MULTILINE)
    if found:
        return Outcome.TAKEN, found[1]
    words = said(errors)
    if status is None or status == 0 or _was_killed(status):
        return Outcome.IN_DOUBT, words or "sbatch has not told the number of the job."
    if not passing_trouble(errors):
        return Outcome.REFUSED, words or f"sbatch ended with status {status}."
    is_certain = _NOT_SENT.search(errors) and not re.search(r"Socket timed out|Zero Bytes", errors)
    return (Outcome.NOT_SENT if is_certain else Outcome.IN_DOUBT), words


def _was_killed(status: int) -> bool:
    """By a signal, as subprocess or a shell tells it; sbatch itself ends with 255 at most for a wrong option."""
    return status < 0 or 128 < status < 193


def passing_trouble(errors: str) -> bool:
    """Whether the scheduler could not be asked, whatever the exit status says."""
    return _PASSING.search(errors) is not None


def said(errors: str) -> str:
    """Slurm's words for people, in one line."""
    lines = [_NOISE.sub("", line.strip()).rstrip(".") for line in errors.strip().splitlines()]
    told = "; ".join(dict.fromkeys(line for line in lines if line and not line.startswith("Try ")))[:400]
    return f"{told}." if told else ""


def instant(text: str) -> datetime | None:
    """A time as Slurm prints it under TZ=UTC; None for "N/A", "Unknown" and the like."""
    try:
        return datetime.strptime(text.strip(), "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _job(row: Sequence[str]) -> Job:
    job, state, reason, ends_at, limit, machines, name, comment = row
    return Job(
        id=job.strip(),
        name=name,
        state=state,
        reason=reason,
        comment="" if comment == "(null)" else comment,
        ends_at=None if limit.strip() in {"UNLIMITED", "NOT_SET", "INVALID"} else instant(ends_at),
        machines=int(machines) if _ID.fullmatch(machines.strip()) else 1,
    )


def _record(row: Sequence[str]) -> Job:
    job, name, state, code, _, ends_at = row
    status, _, signal = code.partition(":")
    known = _ID.fullmatch(status) and _ID.fullmatch(signal)
    exit_status = (128 + int(signal) if int(signal) and int(signal) < 65 else int(status)) if known else None
    return Job(id=job, name=name, state=state, ends_at=instant(ends_at), exit_status=exit_status)


def _begin(nonce: str) -> str:
    return f"\x1e{nonce}<"


def _between(nonce: str) -> str:
    return f"\x1f{nonce}|"


def _end(nonce: str) -> str:
    return f"\x1f{nonce}>\n"
