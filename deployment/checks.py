"""Everything that has to pass, one line per step: python -m deployment.checks [STEP …].

The whole output of a step is kept in test-results/; that of a failed one is printed as well. All steps run even when
one fails, so that a run shows everything there is to mend. The last lines are pytest's own summaries.

Steps run in lanes beside each other; those that only calculate give way to those that look at the clock. With
THOROUGH=1 every suite that runs in one process is measured by coverage, which doubles its time, tests that try things
at random try more of them, and SQLite is asked everything that PostgreSQL is.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.services import ServiceMissing, postgresql
from tests.thoroughness import THOROUGH

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "test-results"
PYTHON = sys.executable
MANAGE = (PYTHON, "manage.py")
PRODUCTION = {
    "RRM_MODE": "production",
    "RRM_SECRET_KEY": secrets.token_urlsafe(48),
    "RRM_ALLOWED_HOSTS": "rrm.example.org",
    "DATABASE_URL": "postgres://rrm@localhost/rrm",
    "REDIS_URL": "redis://localhost:6379/0",
}
_SUMMARY = re.compile(
    r"^=*\s*(\d+ (passed|failed|error|skipped|deselected|xfailed)|no tests ran)\b.* in [\d.:hms ()]+=*$"
)
_SHOWN_LINES = 150
_OF_DATABASES = ("tests/integration/farm", "tests/integration/test_consistency.py")
_KILL = "tests/acceptance/test_kill.py"
_TROUBLES = [
    f"tests/acceptance/test_{name}.py" for name in ("start_and_stop", "faults", "outages", "production_services")
]
_LIVES = {} if THOROUGH else {"STATEFUL_EXAMPLES": "4"}  # on each database half as many as when asked for alone
_LEAST_COVERED = 97  # per cent of lines and branches of rrm.domain


@dataclass(frozen=True, eq=False)
class Lane:
    """Steps that take turns: so many `at_once`, and so nice to the other lanes."""

    at_once: int = 1
    niceness: int = 0


SITES = Lane(at_once=2)  # with hosts, clusters, browsers and connections, for which they wait most of the time
CALCULATING = Lane(at_once=2, niceness=5)  # fills what the others leave of two cores


@dataclass(frozen=True)
class Step:
    """A command that must succeed. `postgresql` gives it a private server in DATABASE_URL.

    Nothing runs beside one that is `alone`.
    """

    name: str
    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    lane: Lane = CALCULATING
    postgresql: bool = False
    alone: bool = False


@dataclass(frozen=True)
class Verdict:
    step: Step
    passed: bool
    output: str
    seconds: float
    processor: float = 0.0
    """Seconds that its processes were at work, without those that were not waited for."""


def pytest_step(name: str, *paths: str, measured: Sequence[str] | None = None, **options: Any) -> Step:
    """A test suite; a path that begins with - is left out. Coverage runs it if `measured`, with these arguments."""
    arguments = ("-q", "-o", "console_output_style=classic", f"--junitxml={RESULTS / name}.xml")
    chosen = [f"--ignore={path[1:]}" if path.startswith("-") else path for path in paths]
    runner = () if measured is None else ("-m", "coverage", "run", *measured)
    return Step(name, (PYTHON, *runner, "-m", "pytest", *arguments, *chosen), **options)


def steps() -> list[Step]:
    """All steps; those of a lane in the order in which they run, the quickest verdicts first.

    Tracing doubles the time of a suite: in each run only what decides is measured, by tests of its own.
    """
    everywhere = () if THOROUGH else None
    return [
        Step("services", ("sh", "deployment/test-services/ensure.sh"), alone=True),
        Step("lint", (PYTHON, "-m", "ruff", "check", ".")),
        Step("format", (PYTHON, "-m", "ruff", "format", "--check", ".")),
        Step("layers", (str(Path(PYTHON).with_name("lint-imports")),)),
        Step("migrations", (*MANAGE, "makemigrations", "--check", "--dry-run")),
        Step("deploy", (*MANAGE, "check", "--deploy", "--fail-level", "WARNING"), PRODUCTION),
        Step("schema", (*MANAGE, "spectacular", "--validate", "--fail-on-warn", "--file", os.devnull)),
        # Takes as long as what follows.
        pytest_step("integration-postgresql", "tests/integration", environment=_LIVES, postgresql=True),
        Step("types", (PYTHON, "-m", "mypy")),
        pytest_step("unit", "tests/unit", "-tests/unit/domain", measured=everywhere),
        pytest_step("domain", "tests/unit/domain", measured=("--source=rrm.domain",)),
        # What is asked of the API is asked of PostgreSQL above, and of SQLite by services with browsers and nodes.
        pytest_step(
            "integration-sqlite",
            *(["tests/integration"] if THOROUGH else _OF_DATABASES),
            environment=_LIVES,
            measured=everywhere,
        ),
        pytest_step("cluster", "tests/cluster", lane=SITES),
        pytest_step("contracts", "tests/contracts", "tests/gateway", measured=everywhere, lane=SITES),
        pytest_step("browser", "tests/browser", lane=SITES),
        pytest_step("kill", _KILL, alone=True),
        # Two services with nodes, and what they do in time: both mostly wait, and nothing else runs by now.
        pytest_step("troubles", *_TROUBLES, lane=SITES),
        pytest_step("acceptance", "tests/acceptance", *(f"-{path}" for path in (_KILL, *_TROUBLES)), lane=SITES),
    ]


def run(step: Step, environment: dict[str, str]) -> Verdict:
    """Run one step; its output is also kept in a file."""
    path, started = RESULTS / f"{step.name}.log", time.monotonic()
    with path.open("w") as log, contextlib.ExitStack() as stack:
        data = stack.enter_context(tempfile.TemporaryDirectory(prefix="rrm-checks-"))
        extra = {"RRM_DATA": data, **step.environment}
        if step.postgresql:
            try:
                extra["DATABASE_URL"] = stack.enter_context(postgresql())
            except ServiceMissing as missing:
                may_miss = os.environ.get("CI") != "true"
                return Verdict(step, may_miss, f"not run: {missing}\n", time.monotonic() - started)
        command = ("nice", "-n", str(step.lane.niceness), *step.command)
        begun = subprocess.Popen(command, cwd=ROOT, env={**environment, **extra}, stdout=log, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(begun.pid, 0)
        begun.returncode = os.waitstatus_to_exitcode(status)
    took, at_work = time.monotonic() - started, used.ru_utime + used.ru_stime
    return Verdict(step, begun.returncode == 0, path.read_text(errors="replace"), took, at_work)


def verdicts(chosen: Sequence[Step], environment: dict[str, str]) -> Iterator[Verdict]:
    """The verdicts, each as soon as it is known; the lanes run beside each other."""
    for alone, group in itertools.groupby(chosen, key=lambda step: step.alone):
        if alone:
            yield from (run(step, environment) for step in group)
            continue
        with contextlib.ExitStack() as stack:
            pools = {lane: stack.enter_context(ThreadPoolExecutor(lane.at_once)) for lane in (SITES, CALCULATING)}
            for verdict in as_completed([pools[step.lane].submit(run, step, environment) for step in group]):
                yield verdict.result()


def clean_environment() -> dict[str, str]:
    """The environment without a developer's own settings."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("RRM_", "DJANGO_"))}
    # Without kept byte code each of the many processes would compile everything once more.
    for name in ("DATABASE_URL", "REDIS_URL", "PYTHONDONTWRITEBYTECODE"):
        own.pop(name, None)
    return {**own, "COVERAGE_FILE": str(RESULTS / ".coverage"), "PYTHONUNBUFFERED": "1"}


def coverage(environment: dict[str, str], *, gate: bool) -> bool:
    """Put the measurements together in a file and print the total; whether the domain, if a `gate`, has enough."""
    for part in RESULTS.glob(".coverage.*"):
        if part.stat().st_size == 0:  # of a process that a test killed in its first moments
            part.unlink()
    with (RESULTS / "coverage.log").open("w") as report:

        def said(*arguments: str) -> bool:
            command = (PYTHON, "-m", "coverage", *arguments)
            return not subprocess.run(command, cwd=ROOT, env=environment, stdout=report, stderr=report).returncode

        said("combine", "--quiet")
        said("report")
        enough = not gate or said("report", "--include=rrm/domain/*", f"--fail-under={_LEAST_COVERED}")
    for line in (RESULTS / "coverage.log").read_text().splitlines():
        if line.startswith("TOTAL"):
            print(f"coverage {line.split()[-1]} of lines and branches (test-results/coverage.log)")
            break
    return enough


def main(names: Sequence[str]) -> int:
    """Run the named steps, or all. Returns the exit status."""
    chosen = [step for step in steps() if not names or step.name in names]
    failed, summaries, begin = [], [], time.monotonic()
    RESULTS.mkdir(exist_ok=True)
    for old in RESULTS.glob(".coverage*"):
        old.unlink()
    environment = clean_environment()
    for number, verdict in enumerate(verdicts(chosen, environment), 1):
        word = "ok" if verdict.passed else "FAILED"
        took = f"{verdict.seconds:6.1f} s, {verdict.processor:.0f} s at work"
        print(f"[{number:2}/{len(chosen)}] {verdict.step.name:<24}{word:<8}{took}", flush=True)
        summaries += [line for line in verdict.output.splitlines() if _SUMMARY.match(line)][-1:]
        if not verdict.passed:
            failed.append(verdict.step.name)
            lines = verdict.output.splitlines()[-_SHOWN_LINES:]
            print("\n".join(f"    {line}" for line in lines), flush=True)
    enough = coverage(environment, gate=any(step.name == "domain" for step in chosen))
    print(f"{len(chosen) - len(failed)} of {len(chosen)} steps passed in {time.monotonic() - begin:.0f} s")
    failed += [] if enough else ["coverage"]
    print(*(f"FAILED: {name} (test-results/{name}.log)" for name in failed), *summaries, sep="\n", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
