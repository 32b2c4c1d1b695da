"""Drawings on all cores: a pool of threads takes bands of rows from the drawings in hand, oldest first."""

import os
import sys
import threading
from collections.abc import Callable

import numpy as np

from renderers.mandelbrot.deep.model import DeepModel, DeepView
from renderers.mandelbrot.kernel import View, Window, render_tile
from renderers.mandelbrot.layout import CHANNELS
from renderers.mandelbrot.palette import Bytes
from renderers.mandelbrot.picture import Paint
from renderers.mandelbrot.tile import Counts, Smooth
from renderers.streaming.subject import Subject

BANDS_PER_THREAD = 4
FEWEST_ROWS, MOST_ROWS = 8, 32
POLL = 0.005  # seconds between two looks at whether a drawing takes too long


class Values:
    """What was computed of a subject: rows x columns, lowest y first, one value for step x step pixels."""

    def __init__(self, subject: Subject, step: int, view: View | DeepView) -> None:
        self.subject, self.step, self.view = subject, step, view
        self.width, self.height = subject.size(step)
        self.counts: Counts = np.empty((self.height, self.width), np.uint32)
        self.smooth: Smooth = np.empty((self.height, self.width), np.float32)


class Drawing:
    """A picture in the making: rows of RGB bytes, highest y first. Its progress changes under the pool's lock only.

    With `known` values it is painted alone.
    """

    def __init__(
        self, subject: Subject, step: int, model: DeepModel | None, threads: int, known: Values | None = None
    ) -> None:
        self.values = known or Values(subject, step, subject.view(step, model))
        self._subject, self._model = subject, model
        self._is_known = known is not None
        self._paint: Paint = subject.paint()
        self.picture: Bytes = np.empty((self.values.height, CHANNELS * self.values.width), np.uint8)
        rows = min(MOST_ROWS, max(FEWEST_ROWS, -(-self.values.height // (BANDS_PER_THREAD * threads))))
        self.bands = [(row, min(rows, self.values.height - row)) for row in range(0, self.values.height, rows)]
        self.next_band = 0
        self.running = 0
        self.error: Exception | None = None
        self.stop = np.zeros(1, np.uint8)

    @property
    def ended(self) -> bool:
        """No thread works on it and none will."""
        return self.running == 0 and (self.next_band == len(self.bands) or bool(self.stop[0]))

    @property
    def share(self) -> float:
        """How much of it was begun, 0 to 1."""
        return self.next_band / len(self.bands)

    def draw(self, band: int) -> None:
        """Compute and paint one band."""
        row, rows = self.bands[band]
        values = self.values
        window = Window(row, 0, rows, values.width)
        counts, smooth = values.counts[row : row + rows], values.smooth[row : row + rows]
        if self._is_known or self._compute(window, counts, smooth):
            top = values.height - row - rows
            self.picture[top : top + rows] = self._paint(values.view, window, counts, smooth)

    def _compute(self, window: Window, counts: Counts, smooth: Smooth) -> bool:
        view, limits = self.values.view, self._subject.limits
        if isinstance(view, View):
            return render_tile(view, window, limits, counts, smooth, self.stop, self._subject.formula)
        if self._model is None:
            raise ValueError("a deep view needs its model")
        return self._model.render_tile(view, window, counts, smooth, self.stop, max_iter=limits.max_iter)


class Pool:
    """The threads, which live while somebody needs them; `enter` and `leave` say so.

    Those of a pool with `niceness` leave the cores to others.
    """

    def __init__(self, threads: int, niceness: int = 0) -> None:
        self.threads = threads
        self._niceness = niceness
        self._changed = threading.Condition()
        self._drawings: list[Drawing] = []
        self._users = 0
        self._running = 0

    def enter(self) -> None:
        """Somebody is going to draw."""
        with self._changed:
            self._users += 1
            for _ in range(self.threads - self._running):
                self._running += 1
                threading.Thread(target=self._run, name="draw", daemon=True).start()

    def leave(self) -> None:
        """They do not draw any more; the last one leaves no thread behind."""
        with self._changed:
            self._users -= 1
            self._changed.notify_all()

    def draw(self, drawing: Drawing, given_up: Callable[[float], bool]) -> bool:
        """Wait until it is drawn; False when `given_up` said so of its share.

        That is asked now and then, and whenever `nudge` is called. Raises what drawing it raised.
        """
        with self._changed:
            self._drawings.append(drawing)
            self._changed.notify_all()
            while not drawing.ended:
                if not drawing.stop[0] and given_up(drawing.share):
                    drawing.stop[0] = 1
                self._changed.wait(POLL)
            self._drawings.remove(drawing)
        if drawing.error is not None:
            raise drawing.error
        return not drawing.stop[0]

    def nudge(self) -> None:
        """Have everybody who waits look again whether their drawing is still wanted."""
        with self._changed:
            self._changed.notify_all()

    def _run(self) -> None:
        if self._niceness and sys.platform == "linux":  # where it is of this thread alone
            os.nice(self._niceness)
        while (claim := self._claim()) is not None:
            drawing, band = claim
            try:
                drawing.draw(band)
            except Exception as error:  # whoever waits for the drawing is told
                drawing.error = error
                drawing.stop[0] = 1
            with self._changed:
                drawing.running -= 1
                if drawing.ended:
                    self._changed.notify_all()

    def _claim(self) -> tuple[Drawing, int] | None:
        """The next band of the first drawing that has one; None when nobody needs this thread."""
        with self._changed:
            while self._users:
                for drawing in self._drawings:
                    if drawing.next_band < len(drawing.bands) and not drawing.stop[0]:
                        drawing.next_band += 1
                        drawing.running += 1
                        return drawing, drawing.next_band - 1
                self._changed.wait()
            self._running -= 1
            return None
