"""One request to a node and its answer, both passed on piece by piece as they arrive.

Nothing is kept but the piece at hand: who does not read is not read for. Either side's end ends the other's at once.
"""

from __future__ import annotations

import asyncio
import logging

import h11

from rrm.errors import RrmError
from rrm.gateway import headers
from rrm.gateway.errors import ClientTimeout, NodeFailed, NodeTimeout
from rrm.gateway.links import Link, link_to, new_link
from rrm.gateway.parts import Parts, has_parts, is_encoded
from rrm.gateway.slots import slot, traffic
from rrm.gateway.visit import Message, Visit

logger = logging.getLogger(__name__)

FIRST_BYTE_SECONDS = 60.0
SILENCE_SECONDS = 600.0  # of an answer that has begun: event streams say something more often than that
UPLOAD_SECONDS = 45.0
CHECK_SECONDS = 5.0
CLIENT_SECONDS = 45.0


class _ClientGone(Exception):
    """There is nobody left to answer."""


class _Stale(Exception):
    """The node ended an idle connection at the moment when it was used again, and has not seen the request."""


async def forward(visit: Visit) -> None:
    """Carry one HTTP request and its answer. Raises RrmError while nothing of the answer was sent.

    What goes wrong later ends the client's connection before its answer is whole, which is how HTTP tells that.
    """
    with slot(visit.way.session, "http"):
        try:
            await _attempt(visit, await link_to(visit.way))
        except _Stale:
            await _attempt(visit, await new_link(visit.way))


async def _attempt(visit: Visit, link: Link) -> None:
    exchange, is_whole = _Exchange(visit, link), False
    try:
        await exchange.run()
        is_whole = True
    except _ClientGone:
        pass
    except NodeFailed:
        if exchange.may_repeat:
            raise _Stale from None
        if not exchange.has_begun:
            raise
    except Exception as error:
        if not exchange.has_begun:
            raise
        if not isinstance(error, RrmError):
            logger.exception("An answer was broken off")
    finally:
        link.give_back() if is_whole else link.close()


class _Exchange:
    """`has_begun`: whether something of the answer was sent to the client."""

    def __init__(self, visit: Visit, link: Link) -> None:
        self.has_begun = False
        self._visit = visit
        self._link = link
        self._framing = headers.framing(visit.scope["headers"])
        self._patience: asyncio.Timeout | None = None
        self._is_sent = False

    @property
    def may_repeat(self) -> bool:
        """Whether the node cannot have acted on the request, and it can be sent again: a body cannot."""
        return self._link.used and not self._link.heard and not self._framing and self._visit.scope["method"] in _SAFE

    async def run(self) -> None:
        """Raises RrmError, or _ClientGone."""
        up, down, guard = (asyncio.ensure_future(part) for part in (self._upload(), self._download(), self._guard()))
        try:
            await asyncio.wait({up, down, guard}, return_when=asyncio.FIRST_COMPLETED)
            if not down.done() and up.done() and _is_of_node(up):
                # It may have answered without reading all of the body, and closed the connection.
                await asyncio.wait({down, guard}, return_when=asyncio.FIRST_COMPLETED)
            first = next(part for part in (down, guard, up) if part.done())
            first.result()
            if first is not down:
                raise _ClientGone
        finally:
            await _end(up, down, guard)

    async def _upload(self) -> None:
        """Send the request; then wait until the client is gone."""
        visit, link = self._visit, self._link
        lines = [*headers.for_node(visit), *self._framing]
        await link.send(h11.Request(method=visit.scope["method"], target=visit.wanted, headers=lines))
        is_more = True
        while is_more:
            message = await self._received() if self._framing else await visit.receive()
            if message["type"] == "http.disconnect":
                return
            is_more = message.get("more_body", False)
            if self._framing and (body := message.get("body")):
                await link.send(h11.Data(data=body))
                traffic.bytes["to_node"] += len(body)
                visit.heard()
                self._be_patient()
        await link.send(h11.EndOfMessage())
        self._is_sent = True
        while (await visit.receive())["type"] != "http.disconnect":
            pass

    async def _received(self) -> Message:
        try:
            async with asyncio.timeout(UPLOAD_SECONDS):
                return await self._visit.receive()
        except TimeoutError:
            raise ClientTimeout from None

    def _be_patient(self) -> None:
        """The node has its time from the last piece of the body on."""
        if self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time() + FIRST_BYTE_SECONDS)

    async def _download(self) -> None:
        """Pass the answer on. Raises RrmError."""
        try:
            async with asyncio.timeout(FIRST_BYTE_SECONDS) as self._patience:
                head = await self._link.head()
        except TimeoutError:
            raise NodeTimeout(f"The node gave no answer within {FIRST_BYTE_SECONDS:.0f} s.") from None
        finally:
            self._patience = None
        told = head.headers.raw_items()
        parts = Parts() if has_parts(told) else None
        if parts and is_encoded(told):
            raise NodeFailed("The node compresses an answer of several parts.")
        answer = headers.for_client(self._visit, head.status_code, told)
        if not self._is_sent:  # the rest of the body will not be read
            answer.append((b"connection", b"close"))
        self.has_begun = True
        await self._tell({"type": "http.response.start", "status": head.status_code, "headers": answer})
        is_last = False
        while not is_last:
            piece, is_last = await self._piece()
            traffic.bytes["to_client"] += len(piece)
            if parts:
                piece = parts.passing(piece, is_last=is_last)
            await self._tell({"type": "http.response.body", "body": piece, "more_body": not is_last})

    async def _piece(self) -> tuple[bytes, bool]:
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                return await self._link.piece()
        except TimeoutError:
            raise NodeTimeout("The node has been silent for too long.") from None

    async def _tell(self, message: Message) -> None:
        """Raises _ClientGone when the client does not read."""
        try:
            async with asyncio.timeout(CLIENT_SECONDS):
                await self._visit.send(message)
        except TimeoutError:
            raise _ClientGone from None

    async def _guard(self) -> None:
        """Raises RrmError when the visit has to end."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            await self._visit.check()


_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def _is_of_node(part: asyncio.Future[None]) -> bool:
    """Whether the upload ended because of the node."""
    return isinstance(part.exception(), RrmError) and not isinstance(part.exception(), ClientTimeout)


async def _end(*parts: asyncio.Future[None]) -> None:
    for part in parts:
        part.cancel()
    await asyncio.gather(*parts, return_exceptions=True)
