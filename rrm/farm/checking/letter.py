"""Examinations in turn: what each found, or why it was not made. The whole has one deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from rrm.errors import LauncherError

DEADLINE = 25.0
_SHORTEST = 1.0
_NOT_TRIED = "Not tried"


class Wrong(Exception):
    """What is wrong at the site and what to do about it, in words for the operator."""


@dataclass(frozen=True)
class Check:
    """What was looked at, whether it is well, what was found and what to do, and how long it took in seconds."""

    name: str
    ok: bool
    detail: str
    seconds: float = 0.0

    @property
    def was_tried(self) -> bool:
        return not self.detail.startswith(_NOT_TRIED)


@dataclass(frozen=True)
class Examination:
    """`examine(seconds)` says what it found within so many seconds, or raises Wrong; it `needs` others to be well."""

    name: str
    examine: Callable[[float], str]
    seconds: float = 10.0
    needs: Collection[str] = ()


def written(examinations: Iterable[Examination], deadline: float = DEADLINE) -> list[Check]:
    """One check for each examination, in order; those that depend on a failed one are reported as not tried."""
    end = time.monotonic() + deadline
    checks: dict[str, Check] = {}
    for examination in examinations:
        failed = [name for name in examination.needs if not checks[name].ok]
        left = end - time.monotonic()
        if failed:
            check = Check(examination.name, False, f"{_NOT_TRIED}, because of: {failed[0]}.")
        elif left < _SHORTEST:
            check = Check(examination.name, False, f"{_NOT_TRIED}: the check took its {deadline:.0f} s. Try it again.")
        else:
            check = _made(examination, min(left, examination.seconds))
            same = next((other.name for other in checks.values() if other.detail == check.detail), "")
            if same and not check.ok:
                check = Check(examination.name, False, f"{_NOT_TRIED} to its end, because of: {same}.", check.seconds)
        checks[examination.name] = check
    return list(checks.values())


def _made(examination: Examination, seconds: float) -> Check:
    began = time.monotonic()
    try:
        ok, detail = True, examination.examine(seconds)
    except Wrong as wrong:
        ok, detail = False, str(wrong)
    except LauncherError as error:
        ok, detail = False, error.detail
    return Check(examination.name, ok, detail, round(time.monotonic() - began, 3))
