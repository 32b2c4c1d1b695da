"""Examinations in turn: each is made, or it is said why not, within one deadline."""

from __future__ import annotations

import pytest

from rrm.errors import SiteUnavailable
from rrm.farm.checking import letter
from rrm.farm.checking.letter import Examination, Wrong, written


def well(_seconds: float) -> str:
    return "It is well."


def ill(_seconds: float) -> str:
    raise Wrong("It is not. Mend it.")


def away(_seconds: float) -> str:
    raise SiteUnavailable("The host does not answer.")


def test_what_depends_on_something_that_failed_is_not_tried() -> None:
    checks = written(
        [
            Examination("first", ill),
            Examination("second", well, needs=("first",)),
            Examination("third", well, needs=("second",)),
            Examination("fourth", well),
        ]
    )

    assert [check.ok for check in checks] == [False, False, False, True]
    assert "first" in checks[1].detail
    assert "second" in checks[2].detail


def test_a_site_that_goes_away_in_the_middle_is_a_finding() -> None:
    (check,) = written([Examination("login", away)])

    assert (check.ok, check.detail) == (False, "The host does not answer.")


class Watch:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


def test_when_the_time_is_over_the_rest_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    watch, given = Watch(), list[float]()
    monkeypatch.setattr(letter, "time", watch)

    def slow(seconds: float) -> str:
        given.append(seconds)
        watch.seconds += 0.3
        return "Well."

    checks = written([Examination("one", slow), Examination("two", slow)], deadline=1.2)

    assert [check.ok for check in checks] == [True, False]
    assert "took its" in checks[1].detail
    assert len(given) == 1
    assert given[0] <= 1.2
