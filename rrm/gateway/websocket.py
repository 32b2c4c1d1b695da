"""A WebSocket between a client and a node: messages pass whole, one at a time in each direction.

A message is taken only when the one before it was passed on, so who does not read stops the other. Pings are answered
on each side by that side's own library.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from rrm.errors import RrmError
from rrm.gateway import headers
from rrm.gateway.errors import NodeFailed, NodeRefused, NodeTimeout
from rrm.gateway.exchange import CHECK_SECONDS, CLIENT_SECONDS
from rrm.gateway.slots import slot, traffic
from rrm.gateway.sockets import open_socket
from rrm.gateway.visit import Visit, authority

LONGEST_MESSAGE = 16 * 2**20
_ANSWER_SECONDS = 10.0
_PING_SECONDS = 20.0
_CLOSE_SECONDS = 2.0
_QUEUE = (2, 1)  # frames that are read ahead

GOING_AWAY, POLICY, BAD_GATEWAY = 1001, 1008, 1014
_UNSAID = frozenset({1005, 1006, 1015})  # these never travel

_LONGEST_REASON = 123  # bytes, RFC 6455 section 5.5

_quiet = logging.getLogger("rrm.gateway.websocket")
_quiet.setLevel(logging.CRITICAL)  # a connection that breaks is no news


class _Ending:
    """A close code that may travel, and a reason that fits into its frame."""

    def __init__(self, code: int, reason: str = "") -> None:
        self.code = GOING_AWAY if code in _UNSAID else code
        self.reason = reason.encode()[:_LONGEST_REASON].decode(errors="ignore")


class _Straight(connect):
    """A redirect is an answer, and no way to go."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


async def relay(visit: Visit) -> None:
    """Carry one WebSocket to its end. Raises RrmError while the client's handshake was not answered."""
    with slot(visit.way.session, "websocket"):
        node = await _opened(visit)
        try:
            await visit.send({"type": "websocket.accept", "subprotocol": node.subprotocol})
            ending = await _carry(visit, node)
            with contextlib.suppress(Exception):  # it may be gone, of which every server tells in its own way
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await visit.send({"type": "websocket.close", "code": ending.code, "reason": ending.reason})
        finally:
            node.transport.abort()


async def _opened(visit: Visit) -> ClientConnection:
    """The node's side of it. Raises RrmError."""
    stream = await open_socket(visit.way)
    try:
        return await _shake_hands(visit, stream)
    except BaseException as error:
        stream.close()
        if isinstance(error, InvalidStatus):
            raise NodeRefused(error.response.status_code) from None
        if isinstance(error, TimeoutError):
            raise NodeTimeout("The node did not answer the WebSocket's handshake.") from None
        if isinstance(error, WebSocketException | OSError | EOFError):
            raise NodeFailed(f"The node opened no WebSocket: {error}.") from None
        raise


async def _shake_hands(visit: Visit, stream: socket.socket) -> ClientConnection:
    return await _Straight(
        f"ws://{authority(visit.way)}{visit.wanted.decode('ascii')}",
        sock=stream,
        proxy=None,
        compression=None,
        additional_headers=[
            (name.decode("ascii"), value.decode("latin-1"))
            for name, value in headers.for_node(visit)
            if name != b"host"  # the library writes it, of the same address
        ],
        user_agent_header=None,
        subprotocols=[Subprotocol(name) for name in visit.scope.get("subprotocols", ())] or None,
        open_timeout=_ANSWER_SECONDS,
        ping_interval=_PING_SECONDS,
        ping_timeout=_PING_SECONDS,
        close_timeout=_CLOSE_SECONDS,
        max_size=LONGEST_MESSAGE,
        max_queue=_QUEUE,
        logger=_quiet,
    )


async def _carry(visit: Visit, node: ClientConnection) -> _Ending:
    """Pass messages until one side ends; the node is told. What the client is to be told of it."""
    parts = [asyncio.ensure_future(part) for part in (_to_client(visit, node), _to_node(visit, node), _guard(visit))]
    try:
        done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        ending = next(part for part in parts if part in done).result()
    finally:
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
    await node.close(ending.code, ending.reason)
    return ending


async def _to_client(visit: Visit, node: ClientConnection) -> _Ending:
    while True:
        try:
            data = await node.recv()
        except ConnectionClosed as closed:
            said = closed.rcvd or closed.sent  # the library itself ends what is too long
            return _Ending(said.code, said.reason) if said else _Ending(BAD_GATEWAY, "The node is gone.")
        traffic.bytes["to_client"] += len(data)
        kind = "text" if isinstance(data, str) else "bytes"
        try:
            async with asyncio.timeout(CLIENT_SECONDS):
                await visit.send({"type": "websocket.send", kind: data})
        except TimeoutError:
            return _Ending(POLICY, "The client does not read.")
        except Exception:  # every server has its own for a client that is gone
            return _Ending(GOING_AWAY)


async def _to_node(visit: Visit, node: ClientConnection) -> _Ending:
    while True:
        message = await visit.receive()
        if message["type"] == "websocket.disconnect":
            return _Ending(message.get("code") or GOING_AWAY, message.get("reason") or "")
        if message["type"] != "websocket.receive":
            continue
        text = message.get("text")
        data = message["bytes"] if text is None else text
        traffic.bytes["to_node"] += len(data)
        visit.heard()
        try:
            await node.send(data)
        except ConnectionClosed:
            await asyncio.Event().wait()  # the other direction tells how it ended


async def _guard(visit: Visit) -> _Ending:
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        try:
            await visit.check()
        except RrmError as error:
            return _Ending(POLICY, error.detail)
