"""One child process: how it is described, started and signalled."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # prctl(2)
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class ChildSpec:
    """What to run. `after` names the children that must be ready first and whose death restarts this one too."""

    name: str
    argv: tuple[str, ...]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    pass_fds: tuple[int, ...] = ()
    ready: Callable[[], bool] = lambda: True
    stop_seconds: float = 3.0


def start(spec: ChildSpec, cwd: Path) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own: a terminal's Ctrl-C reaches the supervisor alone. Raises OSError."""
    bind = bound_to(os.getpid(), signal.SIGKILL)

    def prepare() -> None:
        bind()
        signal.pthread_sigmask(signal.SIG_SETMASK, set())

    spec.log.parent.mkdir(parents=True, exist_ok=True)
    # Opened for appending, so that the log can be cut while the child keeps it open.
    with open(os.open(spec.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as log:
        return subprocess.Popen(
            spec.argv,
            cwd=cwd,
            env=dict(spec.environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=spec.pass_fds,
            start_new_session=True,
            preexec_fn=prepare,  # safe: no other Python thread runs here, and prctl has to be called in the child
        )


def bound_to(parent: int, number: signal.Signals) -> Callable[[], None]:
    """What a new child calls to get signal `number` from the kernel when `parent` dies, however that happens."""

    def bind() -> None:
        _prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it died before that took effect
            os._exit(1)

    return bind


def signal_group(pid: int, number: signal.Signals) -> None:
    """Signal a child and everything it forked into its session; nothing happens when all have gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose own parent dies, so that it can reap them."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if _LIBC is not None:
        _LIBC.prctl(option, value, 0, 0, 0)


def exit_text(status: int) -> str:
    """A wait status in words."""
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit code {os.waitstatus_to_exitcode(status)}"
