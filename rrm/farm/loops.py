"""Loops that any process may run and only one runs at a time; the rows tell when each last came through."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone

from rrm.farm.models import Loop

logger = logging.getLogger(__name__)

_LONGEST_TURN = timedelta(seconds=20)


def run(name: str, turn: Callable[[datetime], None]) -> bool:
    """Run one turn of loop `name`, unless another process is at it; whether it ran.

    The turn of a process that died is over after _LONGEST_TURN. A turn that raises is recorded and raises.
    """
    now = timezone.now()
    Loop.objects.get_or_create(name=name)
    free = Q(running_until=None) | Q(running_until__lt=now)
    until = now + _LONGEST_TURN
    if not Loop.objects.filter(free, name=name).update(running_until=until):
        return False
    error = ""
    try:
        turn(now)
    except Exception as problem:
        error = repr(problem)
        raise
    finally:
        # A turn that took too long may have been taken over: then the row is another process's.
        Loop.objects.filter(name=name, running_until=until).update(
            running_until=None, last_error=error[:500], **({} if error else {"last_finished": timezone.now()})
        )
    return True


def last_finished(name: str) -> datetime | None:
    return Loop.objects.filter(name=name).values_list("last_finished", flat=True).first()
