"""Ending a node's job, and nothing else: its number is proven to be ours first; done at the login host."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rrm.errors import SiteUnavailable
from rrm.launchers.slurm import commands
from rrm.launchers.slurm.folder import NodeFolder
from rrm.launchers.slurm.states import is_terminal
from rrm.launchers.slurm.submitting import known_job, look_up

_FRESH_SECONDS = 60.0
_LOOK_SECONDS = 0.05


def cancel(root: Path, handle: Mapping[str, Any], grace: float, mark: str, *, proven: bool) -> bool:
    """Ask the node to end, and end its job when `grace` seconds are over; whether it left word of its end.

    `proven`: the scheduler said a moment ago that the job is the node's. Raises SiteUnavailable, LauncherError.
    """
    folder = NodeFolder(root, str(handle.get("of", handle["name"])))
    if not folder.path.exists() and "job" not in handle:
        return True
    with folder.locked():
        job = str(handle.get("job", "")) or known_job(folder) or _found(folder, mark)
        if not job or folder.is_over(job):
            return True
        # A member leaves no word where its whole job was cancelled by somebody else.
        if "member" in handle and _awaited(folder, (f"exit.{handle['member']}", "exit"), job, grace):
            return True
        if not proven and not _is_ours(folder, job, mark):
            return True
        return _end(folder, job, 0 if "member" in handle else grace)


def _found(folder: NodeFolder, mark: str) -> str:
    """The number of a job that may or may not have been submitted, "" when there is none. Raises SiteUnavailable."""
    if not folder.read("attempted"):
        return ""
    found = look_up(folder, mark)
    if found is None:
        raise SiteUnavailable(f"It is not known yet whether Slurm took the job of {folder.name}.")
    return found.id


def _is_ours(folder: NodeFolder, job: str, mark: str) -> bool:
    """Whether the number still stands for the node's living job: numbers are used again. Raises SiteUnavailable."""
    noted = folder.read_of("job", job)
    if noted and time.time() - noted.get("at", 0) < _FRESH_SECONDS:
        return True
    found = commands.job_of(job)
    is_ours = found is not None and found.name == folder.name and (found.comment == mark or bool(noted))
    return found is not None and is_ours and not is_terminal(found.state)


def _end(folder: NodeFolder, job: str, grace: float) -> bool:
    """First a signal to the batch script, which passes it on; force when the grace is over, or was before."""
    asked = folder.read_of("stopping", job)
    left = asked.get("at", time.time()) + grace - time.time()
    if not asked:
        _note(folder, job)
    if left > 0 and folder.claim != job:  # it has not begun; scancel would wait seconds before it signals such a job
        _note(folder, job, forced=True)
        commands.scancel(job)
        return _awaited(folder, ("exit",), job, min(left, 1.0))
    if left > 0 and not asked:
        commands.scancel("--batch", "--signal=USR1", job)
    if left > 0 and _awaited(folder, ("exit",), job, left):
        return True
    _note(folder, job, forced=True)
    commands.scancel("--full", "--signal=KILL", job)
    commands.scancel(job)
    return False


def _note(folder: NodeFolder, job: str, *, forced: bool = False) -> None:
    """Since when it should end, and whether we cancelled the job for that."""
    since = folder.read_of("stopping", job).get("at", time.time())
    with contextlib.suppress(OSError):
        folder.mark("stopping", job=job, at=since, forced=forced)


def _awaited(folder: NodeFolder, marks: Sequence[str], job: str, seconds: float) -> bool:
    """Whether the job leaves one of the marks in time."""
    end = time.monotonic() + seconds
    while not any(folder.read_of(mark, job) for mark in marks):
        if time.monotonic() >= end:
            return False
        time.sleep(_LOOK_SECONDS)
    return True
