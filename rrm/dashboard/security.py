"""What a page may load: this server's own files, and nothing else."""

from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

_Answer = HttpResponseBase
_Handler = Callable[[HttpRequest], _Answer] | Callable[[HttpRequest], Awaitable[_Answer]]

HEADER = "Content-Security-Policy"

# Tiles are drawn from blobs; scripts and styles are files, never inline.
PAGES = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# The admin pages and Swagger UI are other people's work: they need inline code, but no other host.
TOOLS = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; form-action 'self'; base-uri 'self'; frame-ancestors 'none'"
)


def policy_for(path: str) -> str:
    """The policy of the page at this path."""
    return TOOLS if path.startswith("/admin/") or path.endswith("/api-docs/") else PAGES


@sync_and_async_middleware
def ContentSecurityPolicy(get_response: _Handler) -> _Handler:  # noqa: N802  (named as a class in the settings)
    """Set the policy on every answer that has none."""
    if iscoroutinefunction(get_response):

        async def later(request: HttpRequest) -> _Answer:
            return _limited(request, await get_response(request))

        return later

    def at_once(request: HttpRequest) -> _Answer:
        answer = get_response(request)
        assert isinstance(answer, HttpResponseBase)  # noqa: S101  (a sync handler answers, it does not promise)
        return _limited(request, answer)

    return at_once


def _limited(request: HttpRequest, response: _Answer) -> _Answer:
    response.headers.setdefault(HEADER, policy_for(request.path))
    return response
