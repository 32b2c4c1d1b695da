"""Loops that any process may run and only one runs at a time; the rows tell when each last came through.

A turn belongs to a process until an instant. One that died loses it then, and one that slept, or was kept too long,
finds out at its next `fence`: its successor is at work, and what it decided before may no longer be right.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils import timezone

from rrm.farm.models import Loop

logger = logging.getLogger(__name__)

LONGEST_TURN = timedelta(seconds=20)
PAUSE = timedelta(minutes=1)
_IN_A_ROW = timedelta(seconds=5)  # one process turns again for so long; later the next tick does


class TurnLost(Exception):
    """Another process runs this loop by now."""


@dataclass
class _Turn:
    name: str
    until: datetime
    turned: datetime

    def fence(self) -> None:
        """Go on until later, or raise TurnLost."""
        now = timezone.now()
        until = now + LONGEST_TURN
        if not self._row().update(running_until=until, **_sign(self.turned, now)):
            raise TurnLost(f"The loop {self.name} was taken over.")
        self.until, self.turned = until, now

    def end(self, error: str) -> bool:
        """Whether somebody asked for another turn meanwhile."""
        now = timezone.now()
        came_through = {} if error else {"last_finished": now}
        facts = {"running_until": None, "last_error": error[:500], **_sign(self.turned, now), **came_through}
        return not self._row().filter(again=False).update(**facts) and bool(self._row().update(**facts))

    def _row(self) -> QuerySet[Loop]:
        return Loop.objects.filter(name=self.name, running_until=self.until)


def _sign(before: datetime | None, now: datetime) -> dict[str, datetime]:
    """What is written of a loop that turns at this moment. Long after it last did, it is steady only from here on."""
    longest = max(PAUSE, 3 * settings.RRM.reconcile_period)
    is_steady = before is not None and abs(now - before) <= longest
    return {"last_turned": now} if is_steady else {"last_turned": now, "steady_since": now}


_current: ContextVar[_Turn | None] = ContextVar("turn", default=None)


def run(name: str, turn: Callable[[datetime], None]) -> bool:
    """Run one turn of loop `name`, and another if somebody asks for one meanwhile; whether it ran.

    While another process is at it, that one is asked to turn again. The turn of a process that died is over after
    LONGEST_TURN. A turn that raises is recorded and raises.
    """
    began, own = time.monotonic(), _take(name)
    if own is None:
        return False
    try:
        while own is not None and _is_wanted_again(own, turn):
            own = _take(name) if time.monotonic() - began < _IN_A_ROW.total_seconds() else None
    except TurnLost as lost:
        logger.warning("%s; this process leaves it to the other", lost)
        return False
    return True


def _is_wanted_again(own: _Turn, turn: Callable[[datetime], None]) -> bool:
    """Run the turn; whether somebody asked for another one meanwhile."""
    token, error, again = _current.set(own), "", False
    try:
        turn(own.turned)
    except Exception as problem:
        error = repr(problem)
        raise
    finally:
        _current.reset(token)
        again = own.end(error)
    return again


def _take(name: str) -> _Turn | None:
    """The turn, or None when another process has it, which is asked for one more then."""
    now = timezone.now()
    known, _ = Loop.objects.get_or_create(name=name)
    # An instant that no turn can have set is of a clock that was changed since.
    free = Q(running_until=None) | Q(running_until__lt=now) | Q(running_until__gt=now + 2 * LONGEST_TURN)
    own, row = _Turn(name, now + LONGEST_TURN, now), Loop.objects.filter(name=name)
    news = {"running_until": own.until, "again": False, **_sign(known.last_turned, now)}
    if row.filter(free).update(**news):
        return own
    if not row.filter(running_until__gte=now).update(again=True) and row.filter(free).update(**news):
        return own  # it came to its end in between
    return None


def fence() -> None:
    """To be called in a turn before it acts on what it found out: raises TurnLost when it is another process's now.

    Otherwise the turn may go on for LONGEST_TURN from here. Outside a turn nothing happens.
    """
    turn = _current.get()
    if turn is not None:
        turn.fence()


def resumed_at(name: str, now: datetime) -> datetime | None:
    """Since when the loop turns again if that is a moment ago; who was last heard before may not have been able to be.

    None of a loop that has turned for a while without a pause or a jump of the clock.
    """
    since = Loop.objects.filter(name=name).values_list("steady_since", flat=True).first()
    return since if since is not None and now - since < PAUSE else None
