"""Derived files: what is made from a completed job's results when somebody first asks for it, and kept.

They are the zoomable pyramid and other formats. The work is done once in the process that was asked, by a thread of its
own: it goes on when the reader leaves, needs no broker, and a file lock keeps other processes from doing it as well.
"""

from __future__ import annotations

import errno
import fcntl
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillRunning
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import BoundedSemaphore, Lock

from rrm.errors import NotFound, NotReady
from rrm.farm import jobs
from rrm.farm.composing import metadata
from rrm.farm.models import Job
from rrm.farm.painting import pictures_of
from rrm.results.compose import compose_pyramid
from rrm.results.exports import EXPORTS, Origin
from rrm.results.layout import drafted
from rrm.results.shelf import CorruptRange

logger = logging.getLogger(__name__)

PATIENCE = timedelta(seconds=5)
_RETRY_SECONDS = 1
_WAITING = 4  # readers that may wait at once: each keeps a thread that nodes and other people want as well

_making: dict[Path, Future[None]] = {}
_asking = Lock()
_places = BoundedSemaphore(_WAITING)
_pyramids = ThreadPoolExecutor(2, "pyramid")  # apart, so that the longest export delays no page
_exports = ThreadPoolExecutor(1, "export")  # one at a time: some formats need the whole picture in memory


def ensure_pyramid(job: Job) -> None:
    """See to it that the pyramid of a COMPLETED job is there.

    NotReady if that takes longer than PATIENCE, or cannot be done: a range is lost or damaged, the disk is full.
    """
    kept = jobs.files(job)
    if not kept.pyramid.is_dir():
        ranges = pictures_of(job)
        _ensure(kept.pyramid, lambda: compose_pyramid(kept, job.grid, ranges), _pyramids)


def ensure_export(job: Job, name: str) -> Path:
    """The file of a COMPLETED job in another format, one of EXPORTS. NotReady as for the pyramid."""
    kept = jobs.files(job)
    path = kept.export(name)
    origin = Origin(kept, metadata(job), job.palette, int(job.model.params["max_iter"]))

    def make() -> None:
        with drafted(path) as draft:
            EXPORTS[name].write(origin, draft)

    if not path.exists():
        _ensure(path, make, _exports)
    return path


def _ensure(path: Path, make: Callable[[], None], pool: Executor) -> None:
    with _asking:
        work = _making.get(path)
        if work is None:
            work = _making[path] = pool.submit(_once, path, make)
    try:
        with _a_place():
            work.result(PATIENCE.total_seconds())
    except StillRunning:
        raise NotReady(f"{path.name} is being made; ask again in a moment.", retry_after=_RETRY_SECONDS) from None
    except (CorruptRange, OSError, ValueError) as error:
        if not path.parent.is_dir():
            raise NotFound("The job was deleted.") from None
        logger.exception("%s could not be made", path)
        reason = error.strerror if isinstance(error, OSError) else "a part of the results is lost or damaged"
        raise NotReady(f"{path.name} could not be made: {reason}.") from error
    finally:
        del work  # its exception holds this frame: together they would keep the files that it had open


@contextmanager
def _a_place() -> Iterator[None]:
    """A reader's place to wait. Raises StillRunning when all are taken."""
    if not _places.acquire(blocking=False):
        raise StillRunning
    try:
        yield
    finally:
        _places.release()


def _once(path: Path, make: Callable[[], None]) -> None:
    """Make it unless another process was faster."""
    try:
        with path.with_name(f"{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # let go by the system when its process dies
            if not path.parent.is_dir():  # the job was deleted, with the lock's name
                raise FileNotFoundError(errno.ENOENT, "the job was deleted")
            if not path.exists():
                make()
    finally:
        with _asking:
            del _making[path]
