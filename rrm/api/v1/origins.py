"""Which web pages may call: those of this server and of the origins that an operator lists, and no other.

A page of anybody can make a browser send requests to a service on the same machine, where no token is needed.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from rrm.errors import Forbidden

_METHODS = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
_HEADERS = "x-requested-with, content-type, accept, origin, authorization, x-csrftoken"
_ELSEWHERE = frozenset({"cross-site", "same-site"})
_UNKNOWN = "null"


def refuse_other_pages(request: HttpRequest) -> None:
    """Raises Forbidden for a request that a page of an origin that is not listed has caused."""
    own = f"{request.scheme}://{request.get_host()}"
    cause = _cause(request)
    if cause and cause not in {own, *settings.RRM.v1_origins}:
        raise Forbidden(f"Pages of {cause} may not call this service; RRM_V1_ORIGINS lists those that may.")


def _cause(request: HttpRequest) -> str:
    """The origin of the page that caused a request; empty where none did. Programs send none of these headers."""
    if origin := request.headers.get("Origin", ""):
        return origin
    if referrer := request.headers.get("Referer", ""):
        parts = urlsplit(referrer)
        return f"{parts.scheme}://{parts.netloc}"
    return _UNKNOWN if request.headers.get("Sec-Fetch-Site", "") in _ELSEWHERE else ""


def preflight(request: HttpRequest) -> HttpResponse:
    """The answer to a browser that asks on behalf of a page. Raises Forbidden."""
    refuse_other_pages(request)
    headers = _HEADERS if settings.RRM.v1_legacy == "0" else f"{_HEADERS}, hbp"
    return HttpResponse(headers={"Access-Control-Allow-Methods": _METHODS, "Access-Control-Allow-Headers": headers})


def permissions(origin: str) -> dict[str, str]:
    """The headers with which a page of a listed origin may read an answer."""
    if origin not in settings.RRM.v1_origins:
        return {}
    allowed = {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
    return allowed if settings.RRM.v1_legacy == "0" else {**allowed, "Access-Control-Allow-Credentials": "true"}
