"""Submitting a node's job once, whatever breaks in between; done at the login host."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from rrm.errors import LauncherError, SiteUnavailable
from rrm.launchers.slurm import commands
from rrm.launchers.slurm.answers import Job, Outcome
from rrm.launchers.slurm.folder import NodeFolder, sweep
from rrm.launchers.slurm.states import is_terminal


def submit(root: Path, name: str, script: str, token: str, mark: str, doubt_seconds: float) -> str:
    """The number of the node's job: the living one, or a new one.

    Raises LauncherError when Slurm refused, SiteUnavailable when it is not known whether it took the job.
    """
    folder = NodeFolder(root, name)
    with folder.locked() as lock:
        job = known_job(folder) or _from_doubt(folder, mark, doubt_seconds)
        if job and not _has_ended(folder, job):
            return job
        with contextlib.suppress(OSError):
            sweep(root)
        return _submit(folder, lock, script, token)


def known_job(folder: NodeFolder) -> str:
    """The number of the node's job as it was written down, "" when it was not."""
    if folder.job:
        return folder.job
    if not folder.read("attempted"):
        return ""
    result, told = commands.outcome(folder.path)
    if result is Outcome.TAKEN:
        return _remember(folder, told)
    return _remember(folder, folder.claim) if folder.claim else ""


def _from_doubt(folder: NodeFolder, mark: str, doubt_seconds: float) -> str:
    """The number of a job that an earlier attempt may have left; "" once it is certain that it left none."""
    attempted = folder.read("attempted")
    if not attempted or commands.outcome(folder.path)[0] in {Outcome.REFUSED, Outcome.NOT_SENT}:
        return ""
    found = look_up(folder, mark)
    if found is not None:
        return _remember(folder, found.id)
    if time.time() - attempted.get("at", 0) < doubt_seconds:
        raise SiteUnavailable(
            f"It is not known yet whether Slurm took the job of {folder.name}; it is looked for again."
        )
    return ""


def look_up(folder: NodeFolder, mark: str) -> Job | None:
    """The node's job by its name, among those that the scheduler knows and those that the accounting knows.

    Raises SiteUnavailable.
    """
    queued = [job for job in commands.jobs_called(folder.name) if job.comment in {mark, ""}]
    since = folder.read("attempted").get("at", time.time())
    found = queued or commands.accounted((), folder.name, since) or []
    earlier = folder.read("attempted").get("earlier", [])
    found = [job for job in found if job.id not in earlier]
    living = [job for job in found if not is_terminal(job.state)]
    return min(living or found, key=lambda job: int(job.id) if job.id.isdecimal() else 0, default=None)


def _has_ended(folder: NodeFolder, job: str) -> bool:
    """Without a question to the scheduler, unless the job was told to end and left no word of it."""
    if folder.is_over(job):
        return True
    if not folder.read_of("stopping", job):
        return False
    found = commands.job_of(job)
    return found is None or found.name != folder.name or is_terminal(found.state)


def _submit(folder: NodeFolder, lock: int, script: str, token: str) -> str:
    earlier = [*folder.read("attempted").get("earlier", []), *filter(None, (folder.job,))]
    folder.clear()
    folder.write("token", f"{token}\n")
    folder.write("batch.sh", script, 0o700)
    folder.mark("attempted", at=time.time(), earlier=earlier)
    try:
        result, told = commands.submit(folder.path, lock)
    except (LauncherError, OSError):  # nothing was run
        folder.unmark("attempted.json", "token")
        raise
    if result is Outcome.TAKEN:
        return _remember(folder, told)
    if result is Outcome.IN_DOUBT:
        raise SiteUnavailable(f"It is not known whether Slurm took the job: {told}")
    folder.unmark("attempted.json", "token")
    if result is Outcome.NOT_SENT:
        raise SiteUnavailable(f"The scheduler does not answer: {told}")
    raise LauncherError(f"Slurm refused the job: {told}")


def _remember(folder: NodeFolder, job: str) -> str:
    """A full disk does not make us forget: the job is found by its name."""
    with contextlib.suppress(OSError):
        folder.mark("job", job=job, at=time.time())
    return job
