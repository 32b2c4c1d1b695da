"""Real SSH hosts for the tests: one sshd for a whole run, a folder of its own at the host for each test."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployment.minicluster.daemons import CannotStart, free_ports
from deployment.minicluster.sshd import SshHost, account
from rrm.launchers.connection import Target


@contextlib.contextmanager
def running_host(**environment: str) -> Iterator[SshHost]:
    """An sshd that is gone afterwards, with everything that it kept. Raises CannotStart."""
    folder = Path(tempfile.mkdtemp(prefix="rrm-host-", dir="/var/tmp"))
    host = SshHost(folder, free_ports(1)[0], account(), environment)
    try:
        host.start()
        yield host
    finally:
        host.stop()
        shutil.rmtree(folder, ignore_errors=True)
        forget_folders(host.account)


@pytest.fixture(scope="session")
def ssh_host() -> Iterator[SshHost]:
    """Skips the test where there is no sshd; with CI=true it fails."""
    try:
        with running_host() as host:
            yield host
    except CannotStart as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))


_folders: list[str] = []


def forget_folders(account: str) -> None:
    """Remove what the tests of this process left in the account's home."""
    while _folders:
        shutil.rmtree(Path(pwd.getpwnam(account).pw_dir) / _folders.pop(), ignore_errors=True)


def target_of(host: SshHost, installation: str = "tests") -> Target:
    """The host as a launcher is told of it; our things there lie in a new folder."""
    _folders.append(f".rrm-test-{uuid.uuid4().hex[:8]}")
    return Target(
        site="host",
        host="127.0.0.1",
        port=host.port,
        username=host.account,
        identity=host.key_file,
        host_key=host.host_key,
        python="/usr/bin/python3",
        directory=_folders[-1],
        installation=installation,
    )
