"""Beat's schedule, kept also without a broker: what cannot be sent to a worker is then done in beat's own process.

So a broker that is away costs promptness and nothing else: the loops go on at their periods, and what they prompt
(launching, ending, surveying, composing) is carried out here, a few things at a time. All tasks are idempotent and the
loops are one process's at a time, so it does no harm that workers may still be at the same.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from celery.beat import PersistentScheduler, ScheduleEntry
from django.db import close_old_connections

logger = logging.getLogger(__name__)

_AT_ONCE = 4
_AHEAD = timedelta(seconds=1)  # of us: so little is no clock that was set
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class Clock(PersistentScheduler):
    """The scheduler to give to `celery beat` as --scheduler."""

    def setup_schedule(self) -> None:
        from rrm.farm import wakeups  # Django is set up by now

        super().setup_schedule()
        self._stand_in = StandIn(self.app.tasks)
        wakeups.stand_in(self._stand_in.carry_out)

    def tick(self, *args: Any, **kwargs: Any) -> Any:
        """One step of the schedule; how many seconds the next may wait."""
        self._forget_the_future()
        return super().tick(*args, **kwargs)

    def _forget_the_future(self) -> None:
        """What was last done at a time that has not come is due: the clock was set back, by an hour or a day."""
        now = self.app.now()
        ahead = [each for each in self.schedule.values() if each.last_run_at and each.last_run_at - now > _AHEAD]
        for entry in ahead:
            entry.last_run_at = _LONG_AGO
        if ahead:
            self._heap = None  # it is ordered by the clock as it was

    def _ensure_connected(self) -> Any:
        """A connection that is opened when something is sent: beat would wait here until there is a broker."""
        return self.app.connection_for_write()

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Send what is due, or do it."""
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except Exception as error:  # celery and its transports have many names for a broker that is away
            logger.debug("%s is done here, as it cannot be sent: %s", entry.task, error)
            self._stand_in.carry_out(entry.task or "", ())


class StandIn:
    """Does tasks in this process; what is at work or waits already is not begun once more."""

    def __init__(self, tasks: Mapping[str, Any]) -> None:
        self._tasks = tasks
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="rrm-stand-in")
        self._known: set[tuple[str, tuple[str, ...]]] = set()
        self._lock = threading.Lock()

    def carry_out(self, task: str, args: tuple[str, ...]) -> None:
        """Do it soon, on a thread."""
        with self._lock:
            if (task, args) in self._known:
                return
            self._known.add((task, args))
        self._pool.submit(self._do, task, args)

    def _do(self, task: str, args: tuple[str, ...]) -> None:
        try:
            close_old_connections()
            self._tasks[task](*args)
        except Exception:
            logger.exception("%s failed", task)
        finally:
            close_old_connections()
            with self._lock:
                self._known.discard((task, args))
