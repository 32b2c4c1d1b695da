"""Nodes as processes, started as sites do it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import IO

from tests.unit.renderers.manager_server import LAUNCH_TOKEN

ROOT = Path(__file__).resolve().parents[3]


def launched(
    command: list[str], token: str = LAUNCH_TOKEN, errors: IO[str] | int = subprocess.PIPE, **environment: str
) -> subprocess.Popen[str]:
    """The process, which has been told its launch token."""
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | environment, stdin=subprocess.PIPE, stderr=errors, text=True
    )
    assert process.stdin is not None
    process.stdin.write(token + "\n")
    process.stdin.close()
    process.stdin = None
    return process
