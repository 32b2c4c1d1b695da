"""The live processes of one data folder, found in /proc by their environment, without the supervisor's code."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_GONE = {"Z", "X", "x"}


@dataclass(frozen=True)
class Process:
    """One live process. `role` is web, worker, broker, node, or "" for the supervisor and its guard."""

    pid: int
    parent: int
    session: int
    role: str
    command: str

    @property
    def leads(self) -> bool:
        """It was started by the supervisor or a launcher, and is no fork of such a process."""
        return self.session == self.pid


def processes(data: Path, role: str | None = None) -> list[Process]:
    """Every live process whose RRM_DATA is `data`, or those of one role; this process is not among them."""
    found = (process for process in _all(data.resolve()) if process.pid != os.getpid())
    return [process for process in found if role is None or process.role == role]


def wait_until_gone(data: Path, seconds: float) -> list[Process]:
    """Wait until no process of the folder lives, at most so long; those that are left."""
    end = time.monotonic() + seconds
    while (left := processes(data)) and time.monotonic() < end:
        time.sleep(0.05)
    return left


def _all(data: Path) -> Iterator[Process]:
    for entry in os.scandir(_PROC):
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                process = _read(_PROC / entry.name, data)
                if process is not None:
                    yield process


def _read(folder: Path, data: Path) -> Process | None:
    raw = (folder / "environ").read_bytes()
    if b"RRM_DATA=" not in raw:
        return None
    pairs = (os.fsdecode(item).partition("=") for item in raw.split(b"\0"))
    environment = {name: value for name, _, value in pairs}
    if not environment.get("RRM_DATA") or Path(environment["RRM_DATA"]).resolve() != data:
        return None
    text = (folder / "stat").read_text(errors="replace")
    state, parent, _, session, *_ = text[text.rindex(")") + 1 :].split()
    if state in _GONE:
        return None
    role = "node" if "RRM_NODE_NAME" in environment else environment.get("RRM_ROLE", "")
    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return Process(int(folder.name), int(parent), int(session), role, command)
