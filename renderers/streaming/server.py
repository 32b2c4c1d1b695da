"""The server in a thread of its own: listens at once, and imports what it needs while the node goes on starting."""

import hashlib
import hmac
import importlib.util
import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from renderers.streaming.place import Place

if TYPE_CHECKING:
    import uvicorn

    from renderers.models import HeldModels
    from renderers.streaming.desk import Desk

log = logging.getLogger(__name__)

PURPOSE = b"session side"
NEEDED = ("uvicorn", "websockets")
LONGEST_MESSAGE = 1 << 16
KEEP_ALIVE_SECONDS = 30
PING_SECONDS = 20.0
END_SECONDS = 1
MOST_CONNECTIONS = 512
PATIENCE_SECONDS = 2.0  # with the manager, which tells of a session within milliseconds


def key_of(launch_token: str) -> str:
    """What requests to a node have to carry: only the node and its manager can compute it."""
    return hmac.new(launch_token.encode(), PURPOSE, hashlib.sha256).hexdigest()


def missing() -> list[str]:
    """What this installation lacks for a session side."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


class SessionServer:
    """Listens from the beginning on; `start` answers. Raises OSError when there is no port."""

    def __init__(
        self,
        place: Place,
        key: str | None,
        threads: int,
        models: "HeldModels | None" = None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._place, self._key, self._patience = place, key, patience
        self._threads, self._models = threads, models
        self._socket = place.listen()
        self._making = threading.Lock()
        self._desk: Desk | None = None
        self._thread: threading.Thread | None = None
        self._server: uvicorn.Server | None = None
        self._closed = False

    @property
    def address(self) -> str:
        """Where the manager finds it, "host:port"."""
        return f"{self._place.told}:{self._socket.getsockname()[1]}"

    @property
    def desk(self) -> "Desk":
        """Whose turn it is; made for the first who wants to know."""
        from renderers.streaming.desk import Desk

        with self._making:
            self._desk = self._desk or Desk(self._threads, self._models)
            return self._desk

    def start(self, drain: Callable[[], None]) -> None:
        """Answer in a thread; `drain` is called when somebody asks the node to leave."""
        self._thread = threading.Thread(target=self._run, args=(drain,), name="session-side", daemon=True)
        self._thread.start()

    def announce(self, session: Mapping[str, Any] | None) -> None:
        """What the manager says about the node's session: {"id", "params"}, or None when there is none."""
        if session or self._desk:
            self.desk.announce(session)

    def close(self, timeout: float) -> None:
        """Send everybody away and end the thread, which is waited for if there may be somebody."""
        self._closed = True
        if self._server:
            self._server.should_exit = True
        if self._desk:
            self._desk.close()
            if self._thread:
                self._thread.join(timeout)
        if self._thread is None:
            self._socket.close()

    def _run(self, drain: Callable[[], None]) -> None:
        """Serve until closed; without a session side the node still renders."""
        import asyncio

        try:
            with self._socket, asyncio.Runner() as runner:
                runner.run(self._serve(drain))
        except Exception:
            log.exception("the session side has failed; the node renders on")

    async def _serve(self, drain: Callable[[], None]) -> None:
        import uvicorn  # 60 ms, which the node's start does not wait for

        from renderers.streaming.app import Application
        from renderers.streaming.door import Door, Strangers
        from renderers.streaming.pictures import prepare

        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        application: Any = Application(lambda: self.desk, self._key, drain, self._patience if self._key else 0.0)
        strangers: Strangers = {}
        door: Any = partial(Door, strangers)
        config = uvicorn.Config(
            application,
            http=door,
            ws="websockets-sansio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
            ws_max_size=LONGEST_MESSAGE,
            ws_ping_interval=PING_SECONDS,
            ws_ping_timeout=PING_SECONDS,
            ws_per_message_deflate=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=END_SECONDS,
        )
        self._server = uvicorn.Server(config)
        self._server.should_exit = self._closed
        prepare()
        await self._server.serve(sockets=[self._socket])
