"""A node that runs somebody else's renderer: any program that answers HTTP on a port it is told.

The program is started on a free port of this machine, is asked whether it is ready, and is reported to the manager with
its address. It takes no leases: people book it. Its command may use what the first RRM put into it: ${job_id},
${rest_hostname}, ${rest_port} and ${rest_schema}.
"""

import contextlib
import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from string import Template

import httpx

from renderers.agent import Exit, Identity
from renderers.client import Interrupted, ManagerClient, ManagerError, ManagerGone, NotAuthorized

log = logging.getLogger(__name__)

START_SECONDS = 300.0
PROBE_SECONDS = 5.0
PROBE_PERIOD = 0.25
TRIES = 3  # ports: between finding one free and its use somebody else may take it
HASTY_SECONDS = 10.0  # a program that ends so soon may have met a port that was taken
GRACE_SECONDS = 5.0
SERVER_ERROR = 500
# The node keeps signals for one of its threads; the program gets them as any program does, and SIGKILL when the node
# dies without a word (prctl(2), PR_SET_PDEATHSIG).
_AS_USUAL = """
import ctypes, os, signal, sys
signal.pthread_sigmask(signal.SIG_SETMASK, [])
ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))
if os.getppid() != int(sys.argv[1]):
    sys.exit("the node has ended")
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
    """The program, in a process group of its own; its output goes where ours goes."""

    def __init__(self, program: Program, hostname: str, job: str) -> None:
        self.program = program
        self.port = free_port()
        self.address = f"{hostname}:{self.port}"
        words = program.words(hostname, self.port, job)
        command = [sys.executable, "-I", "-S", "-c", _AS_USUAL, str(os.getpid()), *words]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)
        self._http = httpx.Client(base_url=f"http://{hostname}:{self.port}", timeout=PROBE_SECONDS, trust_env=False)
        log.info("started %s on port %d, process %d", words[0], self.port, self._process.pid)

    @property
    def code(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._process.poll()

    def answers(self) -> bool:
        """Whether it answers HTTP, with whatever it likes but an error of its own."""
        with contextlib.suppress(httpx.HTTPError):
            return self._http.put("/registry").status_code < SERVER_ERROR
        return False

    def await_ready(self, leaving: threading.Event) -> None:
        """Raises NotReady when it ends or does not answer in time, Interrupted when the node is leaving."""
        if not self.program.wait_until_running:
            return
        end = time.monotonic() + self.program.start_seconds
        while not self.answers():
            if self.code is not None:
                raise NotReady(f"it ended with status {self.code} before it answered")
            if time.monotonic() > end:
                raise NotReady(f"it did not answer within {self.program.start_seconds:.0f} s")
            if leaving.wait(PROBE_PERIOD):
                raise Interrupted

    def end(self) -> None:
        """Ask it to leave, then tell it to, then make it; nothing that it started in its group is left."""
        if self.code is None and self.program.graceful_exit:
            with contextlib.suppress(httpx.HTTPError):
                self._http.put("/v1/exit")
            self._wait(GRACE_SECONDS)
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
                self._wait(GRACE_SECONDS)
        self._http.close()

    def _wait(self, seconds: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)


class ExternalNode:
    """One node's life, as `agent.Agent` has it: `run` returns the exit code, `drain` and `abandon` end it."""

    def __init__(self, client: ManagerClient, identity: Identity, program: Program, job: str) -> None:
        self._client = client
        self._identity = identity
        self._program = program
        self._job = job
        self._leaving = threading.Event()
        self._outcome = Exit.DONE

    @property
    def draining(self) -> bool:
        return self._leaving.is_set()

    def drain(self, reason: str) -> None:
        """Leave in order; whoever uses the program has lost it."""
        log.info("leaving: %s", reason)
        self._client.patience.leaving.set()
        self._leaving.set()

    def abandon(self, reason: str, outcome: Exit = Exit.ABANDONED) -> None:
        self._outcome = outcome
        self.drain(reason)

    def close(self, _timeout: float) -> bool:
        self._client.close()
        return True

    def run(self) -> Exit:
        """Start the program, report it, keep it until told to leave or until it ends."""
        running: Running | None = None
        try:
            running = self._started()
            identity = replace(self._identity, address=running.address)
            heartbeat = self._client.register(identity.as_json()).heartbeat
            reason = self._watch(running, heartbeat)
            self._client.goodbye(reason, GRACE_SECONDS)
        except Interrupted:
            pass
        except (NotReady, ValueError, OSError) as error:
            log.error("the program cannot be used: %s", error)
            self._outcome = Exit.BROKEN
        except NotAuthorized as error:
            log.error("the manager does not accept this node: %s", error)
            self._outcome = Exit.NOT_AUTHORIZED
        except (ManagerGone, ManagerError) as error:
            log.error("%s", error)
            self._outcome = Exit.MANAGER_GONE
        finally:
            if running is not None:
                running.end()
        return self._outcome

    def _started(self) -> Running:
        """The program once it answers; on another port when it ends at once."""
        for attempt in range(1, TRIES + 1):
            began = time.monotonic()
            running = Running(self._program, self._identity.hostname, self._job)
            try:
                running.await_ready(self._leaving)
            except BaseException as error:
                running.end()
                hasty = running.code is not None and time.monotonic() - began < HASTY_SECONDS
                if not isinstance(error, NotReady) or not hasty or attempt == TRIES:
                    raise
                log.warning("%s; trying another port", error)
            else:
                return running
        raise NotReady

    def _watch(self, running: Running, heartbeat: float) -> str:
        """Until it is time to leave; why."""
        while not self._leaving.wait(heartbeat):
            if running.code is not None:
                self._outcome = Exit.BROKEN
                return f"its program ended with status {running.code}"
            command = self._client.heartbeat([], [], self._identity.cores).get("command", "run")
            if command != "run":
                return f"told to {command}"
        return "done"


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
