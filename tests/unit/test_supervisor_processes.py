"""Processes found by their environment, leftovers, and the death of the supervisor itself."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rrm.supervisor import embedded, processes
from rrm.supervisor.logs import rotate

ROOT = Path(__file__).resolve().parents[2]
SUPERVISOR = """
import os, sys, time
from pathlib import Path
from rrm.supervisor import guard
from rrm.supervisor.children import ChildSpec
from rrm.supervisor.table import ProcessTable
folder = Path(sys.argv[1])
spec = ChildSpec("worker", ("sh", "-c", sys.argv[3]), folder / "log", {**os.environ, "RRM_RUN": sys.argv[2]})
table = ProcessTable([spec], folder, print)
watch = guard.post("RRM_RUN", sys.argv[2], Path.cwd()) if sys.argv[4] == "guarded" else None
while True:
    table.tick()
    time.sleep(0.05)
"""


BUSY = """
import signal, sys, threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
from rrm.supervisor import program
program.keep_signals()
print("busy", flush=True)
sys.stdin.readline()
found = None
while found is None:  # asked again and again, as the supervisor does: another thread may get it first
    found = signal.sigtimedwait(program._SIGNALS, 0.1)
print(found.si_signo)
"""


class Crowd:
    """Sleeping processes with given environments."""

    def __init__(self) -> None:
        self.members: list[subprocess.Popen[bytes]] = []

    def add(self, **environment: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(["sleep", "60"], env={"PATH": os.environ["PATH"], **environment})
        self.members.append(process)
        return process


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    crowd = Crowd()
    yield crowd
    for process in crowd.members:
        process.kill()
        process.wait()


def test_leftovers_of_the_same_folder_are_ended_and_all_else_is_left_alone(crowd: Crowd, tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    left = crowd.add(RRM_DATA=str(mine), RRM_ROLE="web", RRM_RUN="old")
    bystanders = [
        crowd.add(RRM_DATA=str(other), RRM_ROLE="web", RRM_RUN="old"),
        crowd.add(RRM_DATA=str(mine), RRM_ROLE="web", RRM_RUN="new"),
        crowd.add(RRM_DATA=str(mine), RRM_ROLE="worker", RRM_RUN="old", RRM_NODE_NAME="rrm-1"),
        crowd.add(RRM_DATA=str(mine)),
    ]
    assert processes.end(embedded.leftovers(mine, "new"), grace=60, reap=left.poll) == 1
    assert left.wait(timeout=60) == -signal.SIGTERM
    assert [process.poll() for process in bystanders] == [None] * 4


def test_nodes_are_found_by_name_and_folder_even_through_a_link(crowd: Crowd, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    node = crowd.add(RRM_DATA=str(tmp_path / "link"), RRM_NODE_NAME="rrm-1")
    crowd.add(RRM_DATA=str(tmp_path / "elsewhere"), RRM_NODE_NAME="rrm-2")
    crowd.add(RRM_DATA="real", RRM_NODE_NAME="rrm-3")
    found = processes.find(embedded.nodes(tmp_path / "real"))
    assert [process.pid for process in found] == [node.pid]


def test_a_process_that_ignores_term_is_killed_after_the_grace(crowd: Crowd) -> None:
    mark = secrets.token_hex(8)
    ignore = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    environment = {**os.environ, "RRM_RUN": mark}
    stubborn = subprocess.Popen([sys.executable, "-c", ignore], env=environment, stdout=subprocess.PIPE)
    crowd.members.append(stubborn)
    assert stubborn.stdout is not None
    with stubborn.stdout as ready:
        ready.readline()
    processes.end(lambda seen: seen.get("RRM_RUN") == mark, grace=0.3, reap=stubborn.poll)
    assert stubborn.wait(timeout=60) == -signal.SIGKILL


def test_a_signal_never_reaches_a_process_that_took_over_the_pid(crowd: Crowd) -> None:
    successor = crowd.add(RRM_RUN="successor")
    processes.send(processes.Process(successor.pid, {"RRM_RUN": "predecessor"}), signal.SIGKILL)
    time.sleep(0.1)
    assert successor.poll() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_comes_while_the_supervisor_is_busy_waits_for_it(number: signal.Signals) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", BUSY], cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as busy:
        assert busy.stdout is not None
        assert busy.stdout.readline() == "busy\n"
        busy.send_signal(number)
        said, _ = busy.communicate("go on\n", timeout=60)
    assert (busy.returncode, said) == (0, f"{int(number)}\n")


@pytest.mark.slow_kill
@pytest.mark.parametrize(
    ("script", "guard", "count"),
    [("exec sleep 60", "alone", 1), ("setsid sleep 60 & exec sleep 60", "guarded", 2)],
    ids=["its-children", "what-they-forked"],
)
def test_killing_the_supervisor_leaves_nothing_behind(tmp_path: Path, script: str, guard: str, count: int) -> None:
    mark = secrets.token_hex(8)

    def marked(seen: processes.Markers) -> bool:
        return seen.get("RRM_RUN") == mark

    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISOR, str(tmp_path), mark, script, guard], cwd=ROOT)
    wait_for(lambda: len(processes.find(marked)) == count)
    supervisor.kill()
    supervisor.wait()
    assert processes.wait_gone(marked, seconds=60)


def test_a_log_over_the_limit_is_cut_while_its_writer_keeps_it_open(tmp_path: Path) -> None:
    path = tmp_path / "web.log"
    with path.open("a", buffering=1) as writer:
        writer.write("old\n" * 100)
        rotate(tmp_path, limit=100)
        writer.write("new\n")
    assert path.read_text() == "new\n"
    assert (tmp_path / "web.log.1").read_text() == "old\n" * 100


def test_only_three_old_logs_are_kept(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / "web.log").write_text(str(number) * 200)
        rotate(tmp_path, limit=100)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["web.log", "web.log.1", "web.log.2", "web.log.3"]
    assert (tmp_path / "web.log.1").read_text().startswith("5")


def wait_for(condition: object, seconds: float = 60) -> None:
    assert callable(condition)
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)
