"""What is done at a cluster's login host, with programs in place of Slurm's: thousands of jobs, odd folders."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rrm.errors import LauncherError, SiteUnavailable
from rrm.launchers.base import Handle, Liveness, NodeSpec
from rrm.launchers.bootstrap import Renderers
from rrm.launchers.connection import Target
from rrm.launchers.slurm import SlurmLauncher, commands
from tests.fake_slurm import FakeSlurm
from tests.far_end import FarEnd

JOBS = 5000
BROUGHT = Renderers("none", "/nowhere", sys.executable)
WORKS = (sys.executable, "-c", "import time; time.sleep(600)")


@pytest.fixture
def fake(tmp_path: Path) -> FakeSlurm:
    return FakeSlurm(tmp_path)


@pytest.fixture
def launcher(fake: FakeSlurm) -> Iterator[SlurmLauncher]:
    made = of(fake)
    yield made
    for handle in of(fake).survey([]).strays.values():
        of(fake).stop(handle, timedelta())


def of(fake: FakeSlurm, poll_interval: float = 0, doubt: float = 0) -> SlurmLauncher:
    line = FarEnd(target(fake), fake.environment)
    intervals = {"poll_interval": timedelta(seconds=poll_interval), "doubt": timedelta(seconds=doubt)}
    return SlurmLauncher(line, lambda _line: BROUGHT, **intervals)


def target(fake: FakeSlurm) -> Target:
    return Target(site="fake", host=str(fake.folder), python=sys.executable, installation="tests")


def spec(name: str) -> NodeSpec:
    return NodeSpec(name, "mandelbrot", "http://127.0.0.1:9", "token", command=WORKS)


def folder(fake: FakeSlurm, name: str) -> Path:
    return fake.folder / target(fake).folder / "nodes" / name


def replaced(fake: FakeSlurm, program: str, shell: str) -> None:
    """Have a program do this before, or in place of, what it does."""
    path = fake.folder / "bin" / program
    first, rest = path.read_text().split("\n", 1)
    path.write_text(f"{first}\n{shell}\n{rest}")


def look(launcher: SlurmLauncher, name: str) -> Liveness:
    return launcher.survey([{"name": name}]).nodes[name].liveness


def test_five_thousand_nodes_are_one_question_in_each_interval(fake: FakeSlurm) -> None:
    handles: list[Handle] = []
    for number in range(1, JOBS + 1):
        fake.add(number, name=f"rrm-{number}", comment="rrm:tests" if number % 2 else "rrm:others")
        handles.append({"name": f"rrm-{number}", "job": str(number)})
    launchers = [of(fake, poll_interval=3600) for _ in range(4)]
    begin = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: launchers[number % 4].survey(handles), range(20)))
    took = time.monotonic() - begin
    assert (fake.asked("squeue"), fake.asked("sacct")) == (1, 0)
    assert all({seen.liveness for seen in one.nodes.values()} == {Liveness.RUNNING} for one in found)
    assert all(len(one.nodes) == JOBS and not one.strays for one in found)
    assert len(launchers[0].survey([]).strays) == JOBS // 2
    assert took < 90, took


def test_launches_and_stops_ask_the_scheduler_nothing(fake: FakeSlurm, launcher: SlurmLauncher) -> None:
    handles = [launcher.launch(spec(f"rrm-{number}")) for number in range(3)]
    assert [launcher.launch(spec(handle["name"])) for handle in handles] == handles
    for handle in handles:
        launcher.stop(handle, timedelta(seconds=5))
    assert (fake.asked("sbatch"), fake.asked("squeue"), fake.asked("sacct")) == (3, 0, 0)


def test_a_job_that_vanishes_without_a_trace_is_gone_only_after_a_while(
    fake: FakeSlurm, launcher: SlurmLauncher
) -> None:
    home = folder(fake, "rrm-1")
    home.mkdir(parents=True)
    (home / "job.json").write_text(json.dumps({"job": "77", "at": time.time()}))
    assert look(launcher, "rrm-1") is Liveness.UNKNOWN
    since = json.loads((home / "absent.json").read_text())["since"]
    (home / "absent.json").write_text(json.dumps({"job": "77", "since": since - 60}))
    assert look(launcher, "rrm-1") is Liveness.GONE
    assert look(launcher, "rrm-1") is Liveness.GONE
    assert fake.asked("sacct") == 2


def test_a_job_that_was_only_overlooked_once_is_forgiven(fake: FakeSlurm, launcher: SlurmLauncher) -> None:
    handle = launcher.launch(spec("rrm-1"))
    kept = fake.folder / "jobs" / f"{handle['job']}.json"
    hidden = kept.rename(fake.folder / "hidden")
    assert look(launcher, "rrm-1") is Liveness.UNKNOWN
    hidden.rename(kept)
    assert look(launcher, "rrm-1") is Liveness.RUNNING
    assert not (folder(fake, "rrm-1") / "absent.json").exists()


def test_a_submission_in_doubt_is_not_repeated_before_it_is_certain(fake: FakeSlurm) -> None:
    replaced(fake, "sbatch", "echo 'Socket timed out on send/recv operation' >&2; exit 1")
    for _ in range(3):
        with pytest.raises(SiteUnavailable):
            of(fake, doubt=60).launch(spec("rrm-1"))
    assert fake.asked("squeue") == 2
    with pytest.raises(SiteUnavailable, match="not known"):
        of(fake).stop({"name": "rrm-1"}, timedelta())
    assert look(of(fake), "rrm-1") is Liveness.UNKNOWN


def test_a_job_of_that_name_that_got_through_is_adopted(fake: FakeSlurm, launcher: SlurmLauncher) -> None:
    replaced(fake, "sbatch", f'{sys.executable} -S {Path(__file__).parents[1]}/fake_slurm.py {fake.folder} sbatch "$@" '
             ">/dev/null; echo 'Socket timed out on send/recv operation' >&2; exit 1")  # fmt: skip
    with pytest.raises(SiteUnavailable):
        launcher.launch(spec("rrm-1"))
    assert launcher.launch(spec("rrm-1")) == {"name": "rrm-1", "job": "1"}
    assert fake.asked("sbatch") == 1


@pytest.mark.parametrize("mark", ["job.json", "attempted.json", "absent.json", "exit.json", "ended.json", "sbatch.out"])
@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"job": null}', "\x00\xff"])
def test_a_mark_that_was_cut_off_confuses_nobody(
    fake: FakeSlurm, launcher: SlurmLauncher, mark: str, text: str
) -> None:
    """Whatever became of the marks, the scheduler's word and the job's name are enough."""
    handle = launcher.launch(spec("rrm-1"))
    (folder(fake, "rrm-1") / mark).write_text(text)
    found = launcher.survey([handle])
    assert (found.problem, found.nodes["rrm-1"].liveness) == ("", Liveness.RUNNING)


def test_two_jobs_of_one_name_become_one(fake: FakeSlurm, launcher: SlurmLauncher) -> None:
    handle = launcher.launch(spec("rrm-1"))
    double = of(fake)._ask("submit", **_submission("rrm-2"))
    path = fake.folder / "jobs" / f"{double}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "name": "rrm-1"}))
    assert launcher.survey([handle]).nodes["rrm-1"].liveness is Liveness.RUNNING
    until_over = time.monotonic() + 60
    while json.loads(path.read_text())["state"] == "RUNNING":
        assert time.monotonic() < until_over
        time.sleep(0.05)
    assert launcher.survey([]).strays == {"rrm-1": handle}


def _submission(name: str) -> dict[str, Any]:
    told = "\n".join(f"#SBATCH --{word}" for word in (f"job-name={name}", "comment=rrm:tests", "output=o", "error=e"))
    return {"name": name, "script": f"{told}\nsleep 600\n", "token": "", "mark": "rrm:tests", "doubt_seconds": 0}


def test_where_there_is_no_slurm_it_is_said() -> None:
    with pytest.raises(LauncherError, match="no sbatch-of-nobody on"):
        commands._program("sbatch-of-nobody")
