"""How long a resource waits after launches that failed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from rrm.domain.autoscaling.facts import FAILURES_ALLOWED, LONGEST_BACKOFF, History

FIRST_BACKOFF = timedelta(seconds=15)


def launch_failed(history: History, now: datetime) -> History:
    """The history after a launch failed: 15 s * 2^n, and the longest wait from the fifth failure in a row on.

    Launches of one volley that fail together count once.
    """
    if history.retry_at is not None and now < history.retry_at:
        return history
    failures = history.launch_failures + 1
    doubled = FIRST_BACKOFF * 2 ** min(history.launch_failures, 10)
    wait = LONGEST_BACKOFF if failures >= FAILURES_ALLOWED else min(doubled, LONGEST_BACKOFF)
    return replace(history, launch_failures=failures, retry_at=now + wait)


def launch_succeeded(history: History) -> History:
    """The history after a node checked in, or after an operator asked for another try."""
    return replace(history, launch_failures=0, retry_at=None)
