"""Holding a node's request for work until there is some."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import StreamingHttpResponse
from django.utils import timezone

from rrm.api.threads import in_database
from rrm.api.v2 import lobby
from rrm.api.views import release_connections
from rrm.errors import NotFound
from rrm.farm import leases, tokens

logger = logging.getLogger(__name__)

_KEEP_ALIVE_SECONDS = 5.0
_LATER: Mapping[str, Any] = {"command": "run", "lease": None, "retry_after": 1}  # and no word of sessions


def wait_for_work(node: UUID, report: Mapping[str, Any], asked: float) -> StreamingHttpResponse:
    """Spaces while there is nothing (they keep the connection alive, and mean nothing to JSON), then the answer.

    `asked` is the monotonic instant at which there was nothing.
    """
    release_connections()
    content = _until_work(node, report, asked)
    return StreamingHttpResponse(content, content_type="application/json", headers={"Cache-Control": "no-store"})


def is_news(answer: Mapping[str, Any], report: Mapping[str, Any]) -> bool:
    """Whether the node has to hear this now: work, a model, an order to leave, or another session than it knows of."""
    session = answer["session"]["id"] if answer["session"] else None
    has_work = bool(answer["lease"] or answer.get("preload"))
    return has_work or answer["command"] != "run" or session != known_session(report)


def known_session(report: Mapping[str, Any]) -> str | None:
    """The session that the node says it serves."""
    return str(report["session"]) if report.get("session") else None


def _patience() -> float:
    return float(settings.RRM.lease_wait.total_seconds())


async def _until_work(node: UUID, report: Mapping[str, Any], asked: float) -> AsyncIterator[bytes]:
    ends_at = time.monotonic() + _patience()
    # It was true when the node asked; by now it may hold more, as its heartbeats tell.
    report = {name: told for name, told in report.items() if name != "models"}
    async with lobby.of_this_loop().seat(node, known_session(report), asked) as seat:
        while (left := ends_at - time.monotonic()) > 0:
            if not await seat.called(min(_KEEP_ALIVE_SECONDS, left)):
                yield b" "
                continue
            answer = await _ask(node, report)
            if answer is _LATER or is_news(answer, report):
                yield json.dumps(answer).encode()
                return
        yield json.dumps(await _ask(node, report)).encode()


async def _ask(node: UUID, report: Mapping[str, Any]) -> Mapping[str, Any]:
    """One look. The status is sent already, so an error can only become an answer: ask again."""
    try:
        return await in_database(_next_lease, node, report)
    except asyncio.CancelledError:
        raise
    except Exception:  # whatever it is, the node must get an answer that it understands
        logger.exception("Could not look for work for node %s", node)
        return _LATER


def _next_lease(node: UUID, report: Mapping[str, Any]) -> dict[str, Any]:
    row = tokens.calling(pk=node)
    if row is None:
        raise NotFound("There is no such node.")
    return leases.next_lease(row, report, timezone.now())
