"""One user's studio: a camera, those who watch through it, and stills. Threads live while somebody watches."""

import itertools
import logging
import threading
from collections.abc import Callable
from typing import Any

from renderers.mandelbrot.deep.model import DeepModel
from renderers.streaming.camera import Camera, changed
from renderers.streaming.director import Director
from renderers.streaming.pictures import BEST_QUALITY, encoded
from renderers.streaming.pool import Drawing, Pool
from renderers.streaming.references import References
from renderers.streaming.stage import Stage
from renderers.streaming.subject import Subject
from renderers.streaming.viewers import Audience, Viewer

log = logging.getLogger(__name__)


class Studio:
    """Safe to use from several threads; only `still` takes long."""

    def __init__(self, pool: Pool, stills: Pool, references: References) -> None:
        self._pool, self._stills, self._references = pool, stills, references
        self._stage = Stage(Subject.of(Camera()))
        self._audience = Audience()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._director: Director | None = None
        self._touched = False
        self._closed = False

    @property
    def subject(self) -> Subject:
        """What the camera shows at present."""
        return self._stage.subject

    def change(self, request: object) -> Subject:
        """Change the camera. Raises Refused, and then nothing has changed."""
        with self._lock:
            subject = self.seen_with(request)
            self._touched = True
            self._stage.show(subject)
        self._pool.nudge()
        return subject

    def begin_with(self, request: object) -> None:
        """Begin with this camera, unless somebody has changed it already. Raises Refused."""
        with self._lock:
            if not self._touched:
                self._stage.show(self.seen_with(request))

    def seen_with(self, request: object) -> Subject:
        """What the camera would show with some fields changed. Raises Refused."""
        return Subject.of(changed(self._stage.subject.camera, request))

    def join(self, viewer: Viewer) -> None:
        """Show this viewer what the camera sees from now on."""
        with self._lock:
            if self._closed:
                viewer.end()
                return
            self._audience.join(viewer)
            if self._director is None:
                self._director = Director(self._stage, self._pool, self._references, self._audience, self._numbers)
            self._stage.show()

    def leave(self, viewer: Viewer) -> None:
        """The last one leaves no thread behind."""
        with self._lock:
            if self._audience.leave(viewer) == 0 and self._director:
                self._director.end()
                self._director = None

    def close(self) -> None:
        """Send everybody away."""
        with self._lock:
            self._closed = True
            self._audience.end()
            if self._director:
                self._director.end()
                self._director = None

    def prepare(self) -> None:
        """Load ahead, in a thread, what the camera needs."""
        subject = self.subject
        if subject.is_deep and self._references.find(subject) is None:
            arguments = (subject, lambda: self._closed)
            threading.Thread(target=self._references.load, args=arguments, name="load-ahead", daemon=True).start()

    def still(self, subject: Subject, kind: str, unwanted: Callable[[], bool]) -> tuple[str, bytes] | None:
        """(type, image) of every pixel of a subject, as a job would draw it; None when `unwanted` meanwhile."""
        self._stills.enter()
        try:
            picture = self._picture(subject, lambda: self._closed or unwanted())
        finally:
            self._stills.leave()
        return None if picture is None else encoded(picture, kind, BEST_QUALITY)

    def _picture(self, subject: Subject, unwanted: Callable[[], bool]) -> Any:
        known = self._stage.values_of(subject)
        model: DeepModel | None = None
        if subject.is_deep and known is None:
            model = self._references.exact(subject) or self._references.load(subject, unwanted)
            if model is None:
                return None
        drawing = Drawing(subject, 1, model, self._stills.threads, known)
        is_done = self._stills.draw(drawing, lambda _share: unwanted())
        return drawing.picture if is_done else None
