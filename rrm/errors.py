"""The errors that callers can do something about.

RrmError                    any of them; `status` and `code` are what the API answers
├── Invalid           422   input that names the offending fields
├── NotFound          404   no such thing, or not yours
├── Forbidden         403   you may see it, but not do this
├── Unauthorised      401   no or unknown credentials
├── IdempotencyMismatch 422 an Idempotency-Key used again for another request
├── StateConflict     409   the row is not in a state that allows this
├── NotReady          409   the result does not exist yet
├── TooMany           429  more than one person may have; it says of what
├── NoCapacity        503  no renderer is free, or will be within the time that you would wait
├── Suspended         503  an operator takes no new sessions at present
├── StaleLease        409   the lease is no longer yours; the result changes nothing
├── BadBundle         422   a node sent results that are not what its lease asked for
├── TooLarge          413   a body beyond the limit
└── LauncherError     502   a site refused or failed to start, stop or show a node
    └── SiteUnavailable 503 the site cannot be asked: nothing is known to have happened
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class RrmError(Exception):
    """An error with a stable machine-readable `code` and the HTTP `status` it maps to.

    `retry_after` is in how many seconds it is worth trying again, where that is known.
    """

    status = 500
    code = "error"
    title = "Error"
    members: Mapping[str, object] = {}
    """What else a program should know, beside the members of every problem document."""

    def __init__(self, detail: str = "", *, retry_after: int | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.retry_after = retry_after


class Invalid(RrmError):
    """Input that cannot be accepted. `errors` maps each field (dotted path) to its messages."""

    status = 422
    code = "invalid"
    title = "The request has fields that cannot be accepted"

    def __init__(self, errors: Mapping[str, Sequence[str]] | str, message: str = "") -> None:
        self.errors: dict[str, list[str]] = (
            {errors: [message]} if isinstance(errors, str) else {field: list(said) for field, said in errors.items()}
        )
        super().__init__("; ".join(f"{field}: {' '.join(said)}" for field, said in self.errors.items()))

    @classmethod
    @contextmanager
    def collected(cls) -> Iterator[Callable[[Callable[[], T]], T | None]]:
        """Run several checks and raise one Invalid with everything they complained of.

        `check(f)` is `f()`, or None when it raised Invalid.
        """
        errors: dict[str, list[str]] = {}

        def check(checked: Callable[[], T]) -> T | None:
            try:
                return checked()
            except Invalid as invalid:
                for field, said in invalid.errors.items():
                    errors.setdefault(field, []).extend(said)
                return None

        yield check
        if errors:
            raise cls(errors)


class NotFound(RrmError):
    status = 404
    code = "not-found"
    title = "There is no such thing here"


class Forbidden(RrmError):
    status = 403
    code = "forbidden"
    title = "Your credentials do not allow this"


class Unauthorised(RrmError):
    status = 401
    code = "unauthorised"
    title = "Valid credentials are needed"


class StateConflict(RrmError):
    status = 409
    code = "state-conflict"
    title = "The present state does not allow this"


class NotReady(RrmError):
    status = 409
    code = "not-ready"
    title = "The result does not exist yet"


class StaleLease(RrmError):
    status = 409
    code = "stale-lease"
    title = "The lease is no longer held"


class BadBundle(RrmError):
    status = 422
    code = "bad-bundle"
    title = "The results are not what the lease asked for"


class TooLarge(RrmError):
    status = 413
    code = "too-large"
    title = "The body is larger than the limit"


class LauncherError(RrmError):
    status = 502
    code = "launcher-error"
    title = "The site could not do this"


class SiteUnavailable(LauncherError):
    """The site cannot be asked at present: nothing is known to have happened, and asking again later is right."""

    status = 503
    code = "site-unavailable"
    title = "The site cannot be reached at present"


class IdempotencyMismatch(RrmError):
    status = 422
    code = "idempotency-mismatch"
    title = "This Idempotency-Key was used for another request"


class TooMany(RrmError):
    """A limit of one person stands in the way: which one, what it allows, what is used, and what was asked for."""

    status = 429
    code = "too-many"
    title = "You have as many of these as you may have"

    def __init__(self, detail: str, *, limit: str, allowed: int, used: int, asked: int = 1) -> None:
        super().__init__(detail)
        self.members = {"limit": limit, "allowed": allowed, "used": used, "asked": asked}


class NoCapacity(RrmError):
    """No renderer is free: the place in the queue, and in how many seconds one may be free, if that is known."""

    status = 503
    code = "no-capacity"
    title = "No renderer is free"

    def __init__(self, detail: str, *, retry_after: int, position: int, eta_seconds: float | None) -> None:
        super().__init__(detail, retry_after=retry_after)
        self.members = {"position": position, "eta_seconds": eta_seconds}


class Suspended(RrmError):
    status = 503
    code = "suspended"
    title = "No sessions are taken at present"
