"""A worker of processes, as it runs in production: composing takes as long as it takes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.redis, pytest.mark.slow]

SEND = """
import django
django.setup()
import rrm.celery
from rrm.farm.tasks import compose
compose.delay("00000000-0000-0000-0000-000000000000")
"""

WORK = """
import os, time
import django
django.setup()
from rrm.celery import app
from rrm.farm import composing

app.conf.update(task_soft_time_limit=1, task_time_limit=1.5)

def compose_job(_job):
    begun, end = time.monotonic(), "done"
    try:
        while time.monotonic() < begun + 2.5:
            time.sleep(0.05)
    except Exception as error:
        end = repr(error)
    os.write(1, (end + "\\n").encode())

composing.compose_job = compose_job
app.worker_main(["worker", "-Q", "encoding", "-c1", "--without-mingle", "--without-gossip", "--without-heartbeat"])
"""


def test_composing_goes_on_beyond_the_time_that_other_tasks_have(redis_url: str, tmp_path: Path) -> None:
    made = {"REDIS_URL": redis_url, "RRM_DATA": str(tmp_path), "DJANGO_SETTINGS_MODULE": "rrm.settings"}
    environment, pipe = {**os.environ, **made}, subprocess.PIPE
    subprocess.run([sys.executable, "-c", SEND], env=environment, check=True, timeout=60)
    with subprocess.Popen([sys.executable, "-c", WORK], env=environment, stdout=pipe, text=True) as worker:
        assert worker.stdout
        found = next((line.strip() for line in worker.stdout if line.startswith(("done", "SoftTime"))), None)
        worker.terminate()
        worker.stdout.read()
    assert found == "done"
