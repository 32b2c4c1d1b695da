"""A connected socket to a node: straight, or one end of a pair that its site's connection carries on.

Whoever gets it can treat both alike. Nothing but the address of the Way is connected to.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import Future, ThreadPoolExecutor

from rrm.domain.addresses import may_connect
from rrm.errors import RrmError
from rrm.gateway.errors import NodeTimeout, NodeUnreachable
from rrm.gateway.visit import Way
from rrm.launchers.connection import Target, connection_to

CONNECT_SECONDS = 5.0
_SILENCE = ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
_UNSENT_MILLISECONDS = 45_000

# Opening a stream waits for the site's host, and for a login when there is no connection yet.
_OPENERS = ThreadPoolExecutor(max_workers=8, thread_name_prefix="rrm-gateway-open")


async def open_socket(way: Way) -> socket.socket:
    """A non-blocking stream to the node. Raises NodeUnreachable or NodeTimeout."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            return await (_straight(way) if way.target is None else _tunnelled(way.target, way.host, way.port))
    except TimeoutError:
        raise NodeTimeout(f"The node takes no connection within {CONNECT_SECONDS:.0f} s.") from None


def open_at_site(target: Target, host: str, port: int) -> socket.socket:
    """The near end of a stream that the site's host opens to an address there. Raises SiteUnavailable; blocks."""
    near = connection_to(target).stream(host, port)
    near.setblocking(False)
    return near


async def _straight(way: Way) -> socket.socket:
    loop = asyncio.get_running_loop()
    problem = "the name is not known here"
    for family, kind, protocol, _, address in await _addresses(way):
        if not may_connect(way.host, str(address[0]), (socket.gethostname(), socket.getfqdn())):
            raise NodeUnreachable("The node's address is none of a machine that may be connected to.")
        stream = socket.socket(family, kind, protocol)
        try:
            _prepare(stream)
            await loop.sock_connect(stream, address)
        except OSError as error:
            stream.close()
            problem = error.strerror or str(error)
        except BaseException:
            stream.close()
            raise
        else:
            return stream
    raise NodeUnreachable(f"The node cannot be connected to: {problem}.")


async def _addresses(way: Way) -> list[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[object, ...]]]:
    loop = asyncio.get_running_loop()
    try:
        return list(await loop.getaddrinfo(way.host.strip("[]"), way.port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        return []


def _prepare(stream: socket.socket) -> None:
    """A node that vanished without a word is noticed within a minute."""
    stream.setblocking(False)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _SILENCE:
        stream.setsockopt(socket.IPPROTO_TCP, option, value)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNSENT_MILLISECONDS)


async def _tunnelled(target: Target, host: str, port: int) -> socket.socket:
    """When the wait is over before the thread is, the stream is closed as soon as it is there."""
    opening = _OPENERS.submit(open_at_site, target, host, port)
    try:
        return await asyncio.shield(asyncio.wrap_future(opening))
    except RrmError as error:
        raise NodeUnreachable(error.detail) from None
    except asyncio.CancelledError:
        opening.add_done_callback(_close)
        raise


def _close(opening: Future[socket.socket]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
