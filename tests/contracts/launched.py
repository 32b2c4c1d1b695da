"""Nodes that say what they were given, and the site that a launcher starts them at."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from rrm.launchers.base import Handle, Launcher, Liveness, NodeSpec
from rrm.launchers.bootstrap import Renderers

TOKEN = "launch-token-of-one-node"
GRACE = timedelta(seconds=10)
# Says what it was given, then works until it is told to end.
PROGRAM = """
import json, os, sys, time
print(json.dumps({"token": sys.stdin.readline().strip(), "pid": os.getpid(), "environment": dict(os.environ),
                  "files": sorted(int(name) for name in os.listdir("/proc/self/fd"))}), flush=True)
print("ready", file=sys.stderr, flush=True)
time.sleep(600)
"""


@dataclass(frozen=True)
class Site:
    """A launcher, one more of the same site as after a restart, and the pid of a node on the machine where it runs."""

    launcher: Launcher
    restarted: Callable[[], Launcher]
    pid: Callable[[Handle], int]
    python: str = sys.executable
    # Whether a node runs, or could not be started, by the time `launch` returns; a scheduler starts it later.
    is_prompt: bool = True

    def comes_to(self, handle: Handle, liveness: Liveness, launcher: Launcher | None = None) -> None:
        """The node is in this state, at once where the site is prompt."""
        launcher = launcher or self.launcher
        if not self.is_prompt:
            until(lambda: state(launcher, handle) is liveness)
        assert state(launcher, handle) is liveness

    def end(self, handle: Handle, grace: timedelta = GRACE, launcher: Launcher | None = None) -> None:
        """Stop the node and see it gone."""
        assert (launcher or self.launcher).stop(handle, grace) or not self.is_prompt
        self.comes_to(handle, Liveness.GONE)

    def spec(self, name: str = "rrm-1", program: str = PROGRAM, **environment: str) -> NodeSpec:
        return spec(name, program, python=self.python, **environment)


BROUGHT = Renderers("none", "/nowhere", "/usr/bin/python3")


def spec(name: str = "rrm-1", program: str = PROGRAM, *, python: str = sys.executable, **environment: str) -> NodeSpec:
    command = (python, "-c", program)
    return NodeSpec(name, "mandelbrot", "http://127.0.0.1:9", TOKEN, command=command, environment=environment)


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.01)


def introduction(launcher: Launcher, handle: Handle) -> dict[str, object]:
    """What the program said about itself."""
    until(lambda: launcher.logs(handle, "err", 1) == "ready\n")
    said: dict[str, object] = json.loads(launcher.logs(handle, "out", 1))
    return said


def state(launcher: Launcher, handle: Handle) -> Liveness:
    return launcher.survey([handle]).nodes[handle["name"]].liveness
