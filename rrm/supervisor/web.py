"""The web process on a socket that the supervisor listens on: python -m rrm.supervisor.web DESCRIPTOR.

The socket outlives the process, so requests that come while it is restarted wait instead of being refused.
"""

from __future__ import annotations

import socket
import sys

import uvicorn

_KEEP_ALIVE_SECONDS = 75  # longer than the pauses between a node's requests
_GRACE_SECONDS = 2  # event streams never end by themselves


def main(descriptor: int) -> None:
    config = uvicorn.Config(
        "rrm.asgi:application",
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    main(int(sys.argv[1]))
