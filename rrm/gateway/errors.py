"""What can go wrong on the way to a node, as the client is told.

RrmError
├── NodeUnreachable 502 nothing was sent: the node cannot be connected to
├── NodeFailed      502 the node broke off, or its answer is none
│   └── NodeRefused  4xx the node wants no WebSocket there; its own status, or 502
├── NodeTimeout     504 the node takes no connection, no data, or gives no answer in time
├── ClientTimeout   408 the client announced a body that does not come
├── BadTarget       400 a path that means different things to different programs
└── Full            503 as many streams are open as may be
"""

from __future__ import annotations

from rrm.errors import RrmError


class NodeUnreachable(RrmError):
    status = 502
    code = "node-unreachable"
    title = "The session's node cannot be reached"


class NodeFailed(RrmError):
    status = 502
    code = "node-failed"
    title = "The session's node did not answer as it should"


class NodeRefused(NodeFailed):
    code = "node-refused"
    title = "The session's node refuses this WebSocket"

    def __init__(self, status: int) -> None:
        super().__init__(f"The node answered the WebSocket's handshake with status {status}.")
        if 400 <= status < 500 and status != 401:  # which would ask for credentials that it never gets
            self.status = status


class NodeTimeout(RrmError):
    status = 504
    code = "node-timeout"
    title = "The session's node did not answer in time"


class ClientTimeout(RrmError):
    status = 408
    code = "request-timeout"
    title = "The body did not arrive in time"


class BadTarget(RrmError):
    status = 400
    code = "bad-path"
    title = "The path cannot be passed on"


class Full(RrmError):
    status = 503
    code = "busy"
    title = "As many streams are open as may be; try again"
