"""A client's WebSocket: cameras and acknowledgements come in, the newest frame goes out when there is room for it."""

from renderers.streaming.camera import Refused, id_of
from renderers.streaming.frames import SMALL
from renderers.streaming.http import Receive, Send, first_of, sent
from renderers.streaming.studio import Studio
from renderers.streaming.viewers import Gone, Viewer
from renderers.streaming.wire import Ack, Change, Unreadable, error_json, read_message

AHEAD = 2  # frames that are sent beyond what was acknowledged, to clients that do that
GOING_AWAY, UNREADABLE = 1001, 1003
MOST_REFUSALS = 100  # messages in a row that make no sense before the connection is closed


class Conversation:
    """One client. `run` ends with the connection, or with the user's turn."""

    def __init__(self, studio: Studio, receive: Receive, send: Send) -> None:
        self._studio, self._receive, self._send = studio, receive, send
        self._viewer = Viewer(SMALL)
        self._acknowledged: int | None = None
        self._sent: list[int] = []  # frames that were not acknowledged

    async def run(self) -> None:
        await self._receive()  # the request to connect
        await self._send({"type": "websocket.accept"})
        self._studio.join(self._viewer)
        try:
            await first_of(self._listen(), self._send_frames())
        finally:
            self._studio.leave(self._viewer)

    async def _listen(self) -> None:
        refused = 0
        while (message := await self._receive())["type"] == "websocket.receive":
            understood = await self._understand(message.get("text"))
            refused = 0 if understood else refused + 1
            if refused > MOST_REFUSALS:
                await self._send({"type": "websocket.close", "code": UNREADABLE})
                return

    async def _understand(self, text: str | None) -> bool:
        """Do what a message says; False when it is answered by a refusal."""
        try:
            said = read_message(text)
        except Unreadable as error:
            return await self._refuse("unreadable", None, {"message": [str(error)]})
        if isinstance(said, Ack):
            self._acknowledge(said.frame)
            return True
        return await self._change(said)

    async def _change(self, said: Change) -> bool:
        try:
            self._studio.change(said.fields)
        except Refused as refused:
            return await self._refuse("invalid", id_of(said.fields), refused.errors)
        return True

    async def _refuse(self, code: str, camera: object, errors: dict[str, list[str]]) -> bool:
        await self._send({"type": "websocket.send", "text": error_json(code, camera, errors)})
        return False

    def _acknowledge(self, frame: int) -> None:
        self._acknowledged = max(frame, self._acknowledged or 0)
        self._sent = [number for number in self._sent if number > self._acknowledged]
        self._viewer.wake()

    def _has_room(self) -> bool:
        return self._acknowledged is None or len(self._sent) < AHEAD

    async def _send_frames(self) -> None:
        try:
            while True:
                await self._viewer.wait(self._has_room)
                frame = self._viewer.take()
                self._sent = [*self._sent[-AHEAD:], frame.number]
                await sent(self._send({"type": "websocket.send", "bytes": frame.message()}))
        except Gone:
            await self._send({"type": "websocket.close", "code": GOING_AWAY, "reason": "the session has ended"})
