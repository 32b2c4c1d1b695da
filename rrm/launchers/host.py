"""The far end of `SshLauncher`: what the local launcher does, done on the host where the nodes are.

A question is {"folder", "deed", "with"}; the answer is {"answer"}, or {"refused"} or {"trouble"} with a sentence.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from rrm.errors import LauncherError
from rrm.launchers.base import NodeSpec, Stream
from rrm.launchers.detach import PROC
from rrm.launchers.local import LocalLauncher

_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EAGAIN, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.EMFILE}


def main(question: Mapping[str, Any]) -> dict[str, Any]:
    """Total: what went wrong is part of the answer."""
    folder = Path.home() / question["folder"]
    try:
        if not (PROC / "self/stat").exists():
            return {"refused": "Nodes can be kept account of on Linux hosts only: there is no /proc here."}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return {"answer": _DEEDS[question["deed"]](LocalLauncher(folder, root=folder), **question["with"])}
    except LauncherError as error:
        return {"refused": error.detail}
    except OSError as error:
        kind = "trouble" if error.errno in _PASSING else "refused"
        return {kind: f"{error.filename or folder}: {os.strerror(error.errno or 0)}."}


def _launch(launcher: LocalLauncher, spec: Mapping[str, Any]) -> object:
    return launcher.launch(NodeSpec(**{**spec, "command": tuple(spec["command"])}))


def _survey(launcher: LocalLauncher, handles: list[dict[str, Any]]) -> object:
    found = launcher.survey(handles)
    nodes = {name: [seen.liveness, seen.reason] for name, seen in found.nodes.items()}
    return {"nodes": nodes, "strays": found.strays, "problem": found.problem}


def _stop(launcher: LocalLauncher, handle: dict[str, Any], grace: float) -> object:
    return launcher.stop(handle, timedelta(seconds=grace))


def _logs(launcher: LocalLauncher, handle: dict[str, Any], stream: Stream, tail: int) -> object:
    return launcher.logs(handle, stream, tail)


def _account(launcher: LocalLauncher, handle: dict[str, Any]) -> object:
    return launcher.account(handle)


_DEEDS: Mapping[str, Callable[..., object]] = {
    "launch": _launch,
    "survey": _survey,
    "stop": _stop,
    "logs": _logs,
    "account": _account,
}
