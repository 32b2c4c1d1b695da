"""What is looked at on this machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
from django.conf import settings

from rrm.farm.checking.letter import Examination, Wrong

_IMPORT_SECONDS = 20
_ROUTE_SECONDS = 5
_LEAST_FREE_BYTES = 2**30


def examinations() -> list[Examination]:
    """In the order of the letter."""
    return [
        Examination("data folder", lambda _: _data_folder()),
        Examination("free disk space", lambda _: _free_space()),
        Examination("python and renderers", lambda _: _renderers(), _IMPORT_SECONDS),
        Examination("route to the manager", lambda _: _route()),
    ]


def _data_folder() -> str:
    folder: Path = settings.RRM.data_dir
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".check-") as file:
            file.write(b"x")
    except OSError as error:
        raise Wrong(f"{folder} cannot be written to: {error.strerror}.") from None
    return f"{folder} can be written to."


def _free_space() -> str:
    try:
        free = shutil.disk_usage(settings.RRM.data_dir).free
    except OSError as error:
        raise Wrong(f"{settings.RRM.data_dir} cannot be looked at: {error.strerror}.") from None
    said = f"{free / 2**30:.1f} GiB are free."
    if free < _LEAST_FREE_BYTES:
        raise Wrong(said)
    return said


def _renderers() -> str:
    """Import what a node imports, in a process of its own."""
    program = "import sys, renderers.agent; print(sys.version.split()[0])"
    try:
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=settings.BASE_DIR,
            capture_output=True,
            text=True,
            timeout=_IMPORT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Wrong(f"{sys.executable} could not be run: {error}.") from None
    if done.returncode:
        raise Wrong(f"The renderers cannot be imported: {done.stderr.strip().splitlines()[-1:]}.")
    return f"Python {done.stdout.strip()} imports the renderers."


def _route() -> str:
    address = f"{settings.RRM.manager_url}/healthz"
    try:
        answer = httpx.get(address, timeout=_ROUTE_SECONDS, trust_env=False)
    except httpx.HTTPError as error:
        raise Wrong(f"{address} does not answer: {error}.") from None
    if answer.status_code != httpx.codes.OK:
        raise Wrong(f"{address} answers {answer.status_code}.")
    return f"{address} answers."
