"""The embedded mode from start to stop: lock, port, first start, main loop, orderly end."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rrm.config import RrmConfig
from rrm.supervisor import embedded, guard, logs, processes
from rrm.supervisor.children import adopt_orphans
from rrm.supervisor.table import ProcessTable

_ROOT = Path(__file__).resolve().parents[2]
_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_TICK_SECONDS = 0.2
_START_PROBE_SECONDS = 0.4
_PROBE_PERIOD_SECONDS = 5.0
_LATE_SECONDS = 30.0
_SILENT_SECONDS = 60.0
_NODE_STOP_SECONDS = 3.0
_STOP_SECONDS = 7.0  # after these whatever is left is killed: ten seconds in all

Say = Callable[[str], None]


class CannotStart(RuntimeError):
    """Why this run cannot begin, and what to do about it."""


@contextmanager
def locked(config: RrmConfig) -> Iterator[None]:
    """Hold the folder for this process alone. Raises CannotStart while another run has it."""
    path = config.data_dir / "run.lock"
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CannotStart(
                f"{config.data_dir} is in use by a running RRM ({file.read().strip() or 'starting'}).\n"
                "Stop that one, or give this one a folder and a port of its own: "
                f"RRM_DATA=var2 RRM_PORT={config.port + 1} make run"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()}, http://{config.host}:{config.port}/")
        file.flush()
        yield


def listen(host: str, port: int) -> socket.socket:
    """The socket that web processes serve. Raises CannotStart when it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            remedy = f"Port {port} on {host} is in use by another program. Choose another: RRM_PORT={port + 1} make run"
            raise CannotStart(remedy) from None
        raise CannotStart(f"Cannot listen on {host}:{port}: {error.strerror}") from None
    return listener


def keep_signals() -> None:
    """Have this thread, the main one, find the stop signals when it asks for them, whichever thread they are sent to.

    What started before may have left a thread that does not block them: there they would end the process at once.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    for number in _SIGNALS:
        signal.signal(number, _pass_on)


def _pass_on(number: int, _frame: object) -> None:
    """Python's handlers run in the main thread, where the signal waits until it is asked for."""
    signal.pthread_kill(threading.get_ident(), number)


@dataclass
class Watchdog:
    """Tells when a worker that lives has stood still too long."""

    stalled_since: float | None = None

    def bites(self, *, stalled: bool, uptime: float, now: float) -> bool:
        """Whether it is time to restart; counts from zero again afterwards. Seconds on one monotonic clock."""
        if not stalled:
            self.stalled_since = None
            return False
        self.stalled_since = now if self.stalled_since is None else self.stalled_since
        if min(now - self.stalled_since, uptime) <= _SILENT_SECONDS:
            return False
        self.stalled_since = None
        return True


class Program:
    """One run on a prepared folder."""

    def __init__(self, config: RrmConfig, listener: socket.socket, say: Say, when_ready: Callable[[], None]) -> None:
        self._config = config
        self._say = say
        self._when_ready = when_ready
        self._run = secrets.token_hex(8)
        self._url = f"http://{config.host}:{config.port}"
        self._table = ProcessTable(embedded.children(config, self._run, listener), _ROOT, say)
        self._started = time.monotonic()
        self._next_probe = 0.0
        self._watchdog = Watchdog()
        self._announced = False
        self._warned = False

    def serve(self) -> None:
        """Run until a signal asks to stop, then stop everything. Blocks the stop signals for this process."""
        adopt_orphans()
        self._end_leftovers()
        watch = guard.post(embedded.RUN, self._run, _ROOT)
        keep_signals()
        try:
            while signal.sigtimedwait(_SIGNALS, _TICK_SECONDS) is None:
                self._tick()
            self._say("stopping")
        finally:
            self._stop()
            if watch.stdin is not None:
                watch.stdin.close()
        self._say("stopped")

    def _tick(self) -> None:
        self._table.tick()
        now = time.monotonic()
        if now < self._next_probe:
            return
        health = embedded.health(self._url)
        self._next_probe = now + (_PROBE_PERIOD_SECONDS if self._announced else _START_PROBE_SECONDS)
        if self._announced:
            self._watch(health, now)
            logs.rotate(self._config.data_dir / "logs")
        elif health.ready:
            self._announced = True
            self._when_ready()
        elif not self._warned and now - self._started > _LATE_SECONDS:
            self._warned = True
            self._say(f"not ready after {_LATE_SECONDS:.0f} s; /readyz says: {' '.join(health.wrong) or 'nothing'}")

    def _watch(self, health: embedded.Health, now: float) -> None:
        if self._watchdog.bites(stalled=health.stalled, uptime=self._table.uptime("worker"), now=now):
            for name in ("beat", "worker"):
                self._table.restart(name, f"the loops stand still ({' '.join(health.wrong)})")

    def _end_leftovers(self) -> None:
        count = processes.end(embedded.leftovers(self._config.data_dir, self._run), grace=2.0)
        if count:
            self._say(f"ended {count} process(es) left by an earlier run")

    def _stop(self) -> None:
        """End nodes and worker while the web process can still take results, then the rest. A second signal hurries."""
        limit = time.monotonic() + _STOP_SECONDS

        def in_a_hurry() -> bool:
            return time.monotonic() > limit or bool(_SIGNALS & signal.sigpending())

        nodes = embedded.nodes(self._config.data_dir)
        for node in processes.find(nodes):
            processes.send(node, signal.SIGTERM)  # once: a second one tells a node to give up the work in its hands
        self._table.ask("worker", "sites", "beat")
        self._table.stop("worker", in_a_hurry)
        processes.wait_gone(nodes, 0.0 if in_a_hurry() else _NODE_STOP_SECONDS, self._table.reap)
        processes.end(nodes, 0.0, self._table.reap)
        for name in ("sites", "beat", "web", "broker"):
            if name in self._table.rows:
                self._table.stop(name, in_a_hurry)
        processes.end(embedded.of_run(self._run), 0.0, self._table.reap)
        self._table.reap()
