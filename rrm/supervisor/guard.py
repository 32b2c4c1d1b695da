"""Waits until the supervisor is gone, then ends what it left: python -m rrm.supervisor.guard NAME=VALUE [without NAME].

The kernel kills the supervisor's own children with it (PR_SET_PDEATHSIG); what those forked, such as the scheduler
inside the Celery worker, is out of its reach. Standard input is a pipe that closes when the supervisor ends in any way.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rrm.supervisor import processes

_GRACE_SECONDS = 1.0


def post(marker: str, value: str, cwd: Path) -> subprocess.Popen[bytes]:
    """Start a guard that ends every process marked `marker=value` once this process is gone."""
    return subprocess.Popen(
        [sys.executable, "-m", "rrm.supervisor.guard", marker, value],
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def main(marker: str, value: str) -> None:
    sys.stdin.buffer.read()
    processes.end(lambda environment: environment.get(marker) == value, _GRACE_SECONDS)


if __name__ == "__main__":
    main(*sys.argv[1:])
