"""What goes wrong between here and a host: each is told by its name, and what can be mended is."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from deployment.minicluster.sshd import SshHost
from rrm.launchers.connection import Connection, Target, fetch_host_key, fingerprint
from rrm.launchers.connection.circuit import Circuit
from tests.contracts.lines import complaint, until


def test_a_connection_that_breaks_under_a_command_is_told_and_the_next_command_works(
    breakable: tuple[SshHost, Connection],
) -> None:
    host, connection = breakable
    connection.run(["true"])
    for word in ("41.21", "41.22", "41.23"):
        threading.Thread(target=_cut_under, args=(host, word)).start()
        complaint(lambda: connection.run(["sleep", word], timeout=40))  # noqa: B023
        assert connection.run(["echo", "back"]).stdout == b"back\n"


def _cut_under(host: SshHost, word: str) -> None:
    """Break the connection while this sleep runs at the host."""
    asleep = f"sleep\0{word}\0".encode()
    until(lambda: any(_command_of(process) == asleep for process in Path("/proc").glob("[0-9]*")))
    host.cut_sessions()


def _command_of(process: Path) -> bytes:
    with contextlib.suppress(OSError):
        return (process / "cmdline").read_bytes()
    return b""


def test_a_connection_that_broke_unnoticed_is_replaced_before_anything_is_asked(
    breakable: tuple[SshHost, Connection],
) -> None:
    host, connection = breakable
    connection.run(["true"])
    host.cut_sessions()
    assert connection.run(["echo", "back"]).stdout == b"back\n"
    assert connection.costs()["connections"] == 2


def test_a_host_that_freezes_is_noticed(breakable: tuple[SshHost, Connection]) -> None:
    host, connection = breakable
    connection.run(["true"])
    host.freeze()
    try:
        began = time.monotonic()
        complaint(lambda: connection.run(["true"], timeout=0.5))
        assert time.monotonic() - began < 60
    finally:
        host.thaw()
    assert connection.run(["echo", "back"]).stdout == b"back\n"


def test_a_host_that_is_down_is_found_again(breakable: tuple[SshHost, Connection]) -> None:
    host, connection = breakable
    host.stop()
    assert f"127.0.0.1:{host.port} cannot be reached: Connection refused." in complaint(
        lambda: connection.run(["true"])
    )
    host.start()
    assert connection.run(["echo", "back"]).stdout == b"back\n"


def test_a_changed_host_key_is_refused_with_both_fingerprints(breakable: tuple[SshHost, Connection]) -> None:
    host, connection = breakable
    old = host.host_key
    host.renew_host_key()
    said = complaint(lambda: connection.run(["true"]))
    assert fingerprint(old) in said
    assert fingerprint(host.host_key) in said
    accepted = Connection(replace(connection.target, host_key=host.host_key))
    assert accepted.run(["echo", "in"]).stdout == b"in\n"
    accepted.close()


def test_a_host_whose_key_nobody_accepted_shows_its_fingerprint(ssh_host: SshHost, target: Target) -> None:
    said = complaint(lambda: Connection(replace(target, host_key="")).run(["true"]))
    assert fingerprint(ssh_host.host_key) in said
    assert fetch_host_key(replace(target, host_key="", username="", identity=None)) == ssh_host.host_key


def test_a_refused_login_says_which_key_for_whom(breakable: tuple[SshHost, Connection]) -> None:
    host, connection = breakable
    host.refuse_user_key()
    said = complaint(lambda: connection.run(["true"]))
    assert said.startswith(f"127.0.0.1 refuses the key of user_key for {host.account}.")
    host.accept_user_key()
    assert connection.run(["echo", "in"]).stdout == b"in\n"


def test_a_key_file_that_cannot_be_used_says_what_to_do(target: Target, tmp_path: Path) -> None:
    key = tmp_path / "key"
    with_key = Connection(replace(target, identity=key), Circuit(clock=lambda: 0.0))
    with_key.circuit.check = lambda: None  # type: ignore[method-assign]
    assert "no key file key" in complaint(lambda: with_key.run(["true"]))
    key.write_text("garbage")
    assert "Run chmod 600" in complaint(lambda: with_key.run(["true"]))
    key.chmod(0o600)
    assert "no private key" in complaint(lambda: with_key.run(["true"]))
    key.unlink()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", key], check=True)
    assert "has a passphrase" in complaint(lambda: with_key.run(["true"]))


@pytest.mark.parametrize(
    "banner", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", os.urandom(2000), b"SSH-2.0-x\r\n" + b"\0" * 64]
)
def test_a_port_that_does_not_speak_ssh_is_told(target: Target, banner: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            stream, _ = listener.accept()
            stream.sendall(banner)
            stream.close()

        threading.Thread(target=answer, daemon=True).start()
        wrong = Connection(replace(target, port=listener.getsockname()[1]))
        assert "does not speak SSH as it should" in complaint(lambda: wrong.run(["true"]))


def test_a_name_that_nobody_knows_is_told(target: Target) -> None:
    said = complaint(lambda: Connection(replace(target, host="no-such-host.invalid")).run(["true"]))
    assert said.startswith("The name no-such-host.invalid is not known here")


def test_a_site_that_stays_away_is_not_hammered(target: Target) -> None:
    now = [0.0]
    away = Connection(replace(target, port=1), Circuit(clock=lambda: now[0]))
    for _ in range(20):
        complaint(lambda: away.run(["true"]))
    assert away.costs()["failures"] == 1
    assert "tried again in 1 s" in complaint(lambda: away.run(["true"]))
    for _ in range(100):
        now[0] += 1
        complaint(lambda: away.run(["true"]))
    assert away.costs()["failures"] < 20
