"""Database work on behalf of coroutines, on threads that give their connection back each time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async

from rrm.api.views import release_connections

P = ParamSpec("P")
R = TypeVar("R")

# Streams and waiting nodes share these threads: ten of them keep a database busier than is good for it already.
_POOL = ThreadPoolExecutor(max_workers=10, thread_name_prefix="rrm-streams")


async def in_database(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """`work(*args)` on one of the threads. When the caller is cancelled the work still comes to its end."""

    @wraps(work)
    def bounded(*inner_args: P.args, **inner_kwargs: P.kwargs) -> R:
        try:
            return work(*inner_args, **inner_kwargs)
        finally:
            release_connections()

    return await sync_to_async(bounded, thread_sensitive=False, executor=_POOL)(*args, **kwargs)
