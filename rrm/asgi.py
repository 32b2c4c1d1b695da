"""The ASGI application: one process serves the API, the pages, the streams, the nodes and the ways to them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rrm.settings")

import django
from asgiref.sync import sync_to_async
from django.core import signals
from django.core.handlers.asgi import ASGIHandler
from django.db import close_old_connections, reset_queries
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

django.setup(set_prefix=False)

from rrm.api.limits import BodyLimit  # noqa: E402
from rrm.api.v1.forwarding import RendererRequests  # noqa: E402
from rrm.api.v2.proxy import SessionProxy  # noqa: E402
from rrm.farm import sessions  # noqa: E402

_THREADS = ThreadPoolExecutor(max_workers=16, thread_name_prefix="rrm-requests")


class ThreadedHandler(ASGIHandler):
    """Django's handler with middleware and view, all synchronous, on one thread of a pool.

    Left to itself Django changes threads for every middleware, twice, and makes a thread for each request, which then
    opens a connection of its own to the database. Streams are unchanged: their content is asynchronous.
    """

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """The answer. Where the caller hangs up, what has begun ends first: the body that it reads is closed then.

        A node that is stopped hangs up in the middle of a delivery, or before its goodbye is answered.
        """
        is_gone = threading.Event()
        respond = sync_to_async(self._respond, thread_sensitive=False, executor=_THREADS)
        work = asyncio.ensure_future(respond(request, is_gone))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            is_gone.set()
            await _ended(work)
            raise

    def _respond(self, request: HttpRequest, is_gone: threading.Event) -> HttpResponseBase:
        if is_gone.is_set():  # it waited for a thread, and nobody waits for it
            return HttpResponse()
        reset_queries()
        close_old_connections()
        try:
            return self.get_response(request)
        finally:
            close_old_connections()


async def _ended(work: asyncio.Future[HttpResponseBase]) -> None:
    """Wait until it has ended, also when the process is told to stop meanwhile; nobody gets the answer."""
    while not work.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([work])
    if work.exception() is None:
        work.result().close()


# They look after the connections of the thread that they run on, which here would be one made for that alone.
signals.request_started.disconnect(reset_queries)
signals.request_started.disconnect(close_old_connections)

application = RendererRequests(SessionProxy(BodyLimit(ThreadedHandler()), sessions))
