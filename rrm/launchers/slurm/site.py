"""The far end of `SlurmLauncher`: everything that is done at the cluster's login host.

A question is {"folder", "deed", "with"}; the answer is {"answer"}, or {"refused"} or {"trouble"} with a sentence.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rrm.errors import LauncherError, SiteUnavailable
from rrm.launchers.slurm.cancelling import cancel
from rrm.launchers.slurm.commands import record_of
from rrm.launchers.slurm.folder import NodeFolder
from rrm.launchers.slurm.submitting import submit
from rrm.launchers.slurm.surveying import survey

_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EAGAIN, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.EMFILE}


def main(question: Mapping[str, Any]) -> dict[str, Any]:
    """Total: what went wrong is part of the answer."""
    root = Path.home() / question["folder"]
    try:
        return {"answer": _DEEDS[question["deed"]](root, **question["with"])}
    except SiteUnavailable as trouble:
        return {"trouble": trouble.detail}
    except LauncherError as error:
        return {"refused": error.detail}
    except OSError as error:
        kind = "trouble" if error.errno in _PASSING else "refused"
        return {kind: f"{error.filename or root}: {os.strerror(error.errno or 0)}."}


def logs(root: Path, handle: Mapping[str, Any], stream: str, tail: int) -> str:
    member = handle.get("member")
    log = f"{stream}.{member}.log" if member else f"{stream}.log"
    return NodeFolder(root, str(handle.get("of", handle["name"]))).tail(log, tail)


def account(root: Path, handle: Mapping[str, Any]) -> str:
    return record_of(str(handle.get("job", "")))


_DEEDS: Mapping[str, Callable[..., object]] = {
    "submit": submit,
    "survey": survey,
    "cancel": cancel,
    "logs": logs,
    "account": account,
}
