"""Those who watch: each takes the newest frame when it is ready for one, so that nobody waits for a slower one."""

import asyncio
import contextlib
import threading

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
        """Call from any thread; a frame that was not taken yet is forgotten."""
        if self.form in frame.images:
            self._newest = frame
            self._wake()

    def end(self) -> None:
        """There will be no more. Call from any thread."""
        self._ended = True
        self._wake()

    async def wait(self) -> None:
        """Until there is a frame that was not taken. Raises Gone."""
        while not self._ended and (self._newest is None or self._newest.number <= self._taken):
            self._news.clear()
            if self._newest is None or self._newest.number <= self._taken:
                await self._news.wait()
        if self._ended:
            raise Gone

    def take(self) -> Frame:
        """The newest frame, after `wait`."""
        if self._newest is None:
            raise Gone
        self._taken = self._newest.number
        return self._newest

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self._news.set)


class Audience:
    """All viewers of one user."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._viewers: list[Viewer] = []

    def join(self, viewer: Viewer) -> int:
        """How many there are then."""
        with self._lock:
            self._viewers.append(viewer)
            return len(self._viewers)

    def leave(self, viewer: Viewer) -> int:
        """How many are left."""
        with self._lock:
            self._viewers.remove(viewer)
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
