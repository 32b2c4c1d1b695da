"""Commands on a real sshd: they arrive as they were given, and their answers are told apart."""

from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from deployment.minicluster.sshd import SshHost
from rrm.errors import LauncherError
from rrm.launchers.connection import Connection, Target, connection_to
from rrm.launchers.connection.connection import MOST_CHANNELS
from tests.contracts.lines import complaint, logins, until
from tests.hosts import running_host

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
    assert "said more than" in complaint(lambda: connection.run(["yes"], timeout=60))
    assert connection.run(["echo", "fine"]).stdout == b"fine\n"


def test_what_a_command_leaves_running_does_not_hold_it_up(connection: Connection) -> None:
    began = time.monotonic()
    assert connection.run(["sh", "-c", "sleep 30 & echo $!"]).stdout.strip().isdigit()
    assert time.monotonic() - began < 20


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
