"""A node's folder at the site: its lock, its script and token, and the marks that outlive whoever made them.

- `attempted.json` is there before the scheduler is asked, `job.json` once the job's number is known;
- `claim`, `start.json`, `exit.json` and `exit.N.json` (of member N) are written by the job itself;
- `stopping.json` says since when it should end and whether we cancelled it for that, `absent.json` since when the
  scheduler has not known it, `ended.json` why it is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rrm.errors import SiteUnavailable
from rrm.launchers import logs

_KEPT = 200
_OLD_SECONDS = 7 * 86400
_LOCK_SECONDS = 15.0


class NodeFolder:
    """ROOT/nodes/NAME."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self.path = root / "nodes" / name

    @contextlib.contextmanager
    def locked(self) -> Iterator[int]:
        """Have the folder for ourselves; gives the lock's descriptor. Raises SiteUnavailable."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._wait_for(descriptor)
            yield descriptor
        finally:
            os.close(descriptor)

    def _wait_for(self, descriptor: int) -> None:
        end = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    raise SiteUnavailable(
                        f"An earlier attempt to start or end {self.name} has not come back."
                    ) from None
                time.sleep(0.05)
            else:
                return

    def read(self, mark: str) -> dict[str, Any]:
        """A mark, {} when it is missing or was cut off."""
        try:
            found = json.loads((self.path / f"{mark}.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def read_of(self, mark: str, job: str) -> dict[str, Any]:
        """A mark of that job; {} when it belongs to an earlier one."""
        found = self.read(mark)
        return found if str(found.get("job", "")) == job else {}

    def mark(self, mark: str, **facts: Any) -> None:
        self.write(f"{mark}.json", json.dumps(facts))

    def unmark(self, *names: str) -> None:
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def write(self, name: str, text: str, mode: int = 0o600) -> None:
        """Put a whole file in place, safe on the disk."""
        part = self.path / f"{name}.part"
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
            with open(descriptor, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path / name)
        except OSError:
            part.unlink(missing_ok=True)
            raise

    def clear(self) -> None:
        """Forget an earlier job; its logs stay."""
        for path in self.path.iterdir():
            if path.name != "lock" and not path.name.endswith(".log"):
                path.unlink()

    @property
    def job(self) -> str:
        """The number of the node's job, "" when it is not known."""
        return str(self.read("job").get("job", ""))

    @property
    def claim(self) -> str:
        """The job that has begun to run as this node."""
        try:
            return (self.path / "claim").read_text().strip()
        except FileNotFoundError:
            return ""

    def is_over(self, job: str) -> bool:
        """Whether the job left word of its end, or was found gone."""
        return bool(self.read_of("exit", job) or self.read_of("ended", job))

    def tail(self, log: str, lines: int) -> str:
        """The last lines of a log, of its last part at most."""
        return logs.tail(self.path / log, lines)


def sweep(root: Path) -> None:
    """Forget the folders of nodes long gone, so that they do not pile up."""
    folders = [(path.stat().st_mtime, path) for path in (root / "nodes").iterdir()]
    for changed, path in sorted(folders, reverse=True)[_KEPT:]:
        folder = NodeFolder(root, path.name)
        if time.time() - changed > _OLD_SECONDS and (not folder.job or folder.is_over(folder.job)):
            shutil.rmtree(path, ignore_errors=True)
