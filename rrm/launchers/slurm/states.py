"""What Slurm's words for the state of a job mean for its node.

A job has one base state and any number of flags; squeue shows the flag that matters most, newer programs show several
words. The words are those of `squeue -o %T` and of `sacct -o State`, never the two-letter forms, whose meaning differs.
"""

from __future__ import annotations

import re
from datetime import datetime

from rrm.launchers.base import Liveness, Observation
from rrm.launchers.slurm.reasons import pending_reason

BASE_STATES = {
    "PENDING": Liveness.PENDING,
    "RUNNING": Liveness.RUNNING,
    "SUSPENDED": Liveness.RUNNING,
    "COMPLETED": Liveness.GONE,
    "CANCELLED": Liveness.GONE,
    "FAILED": Liveness.GONE,
    "TIMEOUT": Liveness.GONE,
    "NODE_FAIL": Liveness.GONE,
    "PREEMPTED": Liveness.GONE,
    "BOOT_FAIL": Liveness.GONE,
    "DEADLINE": Liveness.GONE,
    "OUT_OF_MEMORY": Liveness.GONE,
}

# Those that decide, the first of them first; None leaves it to the base state.
FLAGS: dict[str, tuple[Liveness | None, str]] = {
    "COMPLETING": (Liveness.RUNNING, "Its job is ending."),
    "STAGE_OUT": (Liveness.RUNNING, "Its job is ending: files are being copied back."),
    "REVOKED": (Liveness.UNKNOWN, "Its job runs at another cluster of the federation."),
    "REQUEUE_HOLD": (Liveness.PENDING, "Its job was put back into the queue and is held."),
    "SPECIAL_EXIT": (Liveness.PENDING, "Its job was put back into the queue and is held (special exit)."),
    "RESV_DEL_HOLD": (Liveness.PENDING, "Its job is held: its reservation was deleted."),
    "REQUEUE_FED": (Liveness.PENDING, "Its job was put back into the queue of the federation."),
    "REQUEUED": (Liveness.PENDING, "Its job was put back into the queue."),
    "REQUEUE": (Liveness.PENDING, "Its job was put back into the queue."),
    "CONFIGURING": (Liveness.PENDING, "Its machines are being made ready."),
    "POWER_UP_NODE": (Liveness.PENDING, "Its machines are being powered up."),
    "STOPPED": (Liveness.RUNNING, "Its job was stopped by a signal."),
    "LAUNCH_FAILED": (None, "Its job could not be launched."),
    "GETENV_FAILED": (None, "The account's environment could not be read."),
    "RECONFIG_FAIL": (None, "Its machines could not be set up."),
    "RESIZING": (None, "Its job is changing its size."),
    "SIGNALING": (None, ""),
    "EXPEDITING": (None, ""),
    "UPDATE_DB": (None, ""),
}
# What a flag that came without a base state stands for.
_ALONE = {"RESIZING", "SIGNALING", "UPDATE_DB"}
_ENDED = {
    "COMPLETED": "Its job ended by itself",
    "CANCELLED": "Its job was cancelled",
    "FAILED": "Its job failed",
    "TIMEOUT": "Its job reached its time limit",
    "NODE_FAIL": "A machine of its job failed",
    "PREEMPTED": "Its job made room for one of higher priority",
    "BOOT_FAIL": "A machine of its job did not boot",
    "DEADLINE": "Its job could not end before its deadline",
    "OUT_OF_MEMORY": "Its job needed more memory than it had asked for",
}
_BY_WHOM = re.compile(r"CANCELLED(?:\s|\+)+by(?:\s|\+)+(\d+)")
_DETAILS = {
    "JobLaunchFailure": "it could not be launched, or something killed it",
    "RaisedSignal": "something killed it",
    "InactiveLimit": "it was inactive for too long",
    "JobHeldAdmin": "held by an administrator",
    "JobHeldUser": "held by its user",
}


def observe(
    state: str, reason: str = "", ends_at: datetime | None = None, exit_status: int | None = None
) -> Observation:
    """What a job's words say of its node. `reason` is Slurm's; `exit_status` a shell's, where it is known."""
    by_whom = _BY_WHOM.search(state)
    words = [
        word for word in re.split(r"[\s+,]+", state.strip().upper()) if word and not word.isdecimal() and word != "BY"
    ]
    base = next((word for word in words if word in BASE_STATES), "")
    flag = next((word for word in FLAGS if word in words), "")
    if not words or not (base or flag):
        return Observation(
            Liveness.UNKNOWN, f"Slurm shows a state that is not known here: {state.strip() or 'nothing'}."
        )
    liveness, said = FLAGS.get(flag, (None, ""))
    if liveness is None:
        liveness = BASE_STATES[base] if base else _alone(flag)
    return Observation(liveness, said or _why(base, reason, by_whom, exit_status), ends_at if _runs(liveness) else None)


def is_terminal(state: str) -> bool:
    return observe(state).liveness is Liveness.GONE


def _alone(flag: str) -> Liveness:
    return Liveness.RUNNING if flag in _ALONE else Liveness.PENDING if flag == "EXPEDITING" else Liveness.GONE


def _runs(liveness: Liveness) -> bool:
    return liveness is Liveness.RUNNING


def _why(base: str, reason: str, by_whom: re.Match[str] | None, exit_status: int | None) -> str:
    if base == "PENDING":
        return pending_reason(reason)
    if base == "SUSPENDED":
        return "Its job is suspended."
    if base not in _ENDED:
        return ""
    details = [_DETAILS[reason]] if reason in _DETAILS else []
    if by_whom:
        details.append(f"by user {by_whom[1]}")
    if exit_status is not None and base in {"FAILED", "COMPLETED"}:
        details.append(status_words(exit_status))
    return f"{_ENDED[base]}{': ' if details else ''}{', '.join(details)} ({base})."


def status_words(status: int) -> str:
    """An exit status as a shell tells it: more than 128 is a signal."""
    return f"signal {status - 128}" if 128 < status < 193 else f"exit code {status}"
