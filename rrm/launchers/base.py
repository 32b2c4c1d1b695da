"""What every launcher promises, whatever kind of site it serves.

- Intent first: the caller has stored the node's name before it calls `launch`, and stores the handle afterwards.
- `launch` is idempotent by name: a second call while the first process lives returns a handle of that same process.
- Not knowing is an answer: a site that does not reply makes its nodes UNKNOWN, never GONE.
- No secret in argv, in the environment, in a log line or in a handle: the launch token goes in on standard input or in
  a file that only its owner can read.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Literal

from rrm.errors import LauncherError

Handle = dict[str, Any]
"""How a site finds a node again: JSON, stored by the caller, read by the launcher that made it.

It has the node's `name`. A handle of nothing but the name stands for a launch whose answer was lost.
"""

Stream = Literal["out", "err"]

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")


class Liveness(StrEnum):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    GONE = "GONE"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True)
class NodeSpec:
    """What to start. A `command` replaces the shipped agent's; `environment` adds to what the site passes on."""

    name: str
    resource: str
    manager_url: str
    token: str = field(repr=False)
    renderer: str = "mandelbrot"
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise LauncherError(f"{self.name!r} cannot name a node")


class Launcher(ABC):
    """Nodes at one site."""

    @abstractmethod
    def launch(self, spec: NodeSpec) -> Handle:
        """Start the node, or adopt the living one of that name. Raises LauncherError when it could not be started."""

    @abstractmethod
    def script(self, spec: NodeSpec) -> str:
        """The command line or batch script that `launch` would run, for people to read; the token is not in it."""

    @abstractmethod
    def liveness(self, handles: Sequence[Handle]) -> dict[str, Liveness]:
        """The state of every node asked for, by name, in one query. Total: it never raises for a site out of reach."""

    @abstractmethod
    def stop(self, handle: Handle, grace: timedelta) -> None:
        """Ask the node to end, wait for `grace`, then end it. Idempotent; nothing else is ever signalled.

        Returns once the node is gone. Raises LauncherError when it could not be ended.
        """

    @abstractmethod
    def logs(self, handle: Handle, stream: Stream, tail: int) -> str:
        """The last `tail` lines that the node wrote; empty when there are none."""

    @abstractmethod
    def find_all(self) -> dict[str, Handle]:
        """Every living node that this launcher started here, by name, whether or not anybody remembers it."""
