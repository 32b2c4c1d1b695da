"""What every launcher promises, whatever kind of site it serves.

- Intent first: the caller has stored the node's name before it calls `launch`, and stores the handle afterwards.
- `launch` is idempotent by name: a second call while the first process lives returns a handle of that same process.
- Not knowing is an answer: a site that does not reply makes its nodes UNKNOWN, never GONE, and SiteUnavailable means
  that nothing is known to have happened: ask again later.
- One question per turn: `survey` asks the site once, however many nodes there are.
- A launcher touches only what its own installation of RRM started, whoever else uses the site or the account.
- No secret in argv, in the environment, in a log line or in a handle: the launch token goes in on standard input or in
  a file that only its owner can read.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from rrm.errors import LauncherError

Handle = dict[str, Any]
"""How a site finds a node again: JSON, stored by the caller, read by the launcher that made it.

It has the node's `name`. A handle of nothing but the name stands for a launch whose answer was lost.
"""

Stream = Literal["out", "err"]

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")


NEVER = "It will not start by itself"


class Liveness(StrEnum):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    GONE = "GONE"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True)
class Observation:
    """What a site says of one node; `reason` tells people why it waits or why it ended, "" when there is no more."""

    liveness: Liveness
    reason: str = ""
    ends_at: datetime | None = None

    @property
    def is_hopeless(self) -> bool:
        """Whether it waits for what will not come unless somebody does something."""
        return self.liveness is Liveness.PENDING and self.reason.startswith(NEVER)


@dataclass(frozen=True)
class Survey:
    """What a site answered: every node asked for, by name, and the living nodes of ours that nobody asked for.

    `problem` says why the site could not be asked; then every node is UNKNOWN and there are no strays.
    """

    nodes: Mapping[str, Observation]
    strays: Mapping[str, Handle] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Batch:
    """What a scheduler is asked for; zero and empty leave it to the scheduler, a site without one ignores all."""

    account: str = ""
    partition: str = ""
    reservation: str = ""
    nodes: int = 1
    cpus: int = 1
    gpus: int = 0
    memory: int = 0  # MiB for each machine
    exclusive: bool = False
    time_limit: timedelta = timedelta()
    extra_directives: tuple[str, ...] = ()
    skip_directives: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()  # machines that the job is not to run on


@dataclass(frozen=True)
class NodeSpec:
    """What to start. A `command` replaces the shipped agent's, which is told `arguments` too.

    `environment` adds to what the site passes on.
    `manager_file` names a file in our folder at the site that holds the manager's address, where that may change.
    `prologue` is shell text that an operator wants run first, `modules` are loaded before it; only batch scripts have
    them.
    """

    name: str
    resource: str
    manager_url: str
    token: str = field(repr=False)
    manager_file: str = ""
    renderer: str = "mandelbrot"
    command: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    prologue: str = ""
    batch: Batch = Batch()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise LauncherError(f"{self.name!r} cannot name a node")


def agent_command(spec: NodeSpec, python: str, credential: str = "-") -> tuple[str, ...]:
    """How the renderer that ships with RRM is started; `credential` is the file of its token, "-" standard input."""
    manager = ("--manager-file", spec.manager_file) if spec.manager_file else ("--manager", spec.manager_url)
    named = ("--name", spec.name, "--token-file", credential)
    return (python, "-m", "renderers", spec.renderer, *manager, *named, *spec.arguments)


class Launcher(ABC):
    """Nodes at one site."""

    @abstractmethod
    def launch(self, spec: NodeSpec) -> Handle:
        """Start the node, or adopt the living one of that name.

        Raises LauncherError when the site refused, SiteUnavailable when it is not known whether it was started.
        """

    @abstractmethod
    def script(self, spec: NodeSpec) -> str:
        """The command line or batch script that `launch` would run, for people to read; the token is not in it."""

    @abstractmethod
    def survey(self, handles: Sequence[Handle]) -> Survey:
        """The state of every node asked for, and the strays, in one question to the site. Total: it never raises."""

    @abstractmethod
    def stop(self, handle: Handle, grace: timedelta) -> bool:
        """Ask the node to end, and have it ended when `grace` is over. Idempotent; nothing else is ever signalled.

        True: it is gone. False: the site was asked and has not confirmed it yet; a later survey will tell. Raises
        SiteUnavailable when the site could not be asked, LauncherError when the node could not be ended.
        """

    @abstractmethod
    def logs(self, handle: Handle, stream: Stream, tail: int) -> str:
        """The last `tail` lines that the node wrote; empty when there are none. Raises SiteUnavailable."""

    @abstractmethod
    def account(self, handle: Handle) -> str:
        """What the site says of the node's job or process, in its own words, for people. Raises SiteUnavailable."""
