"""Beat: what is due is done whatever becomes of the broker, and of the clock on the wall."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from celery import Celery

from rrm.clock import Clock
from rrm.farm import wakeups
from tests import services

NOBODY = "redis://127.0.0.1:1/0"


class Beat:
    """A scheduler without a broker, whose wall clock the test sets; `done` are the tasks that it did itself."""

    def __init__(self, folder: Path) -> None:
        self.at = datetime(2026, 6, 1, 12, tzinfo=UTC)
        self.done: list[str] = []
        self.app = Celery("beat", broker=NOBODY)
        self.app.conf.update(
            broker_transport_options={"max_retries": 0, "interval_start": 0},
            task_publish_retry=False,
            result_expires=None,
        )
        periods = {"often": 5, "seldom": 15}
        self.app.conf.beat_schedule = {name: {"task": name, "schedule": each} for name, each in periods.items()}
        for name in periods:
            self._add_task(name)
        self.app.now = lambda: self.at  # type: ignore[method-assign]
        self.file = folder / "schedule"
        self.begin()

    def _add_task(self, name: str) -> None:
        def do() -> None:
            self.done.append(name)

        self.app.task(name=name, shared=False)(do)

    def begin(self) -> None:
        self.clock = Clock(self.app, schedule_filename=str(self.file))

    def ticks(self) -> list[str]:
        """What is done at this moment."""
        self.done.clear()
        while self.clock.tick() == 0:
            pass
        while self.clock._stand_in._known:
            time.sleep(0.001)
        return sorted(self.done)

    def after(self, **span: float) -> list[str]:
        self.at += timedelta(**span)
        return self.ticks()


@pytest.fixture
def beat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Beat]:
    monkeypatch.setattr(wakeups, "_carry_out", None)
    made = Beat(tmp_path)
    yield made
    made.clock.close()


def test_each_task_is_done_at_its_period(beat: Beat) -> None:
    assert beat.ticks() == []
    assert [beat.after(seconds=5) for _ in range(3)] == [["often"], ["often"], ["often", "seldom"]]


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_makes_everything_due_and_the_periods_go_on(beat: Beat, hours: int) -> None:
    beat.ticks()
    beat.after(seconds=5)
    assert beat.after(hours=hours) == ["often", "seldom"]
    assert beat.ticks() == []
    assert [beat.after(seconds=5) for _ in range(3)] == [["often"], ["often"], ["often", "seldom"]]


def test_a_schedule_that_was_written_by_a_clock_ahead_of_ours_keeps_nothing_waiting(beat: Beat) -> None:
    beat.ticks()
    beat.after(seconds=15)
    beat.clock.close()
    beat.at -= timedelta(hours=1)
    beat.begin()
    assert beat.ticks() == ["often", "seldom"]


FROZEN = """
import sys, time
import django
django.setup()
import redis
from rrm.celery import app
app.send_task("rrm.housekeeping")
redis.Redis.from_url(sys.argv[1]).client_pause(120_000)
begun = time.monotonic()
try:
    app.send_task("rrm.housekeeping", retry=False)
except Exception as error:
    print(type(error).__name__, time.monotonic() - begun)
"""


@pytest.mark.redis
def test_a_broker_that_takes_and_never_answers_is_as_good_as_none(tmp_path: Path) -> None:
    with services.redis() as url:
        environment = {**os.environ, "REDIS_URL": url, "RRM_DATA": str(tmp_path)}
        command = [sys.executable, "-c", FROZEN, url]
        told = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=240, check=True)
    name, seconds = told.stdout.split()
    assert name == "OperationalError"
    assert float(seconds) < 60
