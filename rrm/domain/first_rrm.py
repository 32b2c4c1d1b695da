"""What programs of the first RRM say and expect: status numbers, and options written as text. Pure."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from enum import IntEnum

from rrm.domain.states import NODE_GONE, NodeState, SessionState
from rrm.errors import Invalid


class Code(IntEnum):
    STOPPED = 0
    SCHEDULING = 1
    SCHEDULED = 2
    GETTING_HOSTNAME = 3
    STARTING = 4
    RUNNING = 5
    STOPPING = 6
    FAILED = 7
    BUSY = 8


WORDS = {
    Code.STOPPED: "{} is not active",
    Code.SCHEDULING: "{} is scheduled",
    Code.SCHEDULED: "{} is scheduled",
    Code.GETTING_HOSTNAME: "{} is scheduled",
    Code.STARTING: "{} is starting but the HTTP interface is not yet available",
    Code.RUNNING: "{} is up and running",
    Code.STOPPING: "{} is terminating...",
    Code.FAILED: "Job allocation failed for {}",
    Code.BUSY: "{} is busy",
}

EARLIER = {
    Code.STOPPED: 0,
    Code.SCHEDULING: 1,
    Code.SCHEDULED: 1,
    Code.GETTING_HOSTNAME: 1,
    Code.STARTING: 2,
    Code.RUNNING: 3,
    Code.STOPPING: 4,
    Code.FAILED: 0,
    Code.BUSY: 3,
}
"""The numbers of versions before 0.2: STOPPED, SCHEDULED, STARTING, RUNNING, STOPPING."""


@dataclass(frozen=True)
class Seen:
    """A session and the node that serves it or is to: `is_open` once a renderer is wanted for it."""

    state: SessionState
    is_open: bool
    has_reason: bool
    node: NodeState | None = None
    is_batch: bool = False
    waits_at_site: bool = False
    is_silent: bool = False


def code_of(seen: Seen) -> Code | None:
    """The first RRM's number for a session; None where its job is gone, which ended the session there."""
    if seen.state == SessionState.READY:
        return Code.BUSY if seen.is_silent else Code.RUNNING
    if seen.state == SessionState.PENDING:
        return _code_of_waiting(seen)
    return None if seen.node in NODE_GONE else Code.FAILED


def _code_of_waiting(seen: Seen) -> Code:
    if not seen.is_open:
        return Code.FAILED if seen.has_reason else Code.STOPPED
    if seen.is_batch and seen.node == NodeState.REQUESTED:
        return Code.SCHEDULING
    if seen.is_batch and seen.node == NodeState.SUBMITTED and seen.waits_at_site:
        return Code.SCHEDULED
    return Code.STARTING


_VARIABLE = re.compile(r"(?:^|[,\s]+)([A-Za-z_]\w*)=", re.ASCII)
_HIJACKING = re.compile(
    r"(LD|DYLD|PYTHON|RRM|SLURM|SBATCH|SRUN|BASH|PERL|RUBY|NODE|GIT|SSL|GCONV|MALLOC|XDG|NUMBA)(_.*|[A-Z]*)"
    r"|PATH|HOME|USER|LOGNAME|SHELL|ENV|IFS|TMPDIR|SHELLOPTS|PS4|PROMPT_COMMAND|GLIBC_TUNABLES|NLSPATH|LOCPATH|HOSTALIASES"
    r"|RES_OPTIONS|JAVA_TOOL_OPTIONS|_JAVA_OPTIONS|CLASSPATH|VIRTUAL_ENV|.*_PROXY",
    re.IGNORECASE,
)


def variables(text: str) -> dict[str, str]:
    """ "A=1,B=2" or "A=1 B=2": programs of the first RRM send both. Commas not before a name belong to the value."""
    starts = list(_VARIABLE.finditer(text))
    ends = [start.start() for start in starts[1:]] + [len(text)]
    found = {start[1]: text[start.end() : end] for start, end in zip(starts, ends, strict=False)}
    return {name: value.rstrip(", \t\r\n") for name, value in found.items()}


def quoted(variables: dict[str, str]) -> str:
    """The same as a resource's `environment_variables` are written."""
    return shlex.join(f"{name}={value}" for name, value in variables.items())


def may_mislead(name: str) -> bool:
    """Whether a variable of this name changes what is run, not just how what is run behaves."""
    return _HIJACKING.fullmatch(name) is not None


def words(text: str, *, as_shell: bool) -> str:
    """Parameters as a resource's are written: split at blanks, or as a shell does where that can be done."""
    if as_shell:
        try:
            return shlex.join(shlex.split(text))
        except ValueError:  # a quote that is never closed stands for itself
            pass
    return shlex.join(text.split())


_TIME = re.compile(r"(?:(\d{1,4})-)?(\d{1,6})(?::(\d{1,4}))?(?::(\d{1,4}))?", re.ASCII)


def seconds(text: str) -> int:
    """Of a time limit as salloc reads it: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S. Raises Invalid."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise Invalid("allocation_time", "Must be a time like 2:00:00, or minutes.")
    days, *parts = (int(part) if part else 0 for part in match.groups())
    if match[1] or match[4]:
        hours, minutes, rest = parts
    else:
        hours, minutes, rest = 0, parts[0], parts[1]
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest
