"""The process table with real, small child processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rrm.supervisor.children import ChildSpec
from rrm.supervisor.table import ProcessTable, delay

SLEEP = ("sleep", "60")
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"


class Stage:
    """A process table in a temporary folder, what it said, and a clock-bounded wait."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.table = ProcessTable([], folder, self.said.append)

    def child(self, name: str, argv: tuple[str, ...], **options: object) -> ChildSpec:
        return ChildSpec(name, argv, self.folder / f"{name}.log", dict(os.environ), **options)  # type: ignore[arg-type]

    def runs(self, *specs: ChildSpec) -> ProcessTable:
        self.table = ProcessTable(specs, self.folder, self.said.append)
        return self.table

    def until(self, condition: Callable[[], object], seconds: float = 60) -> None:
        limit = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < limit, self.said
            self.table.tick()
            time.sleep(0.02)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    for name in stage.table.rows:
        stage.table.stop(name, hurry=lambda: True)


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_child_that_dies_is_started_again_and_the_reason_is_said(stage: Stage) -> None:
    row = stage.runs(stage.child("web", SLEEP)).rows["web"]
    stage.until(lambda: row.pid)
    first = row.pid
    os.kill(first, signal.SIGKILL)
    stage.until(lambda: row.pid not in {0, first})
    assert "web ended (killed by SIGKILL); next start in 0.5 s" in stage.said[0]


def test_the_waits_between_starts_double_up_to_fifteen_seconds() -> None:
    assert [delay(n) for n in (1, 2, 3, 4, 5, 6, 7, 1000)] == [0.5, 1, 2, 4, 8, 15, 15, 15]


def test_a_program_that_does_not_exist_is_reported_and_does_not_stop_the_others(stage: Stage) -> None:
    table = stage.runs(stage.child("broken", ("/nonexistent/program",)), stage.child("web", SLEEP))
    stage.until(lambda: table.rows["web"].pid)
    assert "broken cannot be started (No such file or directory)" in stage.said[0]


def test_a_child_waits_for_the_one_it_depends_on_to_be_ready(stage: Stage) -> None:
    door = stage.folder / "open"
    broker = stage.child("broker", SLEEP, ready=door.exists)
    table = stage.runs(stage.child("worker", SLEEP, after=("broker",)), broker)
    stage.until(lambda: table.rows["broker"].pid)
    table.tick()
    assert table.rows["worker"].pid == 0
    door.touch()
    stage.until(lambda: table.rows["worker"].pid)


def test_a_child_is_restarted_with_the_one_it_depends_on(stage: Stage) -> None:
    table = stage.runs(stage.child("broker", SLEEP), stage.child("worker", SLEEP, after=("broker",)))
    stage.until(lambda: table.rows["worker"].pid)
    worker = table.rows["worker"].pid
    os.kill(table.rows["broker"].pid, signal.SIGKILL)
    stage.until(lambda: table.rows["worker"].pid not in {0, worker})
    assert any("worker is ended and started again: broker ended" in line for line in stage.said)


def test_what_a_dead_child_had_forked_does_not_live_on_beside_its_successor(stage: Stage) -> None:
    note = stage.folder / "pid"
    row = stage.runs(stage.child("worker", ("sh", "-c", f"sleep 60 & echo $! >{note}; wait"))).rows["worker"]
    stage.until(lambda: note.exists() and note.read_text().strip())
    grandchild, first = int(note.read_text()), row.pid
    os.kill(first, signal.SIGKILL)
    stage.until(lambda: row.pid not in {0, first})
    stage.until(lambda: not alive(grandchild))


def test_stop_ends_a_child_that_ignores_term_within_its_limit(stage: Stage) -> None:
    table = stage.runs(stage.child("worker", (sys.executable, "-c", DEAF), stop_seconds=0.5))
    log = stage.folder / "worker.log"
    stage.until(lambda: log.exists() and "deaf" in log.read_text())
    pid, begin = table.rows["worker"].pid, time.monotonic()
    table.stop("worker")
    assert 0.5 <= time.monotonic() - begin < 30
    assert not alive(pid)


def test_a_stopped_child_stays_stopped(stage: Stage) -> None:
    table = stage.runs(stage.child("web", SLEEP))
    stage.until(lambda: table.rows["web"].pid)
    table.stop("web")
    table.tick()
    assert table.rows["web"].pid == 0
    assert stage.said == []
