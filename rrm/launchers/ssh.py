"""Nodes as processes of a host reached over SSH: the local launcher, run over there."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import cache
from typing import Any

from rrm import errors
from rrm.errors import LauncherError
from rrm.launchers import base, detach, far, host, local, logs
from rrm.launchers.base import (
    Handle,
    Launcher,
    Liveness,
    NodeSpec,
    Observation,
    Stream,
    Survey,
    agent_command,
)
from rrm.launchers.bootstrap import Renderers
from rrm.launchers.connection import Connection

_ANSWER_SECONDS = 20.0
_START_SECONDS = 40.0

Installed = Callable[[Connection], Renderers]
"""Sees to it that the site has the renderers of this version, and says what runs them there."""


class SshLauncher(Launcher):
    """Renderer nodes on one host. `installed` is asked before each launch of the shipped agent."""

    def __init__(self, connection: Connection, installed: Installed) -> None:
        self._connection = connection
        self._installed = installed

    def launch(self, spec: NodeSpec) -> Handle:
        environment, command = dict(spec.environment), spec.command
        if not command:
            renderers = self._installed(self._connection)
            theirs = environment.get("PYTHONPATH")
            environment["PYTHONPATH"] = ":".join(filter(None, (renderers.lib, theirs)))
            command = agent_command(spec, renderers.python)
        told = {
            "name": spec.name,
            "resource": spec.resource,
            "manager_url": spec.manager_url,
            "token": spec.token,
            "renderer": spec.renderer,
            "command": command,
            "environment": environment,
        }
        handle: Handle = self._ask("launch", _START_SECONDS, spec=told)
        return handle

    def script(self, spec: NodeSpec) -> str:
        return shlex.join(spec.command or agent_command(spec, self._connection.target.python))

    def survey(self, handles: Sequence[Handle]) -> Survey:
        try:
            found = self._ask("survey", handles=list(handles))
        except LauncherError as error:
            unknown = Observation(Liveness.UNKNOWN)
            return Survey({handle["name"]: unknown for handle in handles}, problem=error.detail)
        nodes = {name: Observation(Liveness(live), reason) for name, (live, reason) in found["nodes"].items()}
        return Survey(nodes, found["strays"], found["problem"])

    def stop(self, handle: Handle, grace: timedelta) -> bool:
        seconds = grace.total_seconds()
        return bool(self._ask("stop", _ANSWER_SECONDS + seconds, handle=handle, grace=seconds))

    def logs(self, handle: Handle, stream: Stream, tail: int) -> str:
        return str(self._ask("logs", handle=handle, stream=stream, tail=tail))

    def account(self, handle: Handle) -> str:
        return str(self._ask("account", handle=handle))

    def _ask(self, deed: str, timeout: float = _ANSWER_SECONDS, **what: Any) -> Any:
        return far.ask(self._connection, _far_end(), deed, what, timeout)


@cache
def _far_end() -> str:
    return far.bundle(host, local, base, detach, logs, errors)
