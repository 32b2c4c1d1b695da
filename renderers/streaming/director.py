"""The thread that draws what is on stage, coarse first and then refined, and leaves it at once for something newer."""

import itertools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from renderers.mandelbrot.deep.model import DeepModel
from renderers.streaming.frames import Drawn
from renderers.streaming.pacing import Pace, is_given_up
from renderers.streaming.pool import Drawing, Pool, Values
from renderers.streaming.references import ROUGHLY, References, may_serve
from renderers.streaming.stage import Stage
from renderers.streaming.subject import Subject
from renderers.streaming.viewers import Audience

log = logging.getLogger(__name__)

FAR = 8  # a view so many times as large, or as far away, says nothing about what drawing takes
SIMILAR = 2  # limits whose ratio is smaller


class Encoder:
    """The thread that encodes what was drawn while the next is being drawn, and shows it."""

    def __init__(self, audience: Audience, numbers: "itertools.count[int]") -> None:
        self._audience, self._numbers = audience, numbers
        self._changed = threading.Condition()
        self._waiting: Drawn | None = None
        self._over = False
        threading.Thread(target=self._run, name="encode", daemon=True).start()

    def put(self, drawn: Drawn) -> None:
        """Hand over a picture; waits while another one does."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is None or self._over)
            self._waiting = drawn
            self._changed.notify_all()

    def end(self) -> None:
        """Have the thread end; what waits is not encoded."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _run(self) -> None:
        while (drawn := self._take()) is not None:
            try:
                self._audience.show(drawn.frame(next(self._numbers), self._audience.forms()))
            except Exception:  # the next one may be better
                log.exception("a frame cannot be encoded")

    def _take(self) -> Drawn | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is not None or self._over)
            drawn, self._waiting = self._waiting, None
            self._changed.notify_all()
            return None if self._over else drawn


class Loading:
    """A reference orbit that is being computed; given up when what is on stage could not use it."""

    def __init__(self, subject: Subject, stage: Stage, references: References) -> None:
        self.reference = subject.reference
        self._subject, self._stage, self._references = subject, stage, references
        self.is_over = False
        self.error: Exception | None = None
        self._wanted = True
        threading.Thread(target=self._run, name="load-reference", daemon=True).start()

    def give_up(self) -> None:
        self._wanted = False

    def _is_unwanted(self) -> bool:
        return not self._wanted or not may_serve(self.reference, self._stage.subject)

    def _run(self) -> None:
        try:
            self._references.load(self._subject, self._is_unwanted)
        except Exception as error:  # told to who waits for it
            self.error = error
        self.is_over = True
        self._stage.nudge()


class Director:
    """Draws for an audience until told to end."""

    def __init__(
        self,
        stage: Stage,
        pool: Pool,
        references: References,
        audience: Audience,
        numbers: "itertools.count[int]",
    ) -> None:
        self._stage, self._pool, self._references = stage, pool, references
        self._encoder = Encoder(audience, numbers)
        self._pace = Pace()
        self._shown_at = 0.0
        self._before: Subject | None = None
        self._loading: Loading | None = None
        self._over = False
        threading.Thread(target=self._run, name="direct", daemon=True).start()

    def end(self) -> None:
        """Have its threads end; does not wait for them."""
        self._over = True
        self._stage.nudge()
        self._pool.nudge()
        self._encoder.end()

    def _run(self) -> None:
        self._pool.enter()
        try:
            seen = -1
            while not self._over:
                seen, subject = self._stage.wait(lambda: self._over or self._stage.version != seen)  # noqa: B023
                if not self._over:
                    self._show(subject, seen)
        finally:
            self._pool.leave()
            if self._loading:
                self._loading.give_up()

    def _show(self, subject: Subject, version: int) -> None:
        """Draw a subject to the end, or until there is a newer one."""

        def outdated() -> bool:
            return self._over or self._stage.version != version

        if self._before is None or not _is_similar(self._before, subject):
            self._pace.forget()
        self._before = subject
        try:
            model = self._model(subject, outdated) if subject.is_deep else None
            if not subject.is_deep or model is not None:
                self._refine(subject, model, outdated)
        except Exception:  # whatever one camera does, the next one is drawn
            log.exception("the camera %r cannot be drawn", subject.camera.id)

    def _refine(self, subject: Subject, model: DeepModel | None, outdated: Callable[[], bool]) -> None:
        """Frame after frame, the last with a sample for each pixel."""
        known = self._stage.values_of(subject)
        pixels = subject.grid.width * subject.grid.height
        step = 1 if known else self._pace.first(pixels)
        is_first = True
        while (values := self._draw(subject, step, model, outdated, known, is_first=is_first)) is not None:
            if step == 1:
                self._stage.held = values
                return
            step, is_first = self._pace.next(step, pixels), False

    def _draw(
        self,
        subject: Subject,
        step: int,
        model: DeepModel | None,
        outdated: Callable[[], bool],
        known: Values | None = None,
        *,
        is_first: bool,
    ) -> Values | None:
        """One picture for the encoder; None when it was given up."""
        drawing = Drawing(subject, step, model, self._pool.threads, known)
        began = time.monotonic()

        def given_up(_share: float) -> bool:
            now = time.monotonic()
            late = is_given_up(outdated=outdated(), is_first=is_first, seconds=now - began, blank=now - self._shown_at)
            return self._over or late

        is_done = self._pool.draw(drawing, given_up)
        seconds = time.monotonic() - began
        if known is None:
            self._pace.learn(drawing.share * drawing.values.counts.size, seconds)
        if not is_done:
            return None
        self._encoder.put(Drawn(subject, step, drawing.picture, seconds))
        self._shown_at = time.monotonic()
        return drawing.values

    def _model(self, subject: Subject, outdated: Callable[[], bool]) -> DeepModel | None:
        """A reference that serves, loaded if there is none; meanwhile others give a rough look. None when outdated."""
        found = self._references.find(subject)
        while found is None and not outdated():
            loading = self._loading
            if loading is None or loading.is_over or not may_serve(loading.reference, subject):
                if loading:
                    loading.give_up()
                loading = self._loading = Loading(subject, self._stage, self._references)
            self._look(subject, loading, outdated)
            self._stage.wait(lambda: outdated() or loading.is_over)  # noqa: B023
            if loading.error:
                raise loading.error
            found = self._references.find(subject)
        return found

    def _look(self, subject: Subject, loading: Loading, outdated: Callable[[], bool]) -> None:
        """Coarse frames with a reference that is not near or long enough."""
        rough = self._references.find(subject, ROUGHLY, whole=False)
        if rough is None:
            return
        limits = replace(subject.limits, max_iter=min(subject.limits.max_iter, rough.reference.max_iter))
        shown, pixels = replace(subject, limits=limits), subject.grid.width * subject.grid.height
        step, is_first = self._pace.first(pixels), True
        while step > 1 and not (loading.is_over and not is_first):
            if self._draw(shown, step, rough, outdated, is_first=is_first) is None:
                return
            step, is_first = self._pace.next(step, pixels), False


def _is_similar(before: Subject, now: Subject) -> bool:
    """Whether drawing it takes about as long."""
    limits = sorted((before.limits.max_iter, now.limits.max_iter))
    radii = sorted((before.grid.radius, now.grid.radius))
    pairs = zip(before.grid.center, now.grid.center, strict=True)
    moved: Fraction = max(abs(there - here) for there, here in pairs)
    same_kind = (before.is_deep, before.formula) == (now.is_deep, now.formula)
    near = radii[1] <= FAR * radii[0] and moved <= FAR * radii[1]
    return same_kind and near and limits[1] <= SIMILAR * limits[0]
