"""A process that composes a job whose ranges can no longer be read: python -m tests.integration.farm.stalls JOB.

After the first step each range is a pipe that nobody writes to, so reading one waits as for a disk that stalls.
"""

from __future__ import annotations

import os
import sys
from typing import Any
from unittest.mock import patch
from uuid import UUID

import django
from django.apps import apps

if not apps.ready:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rrm.settings")
    django.setup()

from rrm.farm import composing, jobs
from rrm.farm.models import Job
from rrm.results import compose as results


def main(job: UUID) -> None:
    ranges = sorted(jobs.files(Job.objects.get(pk=job)).ranges.iterdir())

    def compose(*args: Any, progress: Any, **kwargs: Any) -> Any:
        def step(done: int, total: int) -> None:
            progress(done, total)
            for path in ranges if done == 1 else ():
                path.rename(path.with_suffix(".kept"))
                os.mkfifo(path)

        return results.compose(*args, progress=step, **kwargs)

    with patch.object(composing, "compose", compose):
        composing.compose_job(job)


if __name__ == "__main__":
    main(UUID(sys.argv[1]))
