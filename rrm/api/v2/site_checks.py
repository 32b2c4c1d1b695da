"""Trying whether nodes could work at a site, the way a node would."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from django.conf import settings

from rrm.farm.models import Site

_IMPORT_SECONDS = 60
_ROUTE_SECONDS = 5
_LEAST_FREE_BYTES = 2**30


class _Wrong(Exception):
    """What is wrong at the site, in words for the operator."""


def check(site: Site) -> list[dict[str, Any]]:
    """[{name, ok, detail, seconds}] for everything that was tried."""
    if site.kind != Site.Kind.LOCAL:
        return [_tried("kind", lambda: _unreachable(site))]
    return [
        _tried("data folder", _data_folder),
        _tried("free disk space", _free_space),
        _tried("python and renderers", _renderers),
        _tried("route to the manager", _route),
    ]


def _tried(name: str, attempt: Callable[[], str]) -> dict[str, Any]:
    began = time.monotonic()
    try:
        ok, detail = True, attempt()
    except _Wrong as wrong:
        ok, detail = False, str(wrong)
    return {"name": name, "ok": ok, "detail": detail, "seconds": round(time.monotonic() - began, 3)}


def _unreachable(site: Site) -> str:
    raise _Wrong(f"This version starts nodes on local sites only; it cannot check a site of kind {site.kind}.")


def _data_folder() -> str:
    folder: Path = settings.RRM.data_dir
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".check-") as file:
            file.write(b"x")
    except OSError as error:
        raise _Wrong(f"{folder} cannot be written to: {error.strerror}.") from None
    return f"{folder} can be written to."


def _free_space() -> str:
    try:
        free = shutil.disk_usage(settings.RRM.data_dir).free
    except OSError as error:
        raise _Wrong(f"{settings.RRM.data_dir} cannot be looked at: {error.strerror}.") from None
    said = f"{free / 2**30:.1f} GiB are free."
    if free < _LEAST_FREE_BYTES:
        raise _Wrong(said)
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
        raise _Wrong(f"{sys.executable} could not be run: {error}.") from None
    if done.returncode:
        raise _Wrong(f"The renderers cannot be imported: {done.stderr.strip().splitlines()[-1:]}.")
    return f"Python {done.stdout.strip()} imports the renderers."


def _route() -> str:
    address = f"{settings.RRM.manager_url}/healthz"
    try:
        answer = httpx.get(address, timeout=_ROUTE_SECONDS, trust_env=False)
    except httpx.HTTPError as error:
        raise _Wrong(f"{address} does not answer: {error}.") from None
    if answer.status_code != httpx.codes.OK:
        raise _Wrong(f"{address} answers {answer.status_code}.")
    return f"{address} answers."
