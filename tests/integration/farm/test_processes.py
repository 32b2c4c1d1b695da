"""Several processes at one database: each loop is one process's at a time, and nothing is given out twice."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.db import connection as database

pytestmark = pytest.mark.slow

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of an empty database of the kind that the other tests use, with every table; to be copied."""
    folder = tmp_path_factory.mktemp("template")
    url = f"sqlite:///{folder / 'farm.sqlite3'}"
    if database.vendor == "postgresql":
        url = _new_database(os.environ["DATABASE_URL"], "template0", "processes")
    environment = {**os.environ, "RRM_DATA": str(folder), "DATABASE_URL": url}
    subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], env=environment, check=True, timeout=240)
    return url


@pytest.fixture
def environment(template: str, tmp_path: Path) -> dict[str, str]:
    """What makes a process one of this farm, which has a database of its own."""
    url = f"sqlite:///{tmp_path / 'farm.sqlite3'}"
    if database.vendor == "postgresql":
        url = _new_database(template, "processes", f"processes_{tmp_path.name}".replace("-", "_").lower())
    else:
        shutil.copy(template.removeprefix("sqlite:///"), tmp_path)
    made = {"RRM_DATA": str(tmp_path), "DATABASE_URL": url, "RRM_MAX_SESSIONS": "10000"}
    return {**os.environ, **made}


def _new_database(url: str, template: str, name: str) -> str:
    """A copy of `template` on the PostgreSQL server of `url`; its URL."""
    server = urlsplit(url)._replace(path="/postgres").geturl()
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}"')
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    return urlsplit(url)._replace(path=f"/{name}").geturl()


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Starts a process that runs the loop "tick" again and again."""
    with contextlib.ExitStack() as running:

        def start(name: str, seconds: float, longest: float = 1.5) -> subprocess.Popen[str]:
            command = (sys.executable, "-m", "tests.integration.farm.turns", str(tmp_path / "log"), name, str(seconds))
            process = subprocess.Popen(command, env={**environment, "LONGEST_TURN": str(longest)}, text=True)
            running.callback(process.wait)
            running.callback(process.kill)
            return process

        yield start


def _lines(folder: Path) -> list[str]:
    path = folder / "log"
    return path.read_text().splitlines() if path.exists() else []


def _until(condition: Callable[[], bool], seconds: float = 120) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_while_a_process_is_in_its_turn_another_that_tries_is_refused(start: Start, tmp_path: Path) -> None:
    start("first", 3600, longest=3600)
    _until(lambda: "begins first" in _lines(tmp_path))
    start("second", 0, longest=3600)

    _until(lambda: len(_lines(tmp_path)) > 5)  # whatever the second says: it is ready, and has tried so often

    said = _lines(tmp_path)
    assert said == ["begins first"] + ["is refused: second"] * (len(said) - 1)


def test_a_loop_goes_on_in_another_process_when_its_own_is_killed_in_the_middle_of_a_turn(
    start: Start, tmp_path: Path
) -> None:
    start("second", 0)
    _until(lambda: "acts second" in _lines(tmp_path))
    first = start("first", 3600)
    _until(lambda: "begins first" in _lines(tmp_path))
    first.kill()
    before = len(_lines(tmp_path))

    _until(lambda: "acts second" in _lines(tmp_path)[before:])


def test_a_process_that_slept_through_its_turn_does_not_act_beside_its_successor(start: Start, tmp_path: Path) -> None:
    sleeper = start("sleeper", 6)
    _until(lambda: "begins sleeper" in _lines(tmp_path))
    sleeper.send_signal(signal.SIGSTOP)
    start("successor", 0.3)
    _until(lambda: "acts successor" in _lines(tmp_path))
    before = len(_lines(tmp_path))
    sleeper.send_signal(signal.SIGCONT)
    _until(lambda: "begins sleeper" in _lines(tmp_path)[before:])

    # It has come to turns of its own again, and the one it lost was never acted on.
    after = [line for line in _lines(tmp_path) if line in {"begins sleeper", "acts sleeper"}]
    assert after[:2] == ["begins sleeper", "begins sleeper"]


@pytest.mark.timeout(900)
def test_rival_schedulers_give_out_everything_once_and_keep_to_all_limits(environment: dict[str, str]) -> None:
    terms = {"nodes": 24, "tiles": 120, "clients": 2, "seconds": 90, "seed": 7, "parts": ["booking", "saturation"]}
    command = (sys.executable, "-m", "benchmarks.rivals.match", json.dumps(terms))
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=880)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])

    booking, saturation = figures["booking"], figures["saturation"]
    assert (figures["double_bookings"], booking["inconsistencies"], saturation["inconsistencies"]) == (0, 0, 0)
    assert booking["booked"] == 1
    assert (saturation["sessions"], saturation["nodes_started"]) == (0, 12)
    assert figures["cap_breaches"] == 0
