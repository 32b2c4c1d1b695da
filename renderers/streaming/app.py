"""The ASGI application: what each route does."""

import asyncio
import base64
import hmac
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from renderers import __version__
from renderers.streaming.camera import Refused
from renderers.streaming.desk import Desk, Ended
from renderers.streaming.door import ADMIT
from renderers.streaming.frames import WHOLE
from renderers.streaming.http import (
    Answer,
    Problem,
    Receive,
    Scope,
    Send,
    body,
    encoded,
    first_of,
    gone,
    header,
    query,
    sent,
)
from renderers.streaming.pictures import JPEG, PNG
from renderers.streaming.socket import Conversation
from renderers.streaming.studio import Studio
from renderers.streaming.subject import Subject
from renderers.streaming.viewers import Gone, Viewer
from renderers.streaming.wire import camera_json, from_query, read_camera, refusal

KEY, SESSION = b"x-rrm-key", b"x-rrm-session"
BOUNDARY = b"frame"
STILLS_AT_ONCE, STILLS_WAITING = 2, 8
LOOK_SECONDS = 0.005

Handler = Callable[[Scope, Receive, Send, Studio], Awaitable[Answer | None]]


class Application:
    """Answers whoever has the key; without a key, everybody. `drain` is called when the node is asked to leave.

    A session that comes before the manager has told of it waits for that, at most `patience` seconds: else its user
    would be shown something else than what they booked.
    """

    def __init__(self, desk: Callable[[], Desk], key: str | None, drain: Callable[[], None], patience: float) -> None:
        self._desk, self._key, self._drain, self._patience = desk, key, drain, patience
        self._stills = 0
        self._painting: asyncio.Semaphore | None = None
        self._routes: dict[str, dict[str, Handler]] = {
            "registry": {"GET": self._registry, "PUT": self._registry},
            "camera": {"GET": self._camera, "PUT": self._change},
            "image-jpeg": {"GET": self._image_jpeg},
            "frame.jpg": {"GET": self._jpeg},
            "frame.png": {"GET": self._png},
            "stream": {"GET": self._stream},
            "v1/exit": {"PUT": self._exit},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            studio = await self._admitted(scope)
            answer = await self._handler(scope)(scope, receive, send, studio)
        except Problem as problem:
            answer = Answer.problem(problem)
        except Refused as refused:
            answer = Answer.problem(refusal(refused))
        if answer is not None:
            await answer.send(send, method=scope["method"])

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            studio = await self._admitted(scope)
            if _route(scope) != "ws":
                raise Problem(404, "not-found")
        except Problem as problem:
            await receive()
            await Answer.problem(problem).send(send, prefix="websocket.http")
            return
        await Conversation(studio, receive, send).run()

    async def _admitted(self, scope: Scope) -> Studio:
        """The studio of the session that asks. Raises Problem for a wrong key, and for a session that has ended."""
        told = header(scope, KEY)
        if self._key is not None and not hmac.compare_digest(told.encode("latin-1"), self._key.encode()):
            raise Problem(403, "forbidden")
        scope["state"][ADMIT]()
        session = header(scope, SESSION)
        try:
            self._desk().studio(session)
            until = time.monotonic() + self._patience
            while self._desk().awaits(session) and time.monotonic() < until:
                await asyncio.sleep(LOOK_SECONDS)
            return self._desk().studio(session)
        except Ended:
            raise Problem(409, "session-ended") from None

    def _handler(self, scope: Scope) -> Handler:
        methods = self._routes.get(_route(scope))
        if methods is None:
            raise Problem(404, "not-found")
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if method not in methods:
            raise Problem(405, "method-not-allowed", f"It takes {', '.join(methods)}.")
        return methods[method]

    # --- what the node is, and where it looks

    async def _registry(self, _scope: Scope, receive: Receive, _send: Send, _studio: Studio) -> Answer:
        await body(receive)
        return Answer.json(
            {
                "renderer": "mandelbrot",
                "version": __version__,
                "session": self._desk().session or None,
                "routes": [*self._routes, "ws"],
            }
        )

    async def _camera(self, _scope: Scope, _receive: Receive, _send: Send, studio: Studio) -> Answer:
        return Answer.json(camera_json(studio.subject))

    async def _change(self, _scope: Scope, receive: Receive, _send: Send, studio: Studio) -> Answer:
        return Answer.json(camera_json(studio.change(read_camera(await body(receive)))))

    async def _exit(self, scope: Scope, receive: Receive, send: Send, _studio: Studio) -> None:
        await body(receive)
        await Answer.json({"leaving": True}).send(send, method=scope["method"])
        self._drain()

    # --- pictures

    async def _image_jpeg(self, scope: Scope, receive: Receive, _send: Send, studio: Studio) -> Answer | None:
        found = await self._still(scope, receive, studio, JPEG)
        return found and Answer.json({"data": base64.b64encode(found[1]).decode()})

    async def _jpeg(self, scope: Scope, receive: Receive, _send: Send, studio: Studio) -> Answer | None:
        found = await self._still(scope, receive, studio, JPEG)
        return found and Answer(found[1], found[0])

    async def _png(self, scope: Scope, receive: Receive, _send: Send, studio: Studio) -> Answer | None:
        found = await self._still(scope, receive, studio, PNG)
        return found and Answer(found[1], found[0])

    async def _still(self, scope: Scope, receive: Receive, studio: Studio, kind: str) -> tuple[str, bytes] | None:
        """(type, image); None when the client has gone meanwhile."""
        subject = studio.seen_with(from_query(query(scope)))
        if self._stills >= STILLS_AT_ONCE + STILLS_WAITING:
            raise Problem(503, "busy", "Too many pictures are being made.")
        self._painting = self._painting or asyncio.Semaphore(STILLS_AT_ONCE)
        self._stills += 1
        try:
            async with self._painting:
                return await _painted(studio, subject, kind, receive)
        finally:
            self._stills -= 1

    async def _stream(self, scope: Scope, receive: Receive, send: Send, studio: Studio) -> Answer | None:
        """Frames one after the other, for as long as the client listens."""
        kind = f"multipart/x-mixed-replace; boundary={BOUNDARY.decode()}"
        headers = encoded({"content-type": kind, "cache-control": "no-store"})
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return None
        await first_of(_send_parts(studio, send), gone(receive))
        return None


async def _send_parts(studio: Studio, send: Send) -> None:
    """Each part is followed by the boundary at once: browsers show a part when they see where it ends."""
    viewer = Viewer(WHOLE)
    studio.join(viewer)
    try:
        await send({"type": "http.response.body", "body": b"--%s\r\n" % BOUNDARY, "more_body": True})
        while True:
            await viewer.wait()
            kind, image = viewer.take().images[WHOLE]
            about = b"Content-Type: %s\r\nContent-Length: %d\r\n\r\n" % (kind.encode(), len(image))
            part = b"%s%s\r\n--%s\r\n" % (about, image, BOUNDARY)
            await sent(send({"type": "http.response.body", "body": part, "more_body": True}))
    except Gone:
        await send({"type": "http.response.body", "body": b""})
    finally:
        studio.leave(viewer)


async def _painted(studio: Studio, subject: Subject, kind: str, receive: Receive) -> tuple[str, bytes] | None:
    """Made in a thread of its own, which is told when the client has gone."""
    loop = asyncio.get_running_loop()
    promise: asyncio.Future[tuple[str, bytes] | None] = loop.create_future()
    unwanted = threading.Event()

    def settle(result: Any, error: BaseException | None) -> None:
        if not promise.done():
            promise.set_exception(error) if error else promise.set_result(result)

    def paint() -> None:
        try:
            result, error = studio.still(subject, kind, unwanted.is_set), None
        except Exception as caught:
            result, error = None, caught
        loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=paint, name="still", daemon=True).start()
    leaving = asyncio.create_task(gone(receive))
    try:
        await asyncio.wait((promise, leaving), return_when=asyncio.FIRST_COMPLETED)
        unwanted.set()
        return await promise
    finally:
        unwanted.set()
        leaving.cancel()


def _route(scope: Scope) -> str:
    return str(scope["path"]).strip("/")
