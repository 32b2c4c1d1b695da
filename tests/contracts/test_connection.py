"""The SSH connection against a real sshd, and against what goes wrong between here and there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from deployment.minicluster.sshd import SshHost
from rrm.errors import LauncherError, SiteUnavailable
from rrm.launchers.connection import REACHES, Connection, Target, connection_to, fetch_host_key, fingerprint
from rrm.launchers.connection.circuit import Circuit
from rrm.launchers.connection.connection import MOST_CHANNELS
from tests.hosts import running_host, target_of

HOSTILE = (
    *(
        "",
        " ",
        "'",
        '"',
        "\\",
        "`id`",
        "$(touch /tmp/injected)",
        "; touch /tmp/injected",
        "| cat",
        "&& id",
        "> /tmp/injected",
    ),
    *(
        "a\nb",
        "a\rb",
        "\t",
        "*",
        "~",
        "$HOME",
        "${IFS}id",
        "!!",
        "#",
        "-rf",
        "--help",
        "%n%s",
        "\x1b[31m",
        "\x7f",
        "é",
        "日本",
        "😀",
    ),
    *("'; touch /tmp/injected; '", '"$(touch /tmp/injected)"', "\\'", "'\\''", "a'b\"c`d$e", "x" * 50_000),
)


@pytest.fixture
def target(ssh_host: SshHost) -> Target:
    return target_of(ssh_host)


@pytest.fixture
def connection(target: Target) -> Iterator[Connection]:
    made = Connection(target)
    yield made
    made.close()


@pytest.fixture
def breakable() -> Iterator[tuple[SshHost, Connection]]:
    """A host of the test's own, and a connection that tries again at once."""
    with running_host() as host:
        made = Connection(target_of(host), Circuit(clock=lambda: 0.0))
        made.circuit.check = lambda: None  # type: ignore[method-assign]
        yield host, made
        made.close()


def logins(host: SshHost) -> int:
    return host.log.count("Accepted publickey")


def complaint(act: Callable[[], object]) -> str:
    with pytest.raises(SiteUnavailable) as caught:
        act()
    return caught.value.detail


def test_commands_of_many_threads_share_one_connection(ssh_host: SshHost, connection: Connection) -> None:
    before = logins(ssh_host)

    def ask(number: int) -> bool:
        text = f"{number}-{'x' * 40_000}".encode()
        return connection.run(["cat"], text).stdout == text and connection.run(["true"], b"unread").status == 0

    with ThreadPoolExecutor(4 * MOST_CHANNELS) as pool:
        assert all(pool.map(ask, range(160)))
    assert logins(ssh_host) - before == 1
    assert connection.costs() == {"connections": 1, "channels": 320, "failures": 0}


def test_words_arrive_as_they_were_given(connection: Connection) -> None:
    Path("/tmp/injected").unlink(missing_ok=True)
    done = connection.run(["printf", "%s\\0", *HOSTILE])
    assert done.stdout.split(b"\0")[:-1] == [word.encode() for word in HOSTILE]
    assert connection.call("def main(words): return words", list(HOSTILE)) == list(HOSTILE)
    assert not Path("/tmp/injected").exists()
    with pytest.raises(LauncherError, match="NUL"):
        connection.run(["echo", "a\0b"])


def test_status_and_both_streams_are_told_apart(connection: Connection) -> None:
    done = connection.run(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (done.status, done.stdout, done.stderr, done.complaint) == (7, b"out\n", b"err\n", "err")
    assert connection.run(["no-such-program"]).status == 127
    assert connection.run(["sh", "-c", "kill -9 $$"]).status == -1


def test_a_command_that_takes_too_long_is_ended_over_there(connection: Connection) -> None:
    assert "did not end within 0.5 s" in complaint(lambda: connection.run(["sleep", "617.25"], timeout=0.5))
    until(lambda: b"617.25" not in connection.run(["ps", "-eo", "args"]).stdout.replace(b"ps -eo", b""))
    assert connection.costs()["connections"] == 1


def test_a_command_that_never_stops_talking_is_cut_short(connection: Connection) -> None:
    assert "said more than" in complaint(lambda: connection.run(["yes"], timeout=5))
    assert connection.run(["echo", "fine"]).stdout == b"fine\n"


def test_what_a_command_leaves_running_does_not_hold_it_up(connection: Connection) -> None:
    began = time.monotonic()
    assert connection.run(["sh", "-c", "sleep 30 & echo $!"]).stdout.strip().isdigit()
    assert time.monotonic() - began < 5


def test_noise_of_login_files_is_not_taken_for_the_answer(breakable: tuple[SshHost, Connection]) -> None:
    host, connection = breakable
    assert connection.call("def main(r):\n print('noise {\"a\": 1}')\n return r", {"a": 2}) == {"a": 2}
    assert host.daemon.is_alive


def test_a_program_that_fails_over_there_says_why(connection: Connection) -> None:
    with pytest.raises(LauncherError, match="ValueError: it went wrong"):
        connection.call("def main(r): raise ValueError('it went wrong')", None)
    odd = Connection(replace(connection.target, python="python-of-nobody"))
    with pytest.raises(LauncherError, match="no python-of-nobody at"):
        odd.call("def main(r): return r", None)


def test_data_follows_a_question_as_a_stream(connection: Connection) -> None:
    source = "import sys, hashlib\ndef main(r): return hashlib.file_digest(sys.stdin.buffer, 'sha256').hexdigest()"
    pieces = [os.urandom(100_000) for _ in range(40)]
    assert connection.call(source, None, data=iter(pieces)) == hashlib.sha256(b"".join(pieces)).hexdigest()


def test_a_connection_that_breaks_under_a_command_is_told_and_the_next_command_works(
    breakable: tuple[SshHost, Connection],
) -> None:
    host, connection = breakable
    connection.run(["true"])
    for delay in (0.2, 0.4, 0.6):
        threading.Timer(delay, host.cut_sessions).start()
        complaint(lambda: connection.run(["sleep", "5"]))
        assert connection.run(["echo", "back"]).stdout == b"back\n"


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
        assert time.monotonic() - began < 25
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


def test_a_child_process_opens_a_connection_of_its_own(ssh_host: SshHost, target: Target) -> None:
    connection = connection_to(target)
    connection.run(["true"])
    before = logins(ssh_host)
    child = os.fork()
    if child == 0:
        fine = connection_to(target) is not connection and connection_to(target).run(["echo", "x"]).stdout == b"x\n"
        os._exit(0 if fine else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert connection.run(["echo", "still"]).stdout == b"still\n"
    assert logins(ssh_host) - before == 1
    connection.close()


class Echo:
    """A server here that sends back what it gets."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                stream, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(stream,), daemon=True).start()

    def _answer(self, stream: socket.socket) -> None:
        with stream:
            while piece := stream.recv(65536):
                stream.sendall(piece)


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.listener.close()


def there_and_back(port: int, size: int) -> bool:
    """Send through a port of the host, close our half, and read until the other end closes its half."""
    sent, got = os.urandom(size), bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as stream:
        writer = threading.Thread(target=_send_all, args=(stream, sent))
        writer.start()
        while piece := stream.recv(65536):
            got += piece
        writer.join()
    return bytes(got) == sent


def _send_all(stream: socket.socket, text: bytes) -> None:
    stream.sendall(text)
    stream.shutdown(socket.SHUT_WR)


def test_a_port_of_the_host_leads_here(connection: Connection, echo: Echo) -> None:
    forward = connection.listen("127.0.0.1", 0, ("127.0.0.1", echo.port))
    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(lambda size: there_and_back(forward.port, size), [0, 1, 100_000, 2_000_000] * 6))
    connection.unlisten(forward)
    with pytest.raises(OSError):  # noqa: PT011 - refused or cut off, as it comes
        assert there_and_back(forward.port, 10)


def test_a_port_of_the_host_comes_back_with_the_connection(breakable: tuple[SshHost, Connection], echo: Echo) -> None:
    host, connection = breakable
    forward = connection.listen("127.0.0.1", 0, ("127.0.0.1", echo.port))
    port = forward.port
    host.cut_sessions()
    until(lambda: connection.run(["true"]).status == 0)
    assert forward.port == port
    assert there_and_back(port, 1000)


def test_a_host_that_keeps_forwarded_ports_to_itself_is_helped_by_a_program_of_ours(
    breakable: tuple[SshHost, Connection], echo: Echo
) -> None:
    host, connection = breakable
    forward = connection.listen("0.0.0.0", 0, ("127.0.0.1", echo.port))  # noqa: S104 - what is asked of the host
    others = "127.0.0.2"
    assert not connection.call(REACHES, {"host": others, "port": forward.port})
    relay = connection.relay(0, forward.port)
    assert connection.call(REACHES, {"host": others, "port": relay.port})
    assert there_and_back(relay.port, 3_000_000)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda size: there_and_back(relay.port, size), [50_000] * 100))
    host.cut_sessions()
    until(lambda: not relay.is_alive, 30)
    until(lambda: not listens(relay.port), 30)
    again = connection.relay(relay.port, forward.port)
    assert again.port == relay.port
    assert there_and_back(again.port, 1000)
    again.close()
    until(lambda: not listens(again.port), 30)


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def test_a_stream_leads_to_what_the_host_can_reach(connection: Connection, echo: Echo) -> None:
    stream = connection.open("127.0.0.1", echo.port)
    stream.sendall(b"hello")
    assert stream.recv(100) == b"hello"
    stream.close()
    assert "does not lead to 127.0.0.1:1" in complaint(lambda: connection.open("127.0.0.1", 1))


def test_an_ssh_configuration_is_honoured(ssh_host: SshHost, tmp_path: Path) -> None:
    with running_host() as inner:
        known = tmp_path / "known_hosts"
        known.write_text(f"[127.0.0.1]:{ssh_host.port} {ssh_host.host_key}\n")
        config = tmp_path / "config"
        config.write_text(
            f"Host inner\n  HostName 127.0.0.1\n  Port {inner.port}\n  User {inner.account}\n"
            f"  IdentityFile {inner.key_file}\n  ProxyJump gate\n"
            f"Host gate\n  HostName 127.0.0.1\n  Port {ssh_host.port}\n  User {ssh_host.account}\n"
            f"  IdentityFile {ssh_host.key_file}\n  UserKnownHostsFile {known}\n"
        )
        jumping = Connection(Target("inner", "inner", host_key=inner.host_key, config=config))
        assert jumping.run(["echo", "through"]).stdout == b"through\n"
        jumping.close()
        known.write_text("")
        assert "The jump host" in complaint(lambda: jumping.run(["true"]))


def until(condition: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except SiteUnavailable:
            pass
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.05)
