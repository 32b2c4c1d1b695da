"""A node that runs somebody else's renderer: any program that answers HTTP on a port it is told.

The program is started on a free port of this machine, is asked whether it is ready, and is reported to the manager with
its address. It takes no leases: people book it. Its command may use what the first RRM put into it: ${job_id},
${rest_hostname}, ${rest_port} and ${rest_schema}. Only the thread of `run` starts and ends the program.
"""

import logging
import threading
import time
from dataclasses import replace
from itertools import count

from renderers.client import Interrupted, ManagerClient, ManagerError, ManagerGone, NotAuthorized
from renderers.node import Exit, Identity
from renderers.program import NotReady, Program, Running

log = logging.getLogger(__name__)

TRIES = 3  # ports: between finding one free and its use somebody else may take it
HASTY_SECONDS = 10.0  # a program that ends so soon may have met a port that was taken
WATCH_PERIOD = 0.2
PROBE_EVERY = 5.0
GOODBYE_SECONDS = 1.0


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
        """It was told to leave."""
        return self._leaving.is_set()

    def drain(self, reason: str) -> None:
        """Leave in order; whoever uses the program has lost it."""
        log.info("leaving: %s", reason)
        self._leave(Exit.DONE)

    def abandon(self, reason: str, outcome: Exit = Exit.ABANDONED) -> None:
        """Leave with this exit code, unless there is a reason for another already."""
        log.info("leaving: %s", reason)
        self._leave(outcome)

    def close(self, _timeout: float) -> bool:
        """Release connections; the program has ended."""
        self._client.close()
        return True

    def run(self) -> Exit:
        """Start the program, report it, keep it until told to leave or until it ends."""
        running: Running | None = None
        try:
            running = self._started()
            identity = replace(self._identity, address=running.address)
            registration = self._client.register(identity.as_json())
            log.info("registered as %s, answering at %s", identity.name, running.address)
            beats = threading.Thread(target=self._beat, args=(running, registration.heartbeat), daemon=True)
            beats.start()
            self._watch(running)
        except Exception as error:
            self._fail(error)
        finally:
            if running is not None:
                running.end()
        return self._outcome

    def _started(self) -> Running:
        """The program once it answers; on another port when it ends at once."""
        for attempt in count(1):
            began = time.monotonic()
            running = Running(self._program, self._identity.hostname, self._job)
            log.info("started process %d to answer at %s", running.pid, running.address)
            try:
                running.await_ready(self._leaving)
            except BaseException as error:
                hasty = running.code is not None and time.monotonic() - began < HASTY_SECONDS
                running.end()
                if not isinstance(error, NotReady) or not hasty or attempt == TRIES:
                    raise
                log.warning("%s; trying another port", error)
            else:
                return running
        raise AssertionError("unreachable")

    def _watch(self, running: Running) -> None:
        """Until it is time to leave. The manager is told, unless the program failed: then its site will say so."""
        while not self._leaving.wait(WATCH_PERIOD):
            if running.code is not None:
                log.error("the program %s", running.end_in_words())  # the last line: the manager shows it
                self._leave(Exit.BROKEN)
        if self._outcome in (Exit.DONE, Exit.ABANDONED):
            self._client.goodbye(self._outcome.name.lower(), GOODBYE_SECONDS)

    def _beat(self, running: Running, period: float) -> None:
        """Report that the node lives, and whether the program answers where people wait for that."""
        told, looked = "", time.monotonic()
        try:
            while not self._leaving.wait(period):
                trouble = told
                if self._program.wait_until_running and time.monotonic() - looked > PROBE_EVERY:
                    trouble, looked = running.trouble(), time.monotonic()
                answer = self._client.heartbeat([], [], self._identity.cores, trouble if trouble != told else None)
                told = trouble
                if answer.get("command", "run") != "run":
                    self.drain(f"told to {answer['command']} by the manager")
        except Exception as error:
            if not self._leaving.is_set():  # otherwise the connections were closed under it
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        """End the node with the exit code that says why."""
        match error:
            case Interrupted():
                self._leave(Exit.DONE)
            case ManagerGone():
                log.error("%s", error)
                self._leave(Exit.MANAGER_GONE)
            case NotAuthorized():
                log.error("the manager does not accept this node: %s", error)
                self._leave(Exit.NOT_AUTHORIZED)
            case NotReady() | ValueError() | OSError() | ManagerError():
                log.error("the program cannot be used: %s", error)
                self._leave(Exit.BROKEN)
            case _:
                log.error("the node cannot go on", exc_info=error)
                self._leave(Exit.BROKEN)

    def _leave(self, outcome: Exit) -> None:
        if self._outcome is Exit.DONE:
            self._outcome = outcome
        self._client.patience.leaving.set()
        self._leaving.set()
