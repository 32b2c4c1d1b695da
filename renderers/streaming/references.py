"""The reference orbits of deep views: one serves every view near it, so that moving on there loads nothing.

Errors of the orbit grow by less than 2^-40 of the radius that it was made for (`deep.orbit`), and an offset from it is
a double: a view this many times smaller, or this many of its radii away, still has its pixels where they are.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from renderers.mandelbrot.deep import native
from renderers.mandelbrot.deep.model import DeepModel, Reference
from renderers.mandelbrot.deep.orbit import OrbitInterrupted
from renderers.streaming.subject import Subject

log = logging.getLogger(__name__)

NEAR = 2**14
ROUGHLY = 2**26  # for a look, until a reference of its own is there
KEPT = 4
GIVING_WAY = 50e-6  # seconds that computing an orbit pauses now and then, so that other threads get their turn


class References:
    """Loaded references, the last used ones. Safe to use from several threads.

    `others` are models that the node holds for its batch work.
    """

    def __init__(self, others: Callable[[], list[DeepModel]] = list) -> None:
        self._others = others
        self._lock = threading.Lock()
        self._kept: list[DeepModel] = []

    def find(self, subject: Subject, reach: int = NEAR, *, whole: bool = True) -> DeepModel | None:
        """The nearest that serves this view; one that is not `whole` may end before the limit of the view."""
        with self._lock:
            kept = [*self._kept]
        serving = [model for model in (*kept, *self._others()) if _serves(model, subject, reach, whole=whole)]
        if not serving:
            return None
        best = min(serving, key=lambda model: _distance(model.reference, subject))
        self._keep(best)
        return best

    def load(self, subject: Subject, unwanted: Callable[[], bool]) -> DeepModel | None:
        """Compute it: half a microsecond and more for each step. None when it is `unwanted` meanwhile."""
        started = time.perf_counter()
        wanted = subject.reference

        def stopped() -> bool:
            time.sleep(GIVING_WAY)
            return unwanted()

        try:
            model = DeepModel(wanted, wanted.orbit(stopped))
        except OrbitInterrupted:
            return None
        native.perturb()
        model.tables(subject.grid.deep(wanted.center).farthest)
        model.load_seconds = time.perf_counter() - started
        log.info("loaded a reference of %d steps in %.2f s", model.orbit.last, model.load_seconds)
        self._keep(model)
        return model

    def exact(self, subject: Subject) -> DeepModel | None:
        """The one that a job which shows this view would load, if it is here."""
        wanted = subject.reference
        with self._lock:
            kept = [*self._kept]
        models = (*kept, *self._others())
        return next((model for model in models if replace(model.reference, digest="") == wanted), None)

    def _keep(self, model: DeepModel) -> None:
        with self._lock:
            self._kept = [model, *(held for held in self._kept if held is not model)][:KEPT]


def may_serve(reference: Reference, subject: Subject, reach: int = NEAR) -> bool:
    """Whether its place, precision and limit suffice for a view."""
    radius, limits = subject.grid.radius, subject.limits
    return (
        subject.is_deep
        and reference.escape_radius == limits.escape_radius
        and radius * reach >= reference.radius
        and _distance(reference, subject) <= reach * radius
        and limits.max_iter <= reference.max_iter
    )


def _serves(model: DeepModel, subject: Subject, reach: int, *, whole: bool) -> bool:
    """The same of a loaded one: an orbit that ended by escaping has no limit."""
    reference = model.reference
    if not whole or model.orbit.last < reference.max_iter:
        reference = replace(reference, max_iter=max(reference.max_iter, subject.limits.max_iter))
    return may_serve(reference, subject, reach)


def _distance(reference: Reference, subject: Subject) -> Fraction:
    """Between the centres, along the axis where it is larger."""
    pairs = zip(reference.center, subject.grid.center, strict=True)
    return max(abs(there - here) for there, here in pairs)
