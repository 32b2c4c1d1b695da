"""Looking at every node of a site with one question to the scheduler; done at the login host.

A job that the scheduler knows is what it says. Of one that it does not know, the folder may tell the end, then the
accounting; with no witness it is gone only once the scheduler has not known it for a while.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rrm.errors import SiteUnavailable
from rrm.launchers import logs
from rrm.launchers.base import Liveness, Observation
from rrm.launchers.slurm import commands
from rrm.launchers.slurm.answers import Job
from rrm.launchers.slurm.folder import NodeFolder
from rrm.launchers.slurm.states import observe, status_words
from rrm.launchers.slurm.submitting import known_job

_ABSENT_SECONDS = 15.0
_TRIMMED_AT_ONCE, _TURN_SECONDS = 50, 10
_ABSENT_DESPITE_ACCOUNTING_SECONDS = 600.0
_LIVING = {Liveness.PENDING, Liveness.RUNNING}
_MEMORY = ("oom-kill", "oom_kill", "out of memory", "exceeded memory limit", "exceeded job memory limit")
# How slurmstepd tells them in the job's log.
_CAUSES = {
    "TIME LIMIT": "Its job reached its time limit.",
    "PREEMPTION": "Its job made room for one of higher priority.",
    "NODE FAILURE": "A machine of its job failed.",
}

Seen = tuple[Observation, str]
"""What is known of a node, and the number of its job."""


def survey(root: Path, handles: Sequence[Mapping[str, Any]], mark: str) -> dict[str, Any]:
    """{"nodes": {name: [liveness, reason, ends_at, job]}, "jobs": {name: [job, machines, the same three]}}.

    `nodes` has what was asked for, `jobs` every living job of ours. Raises SiteUnavailable.
    """
    jobs = commands.all_jobs()
    ours = [job for job in jobs if job.comment == mark]
    living = _one_of_each(root, [job for job in ours if _is_living(job)])
    by_id = {job.id: job for job in jobs}
    missing: dict[str, tuple[NodeFolder, str]] = {}
    nodes: dict[str, Seen] = {}
    for handle in handles:
        name = str(handle["name"])
        folder = NodeFolder(root, str(handle.get("of", name)))
        job = str(handle.get("job", "")) or known_job(folder) or getattr(living.get(folder.name), "id", "")
        seen = _seen(folder, by_id.get(job), job, handle.get("member"))
        if seen is None:
            missing[name] = (folder, job)
        else:
            nodes[name] = seen, job
    nodes |= _without(missing)
    _trim_some(root, handles)
    return {
        "nodes": {name: [*_told(seen), job] for name, (seen, job) in nodes.items()},
        "jobs": {job.name: [job.id, job.machines, *_told(_observed(job))] for job in living.values()},
    }


def _trim_some(root: Path, handles: Sequence[Mapping[str, Any]]) -> None:
    """Keep logs to their size: of a few nodes each time, since to look is a question to a shared disk."""
    names = sorted({str(handle.get("of", handle["name"])) for handle in handles})
    turns = len(names) // _TRIMMED_AT_ONCE + 1
    for name in names[int(time.time() / _TURN_SECONDS) % turns :: turns]:
        with contextlib.suppress(OSError):
            logs.trim(NodeFolder(root, name).path)


def _told(seen: Observation) -> list[str]:
    return [seen.liveness.value, seen.reason, seen.ends_at.isoformat() if seen.ends_at else ""]


def _observed(job: Job) -> Observation:
    return observe(job.state, job.reason, job.ends_at, job.exit_status)


def _is_living(job: Job) -> bool:
    """Whether it may still run as a node; a job that is ending is nobody's stray."""
    return _observed(job).liveness in _LIVING and "COMPLETING" not in job.state and "STAGE_OUT" not in job.state


def _one_of_each(root: Path, living: Iterable[Job]) -> dict[str, Job]:
    """One living job for each name. Of two, the one that is not the node's is cancelled, and so is a job that waits to

    run a second time: this very answer proved them to be ours.
    """
    found: dict[str, list[Job]] = {}
    for job in living:
        found.setdefault(job.name, []).append(job)
    kept = {
        name: jobs[0] if len(jobs) == 1 else _the_nodes(NodeFolder(root, name), jobs) for name, jobs in found.items()
    }
    doubles = [job for name, jobs in found.items() for job in jobs if job.id != kept[name].id]
    waiting_again = [
        job for job in kept.values() if job.state != "RUNNING" and _waits_again(NodeFolder(root, job.name), job)
    ]
    if doubles or waiting_again:
        with contextlib.suppress(SiteUnavailable):
            commands.scancel(*(job.id for job in (*doubles, *waiting_again)))
    return {name: job for name, job in kept.items() if job not in waiting_again}


def _waits_again(folder: NodeFolder, job: Job) -> bool:
    """Whether a job that has run already was put back into the queue."""
    return _observed(job).liveness is Liveness.PENDING and folder.claim == job.id


def _the_nodes(folder: NodeFolder, jobs: Sequence[Job]) -> Job:
    known = folder.claim or folder.job
    return next((job for job in jobs if job.id == known), min(jobs, key=lambda job: int(job.id)))


def _seen(folder: NodeFolder, job: Job | None, number: str, member: int | None) -> Observation | None:
    """What the scheduler or the folder knows; None when neither does."""
    if member is not None:
        ended = folder.read_of(f"exit.{member}", number)
        if ended:
            return _ended_itself(ended, "It")
    if not number:
        attempted = bool(folder.read("attempted"))
        unknown = Observation(Liveness.UNKNOWN, "It is not known yet whether Slurm took its job.")
        return unknown if attempted else Observation(Liveness.GONE, "It was never submitted.")
    if job is not None and job.name == folder.name:
        return _in_queue(folder, job)
    for mark in ("ended", "exit"):
        found = folder.read_of(mark, number)
        if found:
            gone = Observation(Liveness.GONE, found["reason"]) if mark == "ended" else _ended_itself(found, "Its job")
            return _noted(folder, number, gone)
    if folder.job not in {"", number}:  # which was submitted because this one had ended
        return Observation(Liveness.GONE, "A later job has its name.")
    return None


def _ended_itself(found: Mapping[str, Any], what: str) -> Observation:
    return Observation(Liveness.GONE, f"{what} ended: {status_words(int(found.get('status', 0)))}.")


def _in_queue(folder: NodeFolder, job: Job) -> Observation:
    if job.state in {"FAILED", "COMPLETED"}:
        status = folder.read_of("exit", job.id).get("status")
        job = replace(job, exit_status=status if isinstance(status, int) else None)
    seen = _observed(job)
    if _waits_again(folder, job):
        again = "Its job was stopped and put back into the queue; a node runs once."
        return _noted(folder, job.id, Observation(Liveness.GONE, again))
    if seen.liveness is Liveness.GONE:
        return _noted(folder, job.id, seen)
    if folder.read("absent"):
        with contextlib.suppress(OSError):
            folder.unmark("absent.json")
    return seen


def _noted(folder: NodeFolder, job: str, gone: Observation) -> Observation:
    """The end with the best reason there is, written down once: the scheduler forgets it after some minutes."""
    known = folder.read_of("ended", job)
    if known:
        return replace(gone, reason=str(known["reason"]))
    gone = replace(gone, reason=_why(folder, job) or gone.reason)
    with contextlib.suppress(OSError):
        folder.mark("ended", job=job, reason=gone.reason)
    return gone


def _why(folder: NodeFolder, job: str) -> str:
    """What the folder knows of an end, "" when it knows nothing."""
    stopping, last = folder.read_of("stopping", job), folder.tail("err.log", 20)
    cancelled = re.search(rf"(?:JOB|STEP) {re.escape(job)}\b.* CANCELLED AT \S+(?: DUE TO ([A-Z ]+))?", last)
    # A node whose job somebody else cancels says goodbye, upon which we see it off: that is not why it ended.
    if stopping and (stopping.get("forced") or not cancelled):
        return "Ended as it was told to."
    cause = _CAUSES.get((cancelled[1] or "").strip(), "") if cancelled else ""
    if not cause and any(word in last.lower() for word in _MEMORY):
        return "Its job needed more memory than it had asked for."
    if not cancelled and folder.read_of("exit", job).get("told"):
        return "Ended because it was told that its time limit was near."
    return cause


def _without(missing: Mapping[str, tuple[NodeFolder, str]]) -> dict[str, Seen]:
    """Nodes whose job neither the scheduler nor their folder knows: the accounting is asked once for all of them."""
    if not missing:
        return {}
    since = min(folder.read("job").get("at", time.time() - 86400) for folder, _ in missing.values())
    try:
        records = commands.accounted(sorted({job for _, job in missing.values()}), "", since) or []
    except SiteUnavailable:
        records = []
    by_id = {record.id: record for record in records}  # the last of a job that was put back counts
    return {name: (_accounted(folder, job, by_id.get(job)), job) for name, (folder, job) in missing.items()}


def _accounted(folder: NodeFolder, job: str, record: Job | None) -> Observation:
    known = record if record is not None and record.name == folder.name else None
    seen = _observed(known) if known else Observation(Liveness.UNKNOWN)
    if seen.liveness is Liveness.GONE:
        return _noted(folder, job, seen)
    patience = _ABSENT_DESPITE_ACCOUNTING_SECONDS if known else _ABSENT_SECONDS
    if _absent_for(folder, job) < patience:
        return Observation(Liveness.UNKNOWN, "The scheduler does not know its job; it is looked for again.")
    return _noted(folder, job, Observation(Liveness.GONE, "The scheduler has forgotten its job."))


def _absent_for(folder: NodeFolder, job: str) -> float:
    """Seconds since the scheduler first did not know the job."""
    noted = folder.read_of("absent", job)
    if not noted:
        with contextlib.suppress(OSError):
            folder.mark("absent", job=job, since=time.time())
    return float(time.time() - noted["since"]) if noted else 0.0
