"""Composing that no longer moves: its process ends, nothing is half-done, and another process begins anew."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection

from rrm.domain.states import JobState
from rrm.farm import composing, jobs
from rrm.farm.models import Job
from tests.integration.farm.conftest import Farm

pytestmark = pytest.mark.slow
Stall = Callable[[Job], "subprocess.Popen[bytes]"]


@pytest.fixture
def stall() -> Stall:
    """Starts a process, at this test's database, that composes a job until it can read no more."""
    name = str(connection.settings_dict["NAME"])
    url = f"sqlite:///{name}"
    if connection.vendor == "postgresql":
        url = os.environ["DATABASE_URL"].replace("/postgres?", f"/{name}?")
    environment = {**os.environ, "DATABASE_URL": url, "RRM_COMPOSE_STANDSTILL_SECONDS": "4"}

    def start(job: Job) -> subprocess.Popen[bytes]:
        command = (sys.executable, "-m", "tests.integration.farm.stalls", str(job.pk))
        return subprocess.Popen(command, env=environment)

    return start


def ready(farm: Farm) -> Job:
    """A job of many rows of tiles that is to be composed."""
    job = farm.submit(width=16, height=256)
    farm.work_off(farm.node())
    job.refresh_from_db()
    assert job.state == JobState.COMPOSING
    return job


def readable_again(job: Job) -> None:
    for path in jobs.files(job).ranges.glob("*.kept"):
        path.replace(path.with_suffix(".rrmb"))


def drafts(job: Job) -> list[Path]:
    return list(jobs.files(job).folder.glob(".*.draft"))


def test_a_process_that_is_stuck_ends_and_leaves_the_job_to_another(shared_farm: Farm, stall: Stall) -> None:
    job = ready(shared_farm)
    stuck = stall(job)
    limit = time.monotonic() + 60
    while not drafts(job):
        assert time.monotonic() < limit
        time.sleep(0.05)
    job.refresh_from_db()
    begun = job.composed_at
    assert begun is not None
    while (job.composed_at or begun) - begun <= timedelta(seconds=1):  # so that no second process is caught by it
        assert stuck.poll() is None
        time.sleep(0.05)
        job.refresh_from_db()

    assert stuck.wait(120) == -signal.SIGKILL

    job.refresh_from_db()
    assert job.state == JobState.COMPOSING
    assert drafts(job) == []
    assert not jobs.files(job).image.exists()
    assert "stood still for" in job.events.filter(kind="log").latest("seq").data["message"]
    readable_again(job)
    composing.compose_job(job.pk)
    job.refresh_from_db()
    assert job.state == JobState.COMPLETED
    assert jobs.files(job).image.exists()


def test_the_third_time_the_job_fails_and_may_be_retried(shared_farm: Farm, stall: Stall) -> None:
    job = ready(shared_farm)
    for _ in range(3):
        assert stall(job).wait(120) == -signal.SIGKILL
        readable_again(job)
    job.refresh_from_db()
    assert job.state == JobState.FAILED
    assert job.reason == "The results could not be written: composing stood still 3 times"

    jobs.retry(job, "ada")
    composing.compose_job(job.pk)

    job.refresh_from_db()
    assert job.state == JobState.COMPLETED
