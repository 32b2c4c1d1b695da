"""Nodes as processes of this machine.

A node's folder DATA/nodes/NAME has its record `pid.json`, its logs `out.log` and `err.log`, and a lock that makes
launches of one name take turns. A process is known by its pid, its start time and the boot it belongs to, so that
neither a restart of the manager nor a re-used pid confuses it with another.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from rrm.errors import LauncherError
from rrm.launchers import detach, logs
from rrm.launchers.base import Handle, Launcher, Liveness, NodeSpec, Observation, Stream, Survey, agent_command
from rrm.launchers.detach import PROC, boot_id, stat_fields, state_and_start
from rrm.launchers.logs import LOG_BYTES

FOLDERS_KEPT = 200

_DETACH = detach.source()
_START_SECONDS = 30
_TELLING = ("Threads", "VmRSS", "VmHWM")  # of proc(5), status
_KILL_SECONDS = 10
_POLL_SECONDS = 0.02
_EXITED = {"Z", "X", "x"}
_SESSION = 3  # among the fields of /proc/PID/stat from the state on
# What a process needs to find programs, libraries, caches and its language; nothing that could be a secret.
_PASSED_ON = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LC_\w+|TZ|TMPDIR|VIRTUAL_ENV|PYTHON\w+|LD_LIBRARY_PATH|XDG_\w+_(HOME|DIR)"
    r"|(NUMBA|OMP|MKL|OPENBLAS)_\w+|CUDA_VISIBLE_DEVICES|RRM_KERNEL(_CACHE)?|SSL_CERT_(FILE|DIR)|COVERAGE_\w+"
)


class LocalLauncher(Launcher):
    """Renderer nodes under `data_dir`/nodes; the package `renderers` is in `root`, /proc in `proc`."""

    def __init__(
        self, data_dir: Path, *, root: Path | None = None, proc: Path = PROC, log_bytes: int = LOG_BYTES
    ) -> None:
        self._data = data_dir.resolve()
        self._nodes = self._data / "nodes"
        self._root = root or Path(__file__).resolve().parents[2]
        self._proc = proc
        self._log_bytes = log_bytes

    def launch(self, spec: NodeSpec) -> Handle:
        folder = self._nodes / spec.name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(folder / "lock") as lock:
            handle = self._recorded(spec.name)
            if handle is None or self._require_known(handle) is Liveness.GONE:
                self._start(spec, folder, lock)
                handle = self._recorded(spec.name)
        if handle is None:
            raise LauncherError(f"node {spec.name} left no record")
        self._sweep()
        return handle

    def script(self, spec: NodeSpec) -> str:
        return shlex.join(spec.command or agent_command(spec, sys.executable))

    def survey(self, handles: Sequence[Handle]) -> Survey:
        """As promised by the contract; looking at a node also cuts its logs to size."""
        seen: dict[str, Observation] = {}
        for handle in handles:
            known = self._known(handle)
            seen[handle["name"]] = Observation(Liveness.GONE if known is None else self._look(known))
            with suppress(OSError):
                logs.trim(self._nodes / handle["name"], self._log_bytes)
        try:
            return Survey(seen, {name: handle for name, handle in self._running().items() if name not in seen})
        except LauncherError as error:
            return Survey({name: Observation(Liveness.UNKNOWN) for name in seen}, problem=error.detail)

    def stop(self, handle: Handle, grace: timedelta) -> bool:
        known = self._known(handle)
        if known is None:
            return True
        self._signal(known, signal.SIGTERM)
        if not _until(lambda: self._ended(known), grace.total_seconds()):
            self._signal(known, signal.SIGKILL)
        if not _until(lambda: self._ended(known) and not self._kill_left_over(known), _KILL_SECONDS):
            raise LauncherError(f"process {known['pid']} of node {known['name']} does not end")
        return True

    def logs(self, handle: Handle, stream: Stream, tail: int) -> str:
        return logs.tail(self._nodes / handle["name"] / f"{stream}.log", tail)

    def account(self, handle: Handle) -> str:
        known = self._known(handle)
        if known is None:
            return f"{handle['name']}: no such process.\n"
        lines = {"name": known["name"], "process": known["pid"], "state": str(self._look(known))}
        with suppress(OSError):
            status = (self._proc / f"{known['pid']}/status").read_text()
            facts = dict(line.split(":", 1) for line in status.splitlines())
            lines |= {name: facts[name].strip() for name in _TELLING if name in facts}
        return "".join(f"{name}: {value}\n" for name, value in lines.items())

    def _running(self) -> dict[str, Handle]:
        recorded = (self._recorded(path.parent.name) for path in self._nodes.glob("*/pid.json"))
        return {
            handle["name"]: handle
            for handle in recorded
            if handle is not None and self._require_known(handle) is Liveness.RUNNING
        }

    def _start(self, spec: NodeSpec, folder: Path, lock: int) -> None:
        """Run the node's command detached, with the token on its standard input."""
        command = spec.command or agent_command(spec, sys.executable)
        logs = [str(folder / name) for name in ("out.log", "err.log")]
        starter = [sys.executable, "-I", "-S", "-c", _DETACH, str(lock), str(folder / "pid.json"), spec.name, *logs]
        read, write = os.pipe()
        try:
            os.write(write, f"{spec.token}\n".encode())  # far less than a pipe holds, so this never waits
            os.close(write)
            subprocess.run(
                [*starter, *command],
                stdin=read,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd=self._root,
                env=self._environment(spec),
                pass_fds=(lock,),
                start_new_session=True,
                timeout=_START_SECONDS,
                check=True,
            )
        except subprocess.CalledProcessError as failed:
            said = failed.stderr.decode(errors="replace").strip()
            raise LauncherError(f"node {spec.name} could not be started: {said[-500:]}") from None
        except (OSError, subprocess.TimeoutExpired) as failed:
            raise LauncherError(f"node {spec.name} could not be started: {failed}") from failed
        finally:
            os.close(read)

    def _environment(self, spec: NodeSpec) -> dict[str, str]:
        passed_on = {name: value for name, value in os.environ.items() if _PASSED_ON.fullmatch(name)}
        own = {"RRM_NODE_NAME": spec.name, "RRM_DATA": str(self._data), "PYTHONUNBUFFERED": "1"}
        return passed_on | dict(spec.environment) | own

    def _known(self, handle: Handle) -> Handle | None:
        """The handle, or the record of that name when the answer of its launch was lost; None if never started."""
        return handle if "pid" in handle else self._recorded(handle["name"])

    def _recorded(self, name: str) -> Handle | None:
        try:
            record = json.loads((self._nodes / name / "pid.json").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return dict(record)

    def _look(self, handle: Handle) -> Liveness:
        try:
            boot = boot_id(self._proc)
        except OSError:  # without this file there is no telling what a missing process means
            return Liveness.UNKNOWN
        try:
            state, start = state_and_start(int(handle["pid"]), self._proc)
        except (FileNotFoundError, ProcessLookupError):
            return Liveness.GONE
        except (OSError, ValueError):
            return Liveness.UNKNOWN
        same = (boot, start) == (handle.get("boot"), handle.get("start"))
        return Liveness.RUNNING if same and state not in _EXITED else Liveness.GONE

    def _require_known(self, handle: Handle) -> Liveness:
        seen = self._look(handle)
        if seen is Liveness.UNKNOWN:
            raise LauncherError(f"cannot tell whether node {handle['name']} runs: {self._proc} does not show it")
        return seen

    def _ended(self, handle: Handle) -> bool:
        return self._require_known(handle) is Liveness.GONE

    def _signal(self, handle: Handle, number: signal.Signals) -> None:
        """Signal the node's whole group, if it is still the node's."""
        if not self._ended(handle):
            with suppress(ProcessLookupError):
                os.killpg(handle["pid"], number)

    def _kill_left_over(self, handle: Handle) -> bool:
        """Kill what outlived the node in its session; whether there was anything."""
        if self._taken_over(handle):
            return False
        left_over = [pid for pid in self._pids() if self._is_of(handle, pid)]
        for pid in left_over:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(left_over)

    def _taken_over(self, handle: Handle) -> bool:
        """Whether another process has the node's pid: the kernel gives it away only once the whole session is gone."""
        try:
            return state_and_start(int(handle["pid"]), self._proc)[1] != handle.get("start")
        except (FileNotFoundError, ProcessLookupError):
            return False

    def _pids(self) -> Iterator[int]:
        return (int(path.name) for path in self._proc.iterdir() if path.name.isdecimal())

    def _is_of(self, handle: Handle, pid: int) -> bool:
        """Whether a process is alive, in the node's session, and was started with the node's name."""
        mark = f"RRM_NODE_NAME={handle['name']}".encode()
        # It may end while we look at it, and those of others do not show their environment.
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            fields = stat_fields(pid, self._proc)
            if str(handle["pid"]) == fields[_SESSION] and fields[0] not in _EXITED:
                return mark in (self._proc / str(pid) / "environ").read_bytes().split(b"\0")
        return False

    def _sweep(self) -> None:
        """Forget the folders of nodes long gone, so that they do not pile up."""
        folders = sorted(self._nodes.iterdir(), key=lambda folder: folder.stat().st_mtime, reverse=True)
        for folder in folders[FOLDERS_KEPT:]:
            handle = self._recorded(folder.name)
            if handle is not None and self._look(handle) is Liveness.GONE:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Hold the lock; gives its descriptor. Waits for another launch of this name, which is bounded."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition came true within so many seconds; it is looked at once at least."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(_POLL_SECONDS)
    return True
