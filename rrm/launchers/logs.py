"""What nodes wrote: its end for people to read, and its beginning cut off before it fills a disk."""

from __future__ import annotations

import os
from pathlib import Path

LOG_BYTES = 4 * 2**20
_READ_BYTES = 256 * 1024


def tail(path: Path, lines: int) -> str:
    """The last lines of a log, of its last part at most; empty when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _READ_BYTES))
            found = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return "".join(f"{line}\n" for line in found[-lines:]) if lines > 0 else ""


def trim(folder: Path, limit: int = LOG_BYTES) -> None:
    """Cut logs that have outgrown their limit to its half; who writes them appends, and writes on at the end."""
    for path in folder.glob("*.log"):
        if path.stat().st_size > limit:
            with path.open("r+b") as file:
                file.seek(-(limit // 2), os.SEEK_END)
                kept = file.read()
                file.truncate(0)
            with path.open("ab") as file:
                file.write(kept)
