"""A process that composes a job whose ranges can no longer be read: python -m tests.integration.farm.stalls JOB.

After the first step each range is a pipe that nobody writes to, so reading one waits as for a disk that stalls.
"""

from __future__ import annotations

import os
import sys
from typing import Any
from uuid import UUID

import django
from django.apps import apps

if not apps.ready:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rrm.settings")
    django.setup()

from rrm.farm import composing, jobs
from rrm.farm.models import Job


def main(job: UUID) -> None:
    ranges = sorted(jobs.files(Job.objects.get(pk=job)).ranges.iterdir())
    real = composing.compose

    def compose(*args: Any, progress: Any, **kwargs: Any) -> Any:
        def step(done: int, total: int) -> None:
            progress(done, total)
            for path in ranges if done == 1 else ():
                path.rename(path.with_suffix(".kept"))
                os.mkfifo(path)

        return real(*args, progress=step, **kwargs)

    composing.compose = compose
    composing.compose_job(job)


if __name__ == "__main__":
    main(UUID(sys.argv[1]))
