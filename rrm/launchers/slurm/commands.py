"""Slurm's programs, run at the login host: found, given a clean environment and a time-out of our own.

A scheduler that is down lets squeue hang for 18 s; its word is not waited for longer than we say.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rrm.errors import LauncherError, SiteUnavailable
from rrm.launchers.slurm.answers import (
    SACCT_FIELDS,
    Job,
    NotAnAnswer,
    Outcome,
    has_accounting,
    passing_trouble,
    read_sacct,
    read_sbatch,
    read_squeue,
    said,
    squeue_format,
)

_ANSWER_SECONDS = 14.0
_SUBMIT_SECONDS = 25.0
_SLACK_SECONDS = 3600
# Where Slurm is often installed without being on the path of a session without a login.
_FOLDERS = ("/usr/bin", "/usr/local/bin", "/opt/slurm/bin", "/usr/local/slurm/bin", "/cm/shared/apps/slurm/current/bin")
# These change what the programs ask for and how they print it.
_MEDDLING = ("SQUEUE_", "SBATCH_", "SACCT_", "SCANCEL_", "SLURM_")
_RECORD_STATUS = '"$@" >sbatch.out 2>sbatch.err; status=$?; echo $status >sbatch.status; exit $status'


@dataclass(frozen=True)
class _Answer:
    status: int
    out: str
    errors: str


def all_jobs() -> list[Job]:
    """Every job of this account that the scheduler remembers. Raises SiteUnavailable."""
    return _squeue()


def job_of(job: str) -> Job | None:
    """One job; None when the scheduler does not know it. Raises SiteUnavailable."""
    return next((found for found in _squeue(f"--jobs={job}") if found.id == job), None)


def record_of(job: str) -> str:
    """What the scheduler's own record of the job says. Raises SiteUnavailable."""
    answer = _ask("scontrol", "show", "job", job)
    if passing_trouble(answer.errors):
        raise SiteUnavailable(f"The scheduler does not answer: {said(answer.errors)}")
    return answer.out or said(answer.errors)


def jobs_called(name: str) -> list[Job]:
    """This account's jobs of that name. Raises SiteUnavailable."""
    return [job for job in _squeue(f"--name={name}") if job.name == name]


def accounted(jobs: Sequence[str], name: str, since: float) -> list[Job] | None:
    """What the accounting knows of jobs by id, or by name when there is none; None where there is no accounting.

    `since` is seconds of the epoch: records of recycled ids are older. Raises SiteUnavailable.
    """
    which = [f"--jobs={','.join(jobs)}"] if jobs else [f"--name={name}", f"--user={os.getuid()}"]
    start = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since - _SLACK_SECONDS))
    separator = f"\x1f{secrets.token_hex(8)}"
    fields = [f"--format={','.join(SACCT_FIELDS)}", "--parsable2", f"--delimiter={separator}"]
    answer = _ask("sacct", "--allocations", "--duplicates", f"--starttime={start}", *fields, *which)
    if not has_accounting(answer.errors):
        return None
    try:
        return read_sacct(answer.out, answer.errors, answer.status, separator)
    except NotAnAnswer as trouble:
        raise SiteUnavailable(f"Slurm's accounting does not answer: {trouble}") from None


def submit(folder: Path, lock: int) -> tuple[Outcome, str]:
    """Submit the folder's batch.sh; what came of it stays in the folder, and the lock is held, even if we are killed.

    Raises LauncherError where there is no sbatch.
    """
    command = [_program("sbatch"), "--parsable", "batch.sh"]
    running = subprocess.Popen(
        ["/bin/sh", "-c", _RECORD_STATUS, "sbatch", *command],
        cwd=folder,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(lock,),
        start_new_session=True,
    )
    try:
        return outcome(folder, running.wait(_SUBMIT_SECONDS))
    except subprocess.TimeoutExpired:
        return Outcome.IN_DOUBT, "sbatch has not ended in time."


def outcome(folder: Path, status: int | None = None) -> tuple[Outcome, str]:
    """What came of the folder's last submission, as far as it was written down."""
    written = _read(folder / "sbatch.status").strip()
    known = int(written) if written.isdecimal() else status
    return read_sbatch(_read(folder / "sbatch.out"), _read(folder / "sbatch.err"), known)


def scancel(*arguments: str) -> str:
    """What scancel complained of, "" for nothing. Raises SiteUnavailable when the scheduler could not be asked."""
    answer = _ask("scancel", *arguments)
    if passing_trouble(answer.errors):
        raise SiteUnavailable(f"The scheduler does not answer: {said(answer.errors)}")
    return said(answer.errors)


def _squeue(*which: str) -> list[Job]:
    nonce = secrets.token_hex(8)
    who = f"--user={os.getuid()}"
    answer = _ask("squeue", "--all", "--states=all", who, f"--format={squeue_format(nonce)}", *which)
    try:
        return read_squeue(answer.out, answer.errors, answer.status, nonce)
    except NotAnAnswer as trouble:
        raise SiteUnavailable(f"The scheduler does not answer: {trouble}") from None


def _ask(name: str, *arguments: str) -> _Answer:
    try:
        done = subprocess.run(
            [_program(name), *arguments],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ANSWER_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SiteUnavailable(
            f"The scheduler does not answer: {name} did not end in {_ANSWER_SECONDS:.0f} s."
        ) from None
    return _Answer(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def _program(name: str) -> str:
    found = shutil.which(name, path=_environment()["PATH"])
    if found is None:
        raise LauncherError(f"There is no {name} on {os.uname().nodename}; is it a login host of the cluster?")
    return found


@cache
def _environment() -> Mapping[str, str]:
    """The session's, without what would change the answers; times in UTC, words in English."""
    known = _login_environment() if shutil.which("sbatch", path=_path(os.environ)) is None else dict(os.environ)
    kept = {name: value for name, value in known.items() if name == "SLURM_CONF" or not name.startswith(_MEDDLING)}
    return {**kept, "PATH": _path(known), "TZ": "UTC", "LC_ALL": "C", "SLURM_TIME_FORMAT": "standard"}


def _path(environment: Mapping[str, str]) -> str:
    return os.pathsep.join((environment.get("PATH", os.defpath), *_FOLDERS))


def _login_environment() -> dict[str, str]:
    """What the account's login shell would set: many sites set up Slurm in its profile."""
    try:
        done = subprocess.run(
            ["bash", "-lc", "printf '\\036'; env -0"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return dict(os.environ)
    _, _, listed = done.stdout.decode(errors="replace").rpartition("\x1e")
    return dict(pair.split("=", 1) for pair in listed.split("\0") if "=" in pair)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""
