"""Telling operators what needs one: an event, a line in the log, and mail where addresses are given."""

from __future__ import annotations

import logging
import smtplib
from datetime import datetime, timedelta

from django.conf import settings
from django.core.mail import mail_admins

from rrm.farm import wakeups
from rrm.farm.models import Event, Resource
from rrm.farm.transitions import record

logger = logging.getLogger(__name__)

_QUIET = timedelta(hours=6)


def inoperable(resource: Resource, failures: int, reason: str, now: datetime) -> None:
    """No node of the resource could be started so many times in a row; once in some hours."""
    told = Event.objects.filter(subject_type="resource", subject_id=resource.pk, kind="log", data__level="error")
    if told.filter(created_at__gt=now - _QUIET).exists():
        return
    message = f"{resource.pk} is inoperable: {failures} nodes in a row could not be started. {reason}"
    logger.error("%s", message)
    record(resource, "log", {"level": "error", "message": message[:1000]})
    wakeups.wake("rrm.tell_operators", f"{resource.pk} is inoperable", message)


def send(subject: str, message: str) -> None:
    """Mail it to the operators that the settings name. A task that is lost is a mail less: the event is there."""
    if not settings.ADMINS:
        return
    try:
        mail_admins(subject, message)
    except (OSError, smtplib.SMTPException) as error:
        logger.warning("Operators could not be told by mail that %s: %s", subject, error)
