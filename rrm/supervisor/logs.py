"""Keeps log files small while their writers hold them open for appending."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_GENERATIONS = 3


def rotate(folder: Path, limit: int = 10 * 2**20) -> None:
    """Copy every *.log over `limit` bytes to *.log.1 (older ones to .2, .3) and cut it to nothing.

    Lines written between copy and cut are lost; nothing in them is needed to run.
    """
    for path in folder.glob("*.log"):
        if path.stat().st_size > limit:
            _shift(path)
            shutil.copyfile(path, path.with_name(path.name + ".1"))
            os.truncate(path, 0)


def _shift(path: Path) -> None:
    for generation in range(_GENERATIONS - 1, 0, -1):
        older = path.with_name(f"{path.name}.{generation}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{generation + 1}"))
