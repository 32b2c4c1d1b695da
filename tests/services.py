"""Real servers for the tests, each private to one test run: own folder, own socket or free port, gone afterwards.

As context managers for scripts (`postgresql`, `redis`) and as session fixtures (`postgres_url`, `redis_url`,
`chromium_path`). A missing program skips the test that needs it and says how to install it; with CI=true it fails.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import psycopg
import pytest

from deployment.minicluster.daemons import free_ports
from rrm.supervisor.children import bound_to

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
_START_SECONDS = 60.0
_REMEDY = "run deployment/test-services/ensure.sh"


class ServiceMissing(RuntimeError):
    """A program that the tests need is not installed, or its server did not start."""


@contextlib.contextmanager
def postgresql(*, durable: bool = False) -> Iterator[str]:
    """A PostgreSQL server with one empty database; yields its postgres:// URL. Raises ServiceMissing.

    Only a `durable` one writes to disk before it answers.
    """
    programs = _postgresql_programs()
    with _folder("rrm-postgresql-") as folder, (folder / "log").open("wb") as log:
        account, data = _unprivileged(folder), folder / "data"
        initdb = (programs / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8")
        subprocess.run(initdb, check=True, stdout=log, user=account, cwd=folder, timeout=120)
        # Reached by a socket in a folder that no other account can enter, which is why it asks for no password.
        options = {"unix_socket_directories": folder, "listen_addresses": "", "max_connections": 200}
        if not durable:
            options |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        url = f"postgres://postgres@/postgres?host={folder}"
        with _server([programs / "postgres", "-D", data, *words], log, signal.SIGQUIT, account) as server:
            _wait(server, lambda: _accepts(url), folder / "log")
            yield url


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
        with _server([program, *options], log, signal.SIGKILL) as server:
            _wait(server, lambda: _listens(port), folder / "log")
            yield f"redis://127.0.0.1:{port}/0"


def chromium() -> str:
    """The path of an installed Chromium. Raises ServiceMissing."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    raise ServiceMissing(f"chromium is not installed: {_REMEDY}")


def free_port() -> int:
    """A TCP port on the loopback interface that nobody listens on at this moment."""
    return free_ports(1)[0]


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


@contextlib.contextmanager
def _server(
    command: Sequence[str | Path], log: BinaryIO, end: signal.Signals, account: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that `end` stops at once; it gets that signal too when this process is killed."""
    bind = bound_to(os.getpid(), end)
    server = subprocess.Popen(command, stdout=log, stderr=log, user=account, cwd="/", preexec_fn=bind)
    try:
        yield server
    finally:
        server.send_signal(end)
        server.wait()


def _wait(server: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path) -> None:
    limit = time.monotonic() + _START_SECONDS
    while time.monotonic() < limit and server.poll() is None:
        if ready():
            return
        time.sleep(0.02)
    raise ServiceMissing(f"the server did not start: {log.read_text()[-500:]}")


def _accepts(url: str) -> bool:
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url):
        return True
    return False


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


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
