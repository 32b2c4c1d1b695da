"""The process table: starts children in order, restarts what dies with back-off, stops everything within a limit."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from rrm.supervisor.children import ChildSpec, exit_text, signal_group, start

_FIRST_DELAY_SECONDS = 0.5
_LONGEST_DELAY_SECONDS = 15.0
_STEADY_SECONDS = 30.0  # a child that lived this long starts again without the delays of earlier deaths
_PAUSE_SECONDS = 0.05
_KILL_SECONDS = 1.0  # a process waiting for a dead disk cannot even be killed


def delay(failures: int) -> float:
    """Seconds to wait before the next start after `failures` deaths in a row: 0.5 s doubling to 15 s."""
    return min(_FIRST_DELAY_SECONDS * 2.0 ** min(failures - 1, 10), _LONGEST_DELAY_SECONDS)


@dataclass
class Row:
    """One child's state: running (`process` set) or waiting to be started at `due`."""

    spec: ChildSpec
    process: subprocess.Popen[bytes] | None = None
    ready: bool = False
    started: float = 0.0
    due: float = 0.0
    failures: int = 0

    @property
    def pid(self) -> int:
        """The running child's pid, 0 while it is down."""
        return self.process.pid if self.process is not None else 0


class ProcessTable:
    """Children by name. `tick` is called a few times a second and never blocks."""

    def __init__(self, specs: Iterable[ChildSpec], cwd: Path, say: Callable[[str], None]) -> None:
        self.rows = {spec.name: Row(spec) for spec in specs}
        self._cwd = cwd
        self._say = say

    def tick(self) -> None:
        """Reap what ended, start what is due, note what became ready."""
        self.reap()
        now = time.monotonic()
        for row in self.rows.values():
            if not row.pid and now >= row.due and self._may_start(row):
                self._start(row, now)
            elif row.pid and not row.ready:
                row.ready = row.spec.ready()

    def uptime(self, name: str) -> float:
        """Seconds since the child was last started; 0 while it is down."""
        row = self.rows[name]
        return time.monotonic() - row.started if row.pid else 0.0

    def restart(self, name: str, reason: str) -> None:
        """End a child that lives but does not work; the next ticks start it again."""
        row = self.rows[name]
        if row.pid:
            self._say(f"{name} is ended and started again: {reason}")
            signal_group(row.pid, signal.SIGKILL)

    def reap(self) -> None:
        """Collect every ended descendant: children of the table, and orphans that were handed to this process."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                for row in self.rows.values():
                    if row.pid == pid:
                        self._ended(row, status)

    def ask(self, *names: str) -> None:
        """TERM some children, once, and start them no more."""
        for row in (self.rows[name] for name in names if name in self.rows):
            if row.due != float("inf"):
                row.due = float("inf")
                if row.pid:
                    signal_group(row.pid, signal.SIGTERM)

    def stop(self, name: str, hurry: Callable[[], bool] = lambda: False) -> None:
        """TERM one child, KILL its whole session when `stop_seconds` are over or `hurry()` says so."""
        row = self.rows[name]
        self.ask(name)
        if not row.pid:
            return
        pid = row.pid
        limit = time.monotonic() + row.spec.stop_seconds
        while row.pid and time.monotonic() < limit and not hurry():
            time.sleep(_PAUSE_SECONDS)
            self.reap()
        signal_group(pid, signal.SIGKILL)
        limit = time.monotonic() + _KILL_SECONDS
        while row.pid and time.monotonic() < limit:
            time.sleep(_PAUSE_SECONDS)
            self.reap()

    def _may_start(self, row: Row) -> bool:
        return all(self.rows[name].ready for name in row.spec.after)

    def _start(self, row: Row, now: float) -> None:
        try:
            row.process = start(row.spec, self._cwd)
        except OSError as error:
            self._postpone(row, f"{row.spec.name} cannot be started ({error.strerror})")
            return
        row.started, row.ready = now, False

    def _ended(self, row: Row, status: int) -> None:
        if row.process is not None:
            row.process.returncode = os.waitstatus_to_exitcode(status)  # waited for here, not by subprocess
        signal_group(row.pid, signal.SIGKILL)  # what it forked must not live on beside its successor
        if time.monotonic() - row.started >= _STEADY_SECONDS:
            row.failures = 0
        row.process, row.ready = None, False
        if row.due == float("inf"):
            return
        self._postpone(row, f"{row.spec.name} ended ({exit_text(status)})")
        for other in self.rows.values():
            if row.spec.name in other.spec.after:
                self.restart(other.spec.name, f"{row.spec.name} ended")

    def _postpone(self, row: Row, what: str) -> None:
        row.failures += 1
        wait = delay(row.failures)
        row.due = time.monotonic() + wait
        self._say(f"{what}; next start in {wait:g} s; see {row.spec.log}")
