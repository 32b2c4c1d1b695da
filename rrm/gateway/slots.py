"""How many streams may be open, and what this process has carried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

from rrm.gateway.errors import Full

MOST_OF_A_SESSION = 32
MOST = 1024
_RETRY_SECONDS = 1


@dataclass
class Traffic:
    """`requests` and `open` by kind ("http", "websocket"), `bytes` by direction ("to_node", "to_client")."""

    requests: Counter[str] = field(default_factory=Counter)
    open: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    refused: int = 0


traffic = Traffic()
_sessions: Counter[UUID] = Counter()


@contextmanager
def slot(session: UUID, kind: str) -> Iterator[None]:
    """Room for one stream of a session. Raises Full."""
    if _sessions[session] >= MOST_OF_A_SESSION or _sessions.total() >= MOST:
        traffic.refused += 1
        raise Full(
            f"At most {MOST_OF_A_SESSION} streams of one session are open at a time.", retry_after=_RETRY_SECONDS
        )
    _sessions[session] += 1
    traffic.requests[kind] += 1
    traffic.open[kind] += 1
    try:
        yield
    finally:
        traffic.open[kind] -= 1
        _sessions[session] -= 1
        if not _sessions[session]:
            del _sessions[session]
