"""Bodies as the first RRM had them: `{"contents": …}`, bare text, or a small object; all of them called text/html."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from django.http import HttpResponse, JsonResponse
from rest_framework import exceptions

from rrm.api.errors import Internal, MalformedJson, as_rrm_error, flat_errors
from rrm.errors import Forbidden, Invalid, NoCapacity, NotFound, RrmError, StateConflict, Suspended, TooLarge, TooMany

logger = logging.getLogger(__name__)

HTML = "text/html; charset=utf-8"
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&"}

_STATUS: Mapping[type[RrmError], int] = {
    NotFound: 404,
    Forbidden: 403,
    Suspended: 403,
    TooMany: 403,
    StateConflict: 401,
    NoCapacity: 400,
    Invalid: 400,
    Internal: 500,
}


def said(body: Any, status: int = 200) -> HttpResponse:
    """JSON that calls itself HTML, with nothing in it that would be read as HTML."""
    return HttpResponse(json.dumps(body).translate(_ESCAPES), status=status, content_type=HTML)


def contents(text: str, status: int = 200) -> HttpResponse:
    return said({"contents": text}, status)


def bare(text: str, status: int = 200) -> HttpResponse:
    return HttpResponse(text.translate({60: "&lt;", 62: "&gt;", 38: "&amp;"}), status=status, content_type=HTML)


def refusal(exc: Exception, context: Mapping[str, Any]) -> HttpResponse:
    """What version 1 answers to an exception; never a traceback."""
    if isinstance(exc, exceptions.ValidationError):
        exc = Invalid(flat_errors(exc.detail))
    if isinstance(exc, exceptions.MethodNotAllowed):
        return _detail(f"Method '{context['request'].method}' not allowed.", exc.status_code)
    if isinstance(exc, exceptions.APIException):
        response = _detail(str(exc.detail), exc.status_code)
        if challenge := getattr(exc, "auth_header", None):
            response.headers["WWW-Authenticate"] = challenge
        return response
    error = as_rrm_error(exc)
    if not isinstance(error, RrmError):  # what the framework raises was dealt with
        raise TypeError(error)
    if isinstance(error, MalformedJson | TooLarge):
        return _detail(error.detail, error.status)
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 400)
    response = contents(error.detail, status)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def _detail(text: str, status: int) -> HttpResponse:
    return JsonResponse({"detail": text}, status=status)
