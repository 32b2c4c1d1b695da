"""What is to be shown at present, shared by those who change it and the thread that draws it."""

import threading
from collections.abc import Callable

from renderers.streaming.pool import Values
from renderers.streaming.subject import Subject


class Stage:
    """The newest subject and its number; `changed` is notified of whatever may matter to who draws."""

    def __init__(self, subject: Subject) -> None:
        self._changed = threading.Condition()
        self._version = 0
        self._subject = subject
        self.held: Values | None = None  # all values of the last subject that was drawn to the end

    @property
    def subject(self) -> Subject:
        return self._subject

    @property
    def version(self) -> int:
        return self._version

    def show(self, subject: Subject | None = None) -> None:
        """Have this drawn, or what is there once more."""
        with self._changed:
            self._version += 1
            self._subject = subject or self._subject
            self._changed.notify_all()

    def nudge(self) -> None:
        """Have everybody who waits look again."""
        with self._changed:
            self._changed.notify_all()

    def wait(self, claim: Callable[[], bool]) -> tuple[int, Subject]:
        """Wait until the claim holds; what is to be shown then."""
        with self._changed:
            self._changed.wait_for(claim)
            return self._version, self._subject

    def values_of(self, subject: Subject) -> Values | None:
        """What was computed of a subject that differs in colours alone."""
        held = self.held
        return held if held and held.subject.values_key == subject.values_key else None
