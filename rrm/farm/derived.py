"""Derived files: what is made from a completed job's results when somebody first asks for it, and kept.

They are the zoomable pyramid and other formats. The work is done once in the process that was asked, by a thread of its
own: it goes on when the reader leaves, needs no broker, and a file lock keeps other processes from doing it as well.
"""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillRunning
from datetime import timedelta
from pathlib import Path
from threading import Lock

from rrm.errors import NotReady
from rrm.farm import jobs
from rrm.farm.composing import metadata
from rrm.farm.models import Job
from rrm.farm.painting import grid_of, pictures_of
from rrm.results.compose import compose_pyramid
from rrm.results.exports import EXPORTS
from rrm.results.layout import drafted
from rrm.results.shelf import CorruptRange

logger = logging.getLogger(__name__)

PATIENCE = timedelta(seconds=20)
_AT_ONCE = 2

_making: dict[Path, Future[None]] = {}
_asking = Lock()
_makers = ThreadPoolExecutor(_AT_ONCE, "derived")


def ensure_pyramid(job: Job) -> None:
    """See to it that the pyramid of a COMPLETED job is there.

    NotReady if that takes longer than PATIENCE, or if a range is lost or damaged, or the disk is full.
    """
    kept = jobs.files(job)
    if not kept.pyramid.is_dir():
        ranges = pictures_of(job)
        _ensure(kept.pyramid, lambda: compose_pyramid(kept, grid_of(job), ranges))


def ensure_export(job: Job, name: str) -> Path:
    """The file of a COMPLETED job in another format, one of EXPORTS. NotReady as for the pyramid."""
    kept = jobs.files(job)
    path, told = kept.export(name), metadata(job)

    def make() -> None:
        with drafted(path) as draft:
            EXPORTS[name].write(kept, draft, told)

    if not path.exists():
        _ensure(path, make)
    return path


def _ensure(path: Path, make: Callable[[], None]) -> None:
    with _asking:
        work = _making.get(path)
        if work is None:
            work = _making[path] = _makers.submit(_once, path, make)
    try:
        work.result(PATIENCE.total_seconds())
    except StillRunning:
        raise NotReady(f"{path.name} is being made; ask again in a moment.", retry_after=5) from None
    except (CorruptRange, OSError, ValueError) as error:
        logger.exception("%s could not be made", path)
        raise NotReady(f"{path.name} could not be made: {error}") from error


def _once(path: Path, make: Callable[[], None]) -> None:
    """Make it unless another process was faster."""
    try:
        with path.with_name(f"{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # let go by the system when its process dies
            if not path.exists():
                make()
    finally:
        with _asking:
            del _making[path]
