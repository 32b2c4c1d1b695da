"""Real servers for the tests, each private to one test run: own folder, own socket or free port, gone afterwards.

As context managers for scripts (`postgresql`, `redis`) and as session fixtures (`postgres_url`, `redis_url`,
`chromium_path`). A missing program skips the test that needs it and says how to install it; with CI=true it fails.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

CHROMIUM_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
_START_SECONDS = 30.0
_REMEDY = "run deployment/test-services/ensure.sh"


class ServiceMissing(RuntimeError):
    """A program that the tests need is not installed, or its server did not start."""


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """A PostgreSQL server with one empty database; yields its postgres:// URL. Raises ServiceMissing."""
    programs = _postgresql_programs()
    with _folder("rrm-postgresql-") as folder:
        account = _unprivileged(folder)
        data, log = folder / "data", folder / "log"
        quiet = {"check": True, "stdout": subprocess.DEVNULL, "user": account, "cwd": folder}
        initdb = [programs / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8"]
        subprocess.run(initdb, **quiet, timeout=60)  # type: ignore[call-overload]
        # Reached by a socket in a folder that no other account can enter, which is why it asks for no password.
        durability = "-c fsync=off -c full_page_writes=off -c synchronous_commit=off"  # nothing here has to last
        options = f"-k {folder} -c listen_addresses='' -c max_connections=200 {durability}"
        server = [programs / "pg_ctl", "-D", data, "-l", log, "-o", options]
        subprocess.run([*server, "-w", "-t", "30", "start"], **quiet, timeout=60)  # type: ignore[call-overload]
        try:
            yield f"postgres://postgres@/postgres?host={folder}"
        finally:
            stop = [*server, "-w", "-t", "10", "-m", "immediate", "stop"]
            subprocess.run(stop, **quiet | {"check": False}, timeout=30)  # type: ignore[call-overload]


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """A Redis server with an append-only file on a free loopback port; yields its URL. Raises ServiceMissing."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        raise ServiceMissing(f"redis-server is not installed: {_REMEDY}")
    port = free_port()
    with _folder("rrm-redis-") as folder, (folder / "log").open("wb") as log:
        options = [
            "--bind",
            "127.0.0.1",
            "--port",
            str(port),
            "--dir",
            str(folder),
            "--appendonly",
            "yes",
            "--save",
            "",
        ]
        server = subprocess.Popen([program, *options], stdout=log, stderr=log)
        try:
            _wait_for_port(port, server, folder / "log")
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.kill()
            server.wait()


def chromium() -> str:
    """The path of an installed Chromium. Raises ServiceMissing."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    raise ServiceMissing(f"chromium is not installed: {_REMEDY}")


def free_port() -> int:
    """A TCP port on the loopback interface that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _postgresql_programs() -> Path:
    """The folder with initdb and pg_ctl; Debian keeps them off PATH, one folder per version."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if not versions:
        raise ServiceMissing(f"postgresql is not installed: {_REMEDY}")
    return max(versions, key=lambda path: float(path.parent.name))


def _unprivileged(folder: Path) -> int | None:
    """The account that runs PostgreSQL, which refuses to run as root; None means the present one."""
    if os.geteuid() != 0:
        return None
    account = pwd.getpwnam("postgres").pw_uid
    os.chown(folder, account, -1)
    return account


@contextlib.contextmanager
def _folder(prefix: str) -> Iterator[Path]:
    """A new folder of mode 0700 with a short path (socket addresses hold about 100 bytes)."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for_port(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    limit = time.monotonic() + _START_SECONDS
    while time.monotonic() < limit and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise ServiceMissing(f"the server on port {port} did not start: {log.read_text()[-500:]}")


@contextlib.contextmanager
def _or_skip() -> Iterator[None]:
    """A missing service skips the test on a developer's machine and fails it where everything must be there."""
    try:
        yield
    except ServiceMissing as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a private PostgreSQL server; make databases of your own on it."""
    with contextlib.ExitStack() as stack:
        with _or_skip():
            url = stack.enter_context(postgresql())
        yield url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The URL of a private Redis server."""
    with contextlib.ExitStack() as stack:
        with _or_skip():
            url = stack.enter_context(redis())
        yield url


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """The path of Chromium; start it with CHROMIUM_FLAGS."""
    with _or_skip():
        return chromium()
