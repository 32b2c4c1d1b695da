"""What tests of sessions do and see."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from rrm.farm import booking, sessions
from rrm.farm.booking import Wish
from rrm.farm.models import Event, Session
from tests.integration.farm.conftest import Farm

SOON = timedelta(seconds=30)


def book(farm: Farm, max_wait: timedelta = timedelta(), **wish: object) -> Session:
    return booking.book(farm.owner, Wish(farm.resource, max_wait=max_wait, **wish), timezone.now())  # type: ignore[arg-type]


def later(seconds: float) -> None:
    """The loop turns, so many seconds from now."""
    sessions.turn(timezone.now() + timedelta(seconds=seconds))


def now_is(session: Session) -> tuple[str, str]:
    session.refresh_from_db()
    return session.state, session.reason


def told(session: Session) -> list[str]:
    found = Event.objects.filter(subject_type="session", subject_id=str(session.pk)).order_by("id")
    return [event.data["state"] if event.kind == "session" else event.data["message"] for event in found]
