"""HTTP as the web process speaks it: uvicorn's, and streams for clients of HTTP/1.0, who do not know chunks.

For them the end of the connection is the end of an answer of unknown length (RFC 9112 section 6.3), so they cannot tell
an answer that was broken off from a whole one. On uvicorn's command line: `--http rrm.supervisor.http:Http`.
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle


class Http(HttpToolsProtocol):
    """Chunks for those alone who know them."""

    def on_headers_complete(self) -> None:
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before and self.scope["http_version"] == "1.0":
            self.cycle.send = _until_the_end(self.cycle)  # type: ignore[method-assign]


def _until_the_end(cycle: RequestResponseCycle) -> Any:
    """Sends an answer as it is where nobody said how long it will be: each piece is as long as is expected."""
    send, is_open = cycle.send, False

    async def sending(message: Any) -> None:
        nonlocal is_open
        if message["type"] == "http.response.start":
            is_open = all(name.lower() != b"content-length" for name, _ in message.get("headers", ()))
            if is_open:
                cycle.chunked_encoding = False
        elif is_open:
            cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    return sending
