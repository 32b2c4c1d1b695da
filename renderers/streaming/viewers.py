"""Those who watch: each takes the newest frame when it is ready for one, so that nobody waits for a slower one."""

import asyncio
import contextlib
import threading
from collections.abc import Callable

from renderers.streaming.frames import Frame


class Gone(Exception):
    """There will be no more frames."""


class Viewer:
    """The newest frame, from the threads that make frames to the loop that sends them."""

    def __init__(self, form: str) -> None:
        self.form = form
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._newest: Frame | None = None
        self._taken = 0
        self._ended = False

    def offer(self, frame: Frame) -> None:
        """Call from any thread; a frame that was not taken yet is forgotten, and so is one that comes late."""
        if self.form in frame.images and (self._newest is None or frame.number > self._newest.number):
            self._newest = frame
            self.wake()

    def end(self) -> None:
        """There will be no more. Call from any thread."""
        self._ended = True
        self.wake()

    async def wait(self, has_room: Callable[[], bool] = lambda: True) -> None:
        """Until there is a frame that was not taken, and room for it; `wake` has that looked at. Raises Gone."""
        while not self._ended:
            self._news.clear()
            if self._newest is not None and self._newest.number > self._taken and has_room():
                return
            if not self._ended:
                await self._news.wait()
        raise Gone

    def take(self) -> Frame:
        """The newest frame, after `wait`."""
        if self._newest is None:
            raise Gone
        self._taken = self._newest.number
        return self._newest

    def wake(self) -> None:
        """Have whoever waits look again. Call from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self._news.set)


class Audience:
    """All viewers of one user."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._viewers: list[Viewer] = []

    def join(self, viewer: Viewer) -> None:
        with self._lock:
            self._viewers.append(viewer)

    def leave(self, viewer: Viewer) -> int:
        """How many are left; it may have left before."""
        with self._lock:
            self._viewers = [other for other in self._viewers if other is not viewer]
            return len(self._viewers)

    def forms(self) -> set[str]:
        """What has to be encoded."""
        with self._lock:
            return {viewer.form for viewer in self._viewers}

    def show(self, frame: Frame) -> None:
        """Offer it to everybody."""
        with self._lock:
            for viewer in self._viewers:
                viewer.offer(frame)

    def end(self) -> None:
        """Tell everybody that it is over."""
        with self._lock:
            for viewer in self._viewers:
                viewer.end()
