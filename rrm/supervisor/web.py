"""The web process on a socket that the supervisor listens on: python -m rrm.supervisor.web DESCRIPTOR.

The socket outlives the process, so requests that come while it is restarted wait instead of being refused.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping
from typing import Any

import uvicorn

from rrm.supervisor.http import Http

_KEEP_ALIVE_SECONDS = 75  # longer than the pauses between a node's requests
_GRACE_SECONDS = 2  # event streams never end by themselves
_LONGEST_MESSAGE = 16 * 2**20
_PING_SECONDS = 20.0  # a WebSocket's client that vanished is noticed after two of them
# The same for streams over HTTP. The last one also ends downloads that somebody pauses for that long, as nginx does.
SILENCE = {
    socket.TCP_KEEPIDLE: 15,
    socket.TCP_KEEPINTVL: 10,
    socket.TCP_KEEPCNT: 3,
    socket.TCP_USER_TIMEOUT: 50_000,  # milliseconds
}


def configuration(application: Any = "rrm.asgi:application") -> uvicorn.Config:
    """How the server treats its clients."""
    return uvicorn.Config(
        application,
        loop="uvloop",
        http=Http,
        ws="websockets-sansio",
        ws_max_size=_LONGEST_MESSAGE,
        ws_ping_interval=_PING_SECONDS,
        ws_ping_timeout=_PING_SECONDS,
        ws_per_message_deflate=False,
        lifespan="off",
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


def watch_clients(listener: socket.socket, silence: Mapping[int, int] = SILENCE) -> None:
    """Notice clients that vanished without a word; accepted connections inherit this. `silence`: TCP options."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in silence.items():
        listener.setsockopt(socket.IPPROTO_TCP, option, value)


def main(descriptor: int) -> None:
    listener = socket.socket(fileno=descriptor)
    watch_clients(listener)
    uvicorn.Server(configuration()).run(sockets=[listener])


if __name__ == "__main__":
    main(int(sys.argv[1]))
