"""Somebody else's renderer: a program that answers HTTP on a port it is told, run in a process group of its own."""

import contextlib
import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from string import Template

import httpx

from renderers.client import Interrupted

START_SECONDS = 300.0
SETTLE_SECONDS = 0.5  # a program that nobody waits for has to live so long
PROBE_SECONDS, PROBE_PERIOD = 5.0, 0.25
# All of them together stay within what launchers give a node before they kill it.
ASK_SECONDS, EXIT_SECONDS, TERM_SECONDS = 1.0, 2.0, 1.0
SERVER_ERROR, REFUSED = 500, 400
_TAIL_BYTES = 4096
_OUR_LINE = re.compile(r"\d{4}-\d\d-\d\d \S+ [A-Z]+ node: ")
# Becomes the program, with signals as any program has them: the node keeps them for one of its threads. A guardian
# stays in the group, which keeps its id from going to others, and kills the group when the node is gone without a word.
_STARTER = """
import os, signal, sys
node = int(sys.argv[1])
if os.fork() == 0:
    if os.fork() == 0:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        os.read(node, 1)
        os.killpg(0, signal.SIGKILL)
    os._exit(0)
os.wait()
os.close(node)
signal.pthread_sigmask(signal.SIG_SETMASK, [])
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"{sys.argv[2]}: {error.strerror}")
"""


class NotReady(Exception):
    """The program did not come to answer."""


@dataclass(frozen=True)
class Program:
    """What to run: a command, and the words that tell it where to listen. Both are split like a shell's words."""

    command: str
    parameters: str = ""
    schema: str = "rest"
    graceful_exit: bool = True
    wait_until_running: bool = True
    start_seconds: float = START_SECONDS

    def words(self, hostname: str, port: int, job: str) -> list[str]:
        """The argument list. Raises ValueError for a quote that is never closed, or an empty command."""
        values = {"job_id": job, "rest_hostname": hostname, "rest_port": str(port), "rest_schema": self.schema}
        words = [
            Template(word).safe_substitute(values)
            for text in (self.command, self.parameters)
            for word in shlex.split(text)
        ]
        if not words:
            raise ValueError("there is no command to run")
        return words


class Running:
    """The program on a port of its own; its output goes where ours goes."""

    def __init__(self, program: Program, hostname: str, job: str) -> None:
        self.program = program
        port = free_port()
        self.address = f"{hostname}:{port}"
        words = program.words(hostname, port, job)
        ours, theirs = _alive()
        with contextlib.closing(theirs):
            command = [sys.executable, "-I", "-S", "-c", _STARTER, str(theirs.fileno()), *words]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                process_group=0,
                pass_fds=(theirs.fileno(),),
                env=_environment(),
                cwd=_home(),
            )
        self._alive = ours
        self._http = httpx.Client(base_url=f"http://{self.address}", timeout=PROBE_SECONDS, trust_env=False)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._process.poll()

    def end_in_words(self) -> str:
        """How it ended, with the last line that it wrote where that is known."""
        code = self.code or 0
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        said = last_words()
        return f"{how}; its last line: {said}" if said else how

    def trouble(self) -> str:
        """Why it does not count as answering; empty when it does.

        It is asked what the first RRM asked. Any answer will do but an error of its own, after which it may still
        answer what every server knows.
        """
        try:
            told = self._http.put("/registry")
            if told.status_code >= SERVER_ERROR:
                told = self._http.get("/")
        except httpx.HTTPError as error:
            return f"{self.address}: {str(error) or type(error).__name__}"
        return f"{self.address} answers {told.status_code}" if told.status_code >= SERVER_ERROR else ""

    def await_ready(self, leaving: threading.Event) -> None:
        """Raises NotReady when it ends or does not answer in time, Interrupted when the node is leaving."""
        began = time.monotonic()
        while trouble := self._not_yet(time.monotonic() - began):
            if self.code is not None:
                raise NotReady(f"it {self.end_in_words()}")
            if time.monotonic() - began > self.program.start_seconds:
                raise NotReady(f"it is not ready after {self.program.start_seconds:.0f} s ({trouble})")
            if leaving.wait(PROBE_PERIOD):
                raise Interrupted
        if self.code is not None:
            raise NotReady(f"it {self.end_in_words()}")

    def _not_yet(self, age: float) -> str:
        if self.program.wait_until_running:
            return self.trouble()
        return "" if age > SETTLE_SECONDS else "it has just been started"

    def end(self) -> None:
        """Ask it to leave, then tell it to, then make it; nothing that it started in its group is left."""
        if self.code is None and self.program.graceful_exit and self._takes_leave():
            self._wait(EXIT_SECONDS)
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            self._wait(TERM_SECONDS)
        self._http.close()
        self._alive.close()

    def _takes_leave(self) -> bool:
        """Whether it knows the request to leave; one that does not need not be waited for."""
        with contextlib.suppress(httpx.RemoteProtocolError, httpx.ReadError):  # it left without an answer
            try:
                return self._http.put("/v1/exit", timeout=ASK_SECONDS).status_code < REFUSED
            except (httpx.ConnectError, httpx.TimeoutException):
                return False
        return True

    def _wait(self, seconds: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def last_words() -> str:
    """The last line in the file of our standard error that is not the node's own; empty where it is not a file."""
    try:
        if not stat.S_ISREG(os.fstat(2).st_mode):
            return ""
        with Path("/proc/self/fd/2").open("rb") as file:
            file.seek(max(0, os.fstat(2).st_size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip()[:300] for line in reversed(lines) if line.strip() and not _OUR_LINE.match(line)), "")


def _alive() -> tuple[socket.socket, socket.socket]:
    """Two ends of a line: when nobody holds ours any more, whoever reads the other knows that the node has ended."""
    return socket.socketpair()


def _environment() -> dict[str, str]:
    """Ours but for what makes Python find this package and its libraries: the program has its own."""
    ours = Path(__file__).resolve().parents[1]
    kept = [
        path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and Path(path).resolve() != ours
    ]
    others = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return others | ({"PYTHONPATH": os.pathsep.join(kept)} if kept else {})


def _home() -> Path | None:
    """Where it starts: not in our own folder, of which a careless server would show everything."""
    home = Path("~").expanduser()
    return home if os.access(home, os.X_OK) else None
