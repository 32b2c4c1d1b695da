"""A node around somebody else's program: a small HTTP server that does as it is told."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from renderers.external import Program
from tests.unit.renderers.manager_server import LAUNCH_TOKEN, Manager, serving

ROOT = Path(__file__).resolve().parents[3]
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
    def do_PUT(self):
        self.send_response(500 if "broken" in options else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        with open(told, "a") as file:
            print(self.path, file=file)
        if self.path == "/v1/exit" and "stubborn" not in options:
            os._exit(0)
    def log_message(self, *args): pass
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
def node(manager: Manager, folder: Path, *options: str, words: str = "") -> Iterator["subprocess.Popen[str]"]:
    (folder / "program.py").write_text(PROGRAM)
    program = f"{sys.executable} '{folder}/program.py' '{folder}/told' port=${{rest_port}} {words}"
    command = [sys.executable, "-m", "renderers", "external", "--manager", manager.url, "--name", "rrm-x"]
    command += ["--hostname", "127.0.0.1", "--command", program, *options]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(LAUNCH_TOKEN + "\n")
    process.stdin.close()
    process.stdin = None
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=30)


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
        assert httpx.put(f"http://{address}/anything").status_code == 200
        pid, options, blocked = json.loads(said(tmp_path)[0])
        assert options == [f"port={address.split(':')[1]}", "two words", "restlivrerrm-x", "rrm-x", "$HOME"]
        assert blocked == []
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=15)
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
            _, log = process.communicate(timeout=20)
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
        process.communicate(timeout=20)
        assert "/v1/exit" not in said(tmp_path)
        with pytest.raises(ProcessLookupError):
            _signal_living(group)


def _signal_living(group: int) -> None:
    """Raises ProcessLookupError when nobody lives in the group; zombies that await their collector do not count."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            return
    raise ProcessLookupError


def test_a_program_that_ends_ends_its_node_and_the_manager_is_told(manager: Manager, tmp_path: Path) -> None:
    told = tmp_path / "exit.json"
    with node(manager, tmp_path, "--exit-file", str(told)) as process:
        manager.wait_for(manager.saw("register"))
        os.kill(json.loads(said(tmp_path)[0])[0], signal.SIGKILL)
        process.communicate(timeout=15)
        assert process.returncode == 1
    assert manager.bodies("goodbye") == [{"reason": "its program ended with status -9"}]
    assert json.loads(told.read_text())["reason"] == "broken"


def test_words_are_split_as_a_shell_does_and_nothing_is_executed() -> None:
    program = Program("prog '${rest_hostname}' $(id) `id`", ":${rest_port} ; rm -rf /", schema="s")
    assert program.words("host", 80, "7") == ["prog", "host", "$(id)", "`id`", ":80", ";", "rm", "-rf", "/"]


def test_a_node_that_is_killed_takes_its_program_with_it(manager: Manager, tmp_path: Path) -> None:
    with node(manager, tmp_path) as process:
        manager.wait_for(manager.saw("register"))
        process.kill()
        process.communicate(timeout=10)
        pid = json.loads(said(tmp_path)[0])[0]
        deadline = time.monotonic() + 5
        while not is_gone(pid):
            assert time.monotonic() < deadline
            time.sleep(0.02)
