"""Processes recognised by their environment, never by a remembered pid: a pid may belong to somebody else by now."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_PAUSE_SECONDS = 0.05

Markers = Mapping[str, str]
Claim = Callable[[Markers], bool]


@dataclass(frozen=True)
class Process:
    """A live process of this user and the environment it was started with."""

    pid: int
    environment: Markers


def find(claim: Claim) -> list[Process]:
    """Live processes of this user, except this one, whose environment satisfies `claim`. Zombies are not alive."""
    return [process for process in _living() if process.pid != os.getpid() and claim(process.environment)]


def send(process: Process, number: signal.Signals) -> None:
    """Signal exactly this process; does nothing when it has gone, even if its pid is in use again."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(process.pid)
        try:
            if _environment(process.pid) == process.environment:
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def end(claim: Claim, grace: float, reap: Callable[[], object] = lambda: None) -> int:
    """TERM every process that satisfies `claim`, KILL what is left after `grace` seconds. Returns how many."""
    first = find(claim)
    for process in first:
        send(process, signal.SIGTERM)
    wait_gone(claim, grace, reap)
    for process in find(claim):
        send(process, signal.SIGKILL)
    wait_gone(claim, 1.0, reap)
    return len(first)


def wait_gone(claim: Claim, seconds: float, reap: Callable[[], object] = lambda: None) -> bool:
    """Wait until no process satisfies `claim`, at most `seconds`."""
    limit = time.monotonic() + seconds
    while find(claim):
        if time.monotonic() >= limit:
            return False
        time.sleep(_PAUSE_SECONDS)
        reap()
    return True


def _living() -> Iterator[Process]:
    if not _PROC.is_dir():  # another operating system: nothing can be recognised there
        return
    own = os.geteuid()
    for entry in os.scandir(_PROC):
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if entry.stat().st_uid == own:
                environment = _environment(int(entry.name))
                if environment:
                    yield Process(int(entry.name), environment)


def _environment(pid: int) -> dict[str, str]:
    """The environment a process was started with; empty for a zombie, a kernel thread or one that has gone."""
    try:
        raw = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return {}
    pairs = (os.fsdecode(item).partition("=") for item in raw.split(b"\0") if b"=" in item)
    return {name: value for name, _, value in pairs}
