"""Whose turn it is: one user at a time has the node, and the next one finds nothing of the one before."""

import logging
import threading
from collections import deque
from collections.abc import Mapping
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any, Protocol

from renderers.mandelbrot.deep.model import DeepModel
from renderers.streaming.camera import Refused
from renderers.streaming.grid import SPACING
from renderers.streaming.pool import Pool
from renderers.streaming.references import References
from renderers.streaming.studio import Studio

log = logging.getLogger(__name__)

EXACT = Context(prec=4100)
REMEMBERED = 64
LONGEST_NAME = 64
STILLS_NICENESS = 10  # frames that somebody moves come first
PLACE = ("center", "radius", "max_iter", "escape_radius", "formula", "julia")


class Models(Protocol):
    """What a node holds for its batch work."""

    def deep(self) -> list[DeepModel]:
        """Its deep models."""


class Ended(Exception):
    """This session has had its turn."""


class Desk:
    """The present session and its studio. Safe to use from several threads."""

    def __init__(self, threads: int, others: Models | None = None) -> None:
        self._pool, self._stills = Pool(threads), Pool(threads, STILLS_NICENESS)
        self._references = References(others.deep if others else list)
        self._lock = threading.Lock()
        self._session = ""
        self._announced = ""
        self._studio = self._empty()
        self._ended: deque[str] = deque(maxlen=REMEMBERED)

    @property
    def session(self) -> str:
        return self._session

    def studio(self, session: str) -> Studio:
        """That of a session, or the present one; a new one sends the one before away.

        Raises Ended for one that had its turn.
        """
        session = session[:LONGEST_NAME]
        with self._lock:
            if not session:
                return self._studio
            if session in self._ended:
                raise Ended(session)
            if session != self._session:
                self._begin(session)
            return self._studio

    def awaits(self, session: str) -> bool:
        """Whether the manager has yet to say what this session, the present one, begins with."""
        with self._lock:
            return bool(session) and session[:LONGEST_NAME] == self._session != self._announced

    def announce(self, session: Mapping[str, Any] | None) -> None:
        """What the manager says about the node's session: {"id", "params"}, or None when there is none."""
        name = str(session["id"])[:LONGEST_NAME] if session else ""
        with self._lock:
            before, self._announced = self._announced, name
            if name == before or name in self._ended:
                return
            if name != self._session and (name or before == self._session):
                self._begin(name)
            if session:
                _set_up(self._studio, session.get("params") or {})

    def close(self) -> None:
        """Send everybody away."""
        with self._lock:
            self._studio.close()

    def _begin(self, session: str) -> None:
        if self._session:
            self._ended.append(self._session)
        log.info("session %s", session or "ended")
        self._studio.close()
        self._session, self._studio = session, self._empty()

    def _empty(self) -> Studio:
        return Studio(self._pool, self._stills, self._references)


def _set_up(studio: Studio, params: Mapping[str, Any]) -> None:
    """Begin with the view of a model, and have that loaded."""
    try:
        studio.begin_with(place(params))
    except (Refused, ArithmeticError, TypeError, ValueError) as error:
        log.warning("the session's model cannot be shown: %s", error)
        return
    studio.prepare()


def place(params: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a camera that shows a model's view; of a viewport, all of it."""
    fields = {name: params[name] for name in PLACE if params.get(name) is not None}
    if params.get("viewport"):
        xmin, xmax, ymin, ymax = (Fraction(str(edge)) for edge in params["viewport"])
        fields["center"] = [_text((xmin + xmax) / 2), _text((ymin + ymax) / 2)]
        fields["radius"] = str(_rounded(min(xmax - xmin, ymax - ymin) / 2))
    return fields


def _text(number: Fraction) -> str:
    """Exactly: halves of sums of decimals are decimals."""
    return str(EXACT.divide(Decimal(number.numerator), Decimal(number.denominator)).normalize(EXACT))


def _rounded(number: Fraction) -> Decimal:
    return SPACING.divide(Decimal(number.numerator), Decimal(number.denominator))
