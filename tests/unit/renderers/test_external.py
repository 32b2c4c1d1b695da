"""A node around somebody else's program: a small HTTP server that does as it is told."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from renderers import external
from renderers import program as program_module
from renderers.client import ManagerClient
from renderers.node import Identity
from renderers.program import Program
from tests.unit.renderers.manager_server import LAUNCH_TOKEN, Manager, serving
from tests.unit.renderers.processes import ROOT, launched

PROGRAM = """
import json, os, signal, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
told, options = sys.argv[1], sys.argv[2:]
if "fail-first" in options and not os.path.exists(told + ".tried"):
    open(told + ".tried", "w").close()
    sys.exit("Address already in use")
if "stubborn" in options:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "child" in options:
    import subprocess
    child = subprocess.Popen(["sleep", "611"]).pid
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if "page" in options else 500)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def do_PUT(self):
        if os.path.exists(told + ".hang"):
            time.sleep(60)
        self.send_response(500 if "broken" in options else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        with open(told, "a") as file:
            print(self.path, file=file)
        if self.path == "/v1/exit" and "stubborn" not in options:
            os._exit(0)
    def log_message(self, *args): pass
print("ready to draw", file=sys.stderr, flush=True)
port = next(option.split("=")[1] for option in options if option.startswith("port="))
with open(told, "a") as file:
    print(json.dumps([os.getpid(), options, sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, [])))]), file=file)
HTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
"""


@pytest.fixture
def manager() -> Iterator[Manager]:
    with serving(Manager()) as running:
        yield running


@contextmanager
def node(
    manager: Manager, folder: Path, *options: str, words: str = "", log: Path | None = None
) -> Iterator["subprocess.Popen[str]"]:
    (folder / "program.py").write_text(PROGRAM)
    program = f"{sys.executable} '{folder}/program.py' '{folder}/told' port=${{rest_port}} {words}"
    command = [sys.executable, "-m", "renderers", "external", "--manager", manager.url, "--name", "rrm-x"]
    command += ["--hostname", "127.0.0.1", "--command", program, *options]
    errors = log.open("a") if log else None
    process = launched(command, errors=errors or subprocess.PIPE)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)
        if errors:
            errors.close()


def said(folder: Path) -> list[str]:
    return (folder / "told").read_text().splitlines()


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_the_program_is_reported_with_its_address_once_it_answers(manager: Manager, tmp_path: Path) -> None:
    with node(
        manager, tmp_path, "--schema", "restlivre", words="'two words' ${rest_schema} ${job_id} $HOME"
    ) as process:
        manager.wait_for(manager.saw("heartbeat"))
        address = manager.bodies("register")[0]["address"]
        assert httpx.put(f"http://{address}/anything", timeout=30).status_code == 200
        pid, options, blocked = json.loads(said(tmp_path)[0])
        assert options == [f"port={address.split(':')[1]}", "two words", "restlivrerrm-x", "rrm-x", "$HOME"]
        assert blocked == []
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 0
        assert "/v1/exit" in said(tmp_path)
        assert is_gone(pid)


def test_a_program_that_ends_at_once_is_tried_on_another_port(manager: Manager, tmp_path: Path) -> None:
    with node(manager, tmp_path, words="fail-first"):
        manager.wait_for(manager.saw("register"))
        assert (tmp_path / "told.tried").exists()


def test_a_program_that_cannot_be_started_is_told_and_never_registered(manager: Manager, tmp_path: Path) -> None:
    for program in ("/no/such/program", "'never closed", ""):
        with node(manager, tmp_path, "--command", program) as process:
            _, log = process.communicate(timeout=60)
            assert process.returncode == 1, log
            assert "cannot be used" in log
    assert manager.bodies("register") == []


def test_a_program_that_answers_errors_is_not_ready(manager: Manager, tmp_path: Path) -> None:
    with node(manager, tmp_path, words="broken"):
        time.sleep(1.5)
        assert manager.bodies("register") == []
    with node(manager, tmp_path, "--no-wait", words="broken"):
        manager.wait_for(manager.saw("register"))


def test_a_stubborn_program_and_what_it_started_are_killed(manager: Manager, tmp_path: Path) -> None:
    with node(manager, tmp_path, "--no-graceful-exit", words="stubborn child") as process:
        manager.wait_for(manager.saw("register"))
        pid = json.loads(said(tmp_path)[0])[0]
        group = os.getpgid(pid)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert "/v1/exit" not in said(tmp_path)
        all_gone(group)


def anybody_lives(group: int) -> bool:
    """Whether there are processes of this group; zombies that await their collector do not count."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            return True
    return False


def test_a_program_that_ends_ends_its_node_which_says_so_last(manager: Manager, tmp_path: Path) -> None:
    told, log = tmp_path / "exit.json", tmp_path / "err.log"
    with node(manager, tmp_path, "--exit-file", str(told), log=log) as process:
        manager.wait_for(manager.saw("register"))
        os.kill(json.loads(said(tmp_path)[0])[0], signal.SIGKILL)
        process.communicate(timeout=60)
        assert process.returncode == 1
    assert log.read_text().splitlines()[-1].endswith("was ended by SIGKILL; its last line: ready to draw")
    assert manager.bodies("goodbye") == []  # that would be leaving in order: its site tells that it failed
    assert json.loads(told.read_text())["reason"] == "broken"


def test_a_program_that_stops_answering_keeps_its_node_and_is_reported(
    manager: Manager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external, "PROBE_EVERY", 0.2)
    monkeypatch.setattr(program_module, "PROBE_SECONDS", 1.5)
    (tmp_path / "program.py").write_text(PROGRAM)
    words = f"{sys.executable} '{tmp_path}/program.py' '{tmp_path}/told' port=${{rest_port}}"
    identity = Identity("rrm-x", "127.0.0.1", "1", 1, os.getpid())
    agent = external.ExternalNode(ManagerClient(manager.url, LAUNCH_TOKEN), identity, Program(words), "7")
    life = threading.Thread(target=agent.run)
    life.start()
    try:
        manager.wait_for(manager.saw("heartbeat"))
        assert problems(manager) == []
        (tmp_path / "told.hang").touch()
        manager.wait_for(lambda: any("timed out" in problem for problem in problems(manager)))
        assert life.is_alive()
        (tmp_path / "told.hang").unlink()
        os.kill(json.loads(said(tmp_path)[0])[0], signal.SIGSTOP)
    finally:
        agent.drain("the test is over")
        life.join(60)
        agent.close(1)
    assert not life.is_alive()
    assert is_gone(json.loads(said(tmp_path)[0])[0])


def problems(manager: Manager) -> list[str]:
    return [body["problem"] for body in manager.bodies("heartbeat") if "problem" in body]


def test_a_server_that_knows_no_more_than_pages_is_ready(manager: Manager, tmp_path: Path) -> None:
    with node(manager, tmp_path, words="broken page"):
        manager.wait_for(manager.saw("register"))


def test_a_program_has_its_own_libraries(manager: Manager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}/opt/theirs")
    with node(manager, tmp_path):
        manager.wait_for(manager.saw("register"))
        pid = json.loads(said(tmp_path)[0])[0]
        found = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert b"PYTHONPATH=/opt/theirs" in found


def test_words_are_split_as_a_shell_does_and_nothing_is_executed() -> None:
    program = Program("prog '${rest_hostname}' $(id) `id`", ":${rest_port} ; rm -rf /", schema="s")
    assert program.words("host", 80, "7") == ["prog", "host", "$(id)", "`id`", ":80", ";", "rm", "-rf", "/"]


def test_a_node_that_is_killed_takes_its_program_and_what_that_started_with_it(
    manager: Manager, tmp_path: Path
) -> None:
    with node(manager, tmp_path, words="stubborn child") as process:
        manager.wait_for(manager.saw("register"))
        group = os.getpgid(json.loads(said(tmp_path)[0])[0])
        process.kill()
        all_gone(group)


def all_gone(group: int) -> None:
    """Wait until nobody of the group lives: a process that was killed needs a moment to be gone."""
    deadline = time.monotonic() + 60
    while anybody_lives(group):
        assert time.monotonic() < deadline
        time.sleep(0.02)
