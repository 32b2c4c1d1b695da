"""When it is worth trying a site again: soon after a hiccup, later and later while it stays away.

Refused logins wait longer: sites lock accounts that hammer at the door. One caller at a time may try a site that is
away; the others are told at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rrm.errors import SiteUnavailable

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 8.0  # a site that is back is found by the next poll
_LONGEST_REFUSED_PAUSE = 300.0
_PATIENT_REFUSALS = 5


class Circuit:
    """Closed while a site answers; open, for a while, after failures. `clock` gives seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._closed_at = 0.0
        self._reason = ""

    def check(self) -> None:
        """Raises SiteUnavailable, with the last failure's reason, while it is too early to try again."""
        with self._lock:
            wait = self._closed_at - self._clock()
            if self._failures and wait > 0:
                raise SiteUnavailable(f"{self._reason} It is tried again in {wait:.0f} s.", retry_after=int(wait) + 1)

    @property
    def is_open(self) -> bool:
        with self._lock:
            return bool(self._failures) and self._closed_at > self._clock()

    def succeeded(self) -> None:
        with self._lock:
            self._failures, self._reason = 0, ""

    def failed(self, reason: str, *, refused: bool = False) -> None:
        """Open it. `refused`: the site answered and did not let us in, which trying again does not mend."""
        with self._lock:
            self._failures += 1
            longest = _LONGEST_PAUSE
            if refused and self._failures > _PATIENT_REFUSALS:
                longest = _LONGEST_REFUSED_PAUSE
            self._closed_at = self._clock() + min(longest, _FIRST_PAUSE * 2 ** min(self._failures - 1, 20))
            self._reason = reason

    def reset(self) -> None:
        """Somebody changed something: the next attempt may be made at once."""
        self.succeeded()
