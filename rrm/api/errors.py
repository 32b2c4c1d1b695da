"""Every error as a problem document (RFC 9457) with a stable `code`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from django.core.exceptions import ObjectDoesNotExist, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import IntegrityError
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response

from rrm.errors import Forbidden, Invalid, NotFound, RrmError, StateConflict, TooLarge, Unauthorised

logger = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"

_CODES: Mapping[type[exceptions.APIException], str] = {
    exceptions.NotAuthenticated: Unauthorised.code,
    exceptions.AuthenticationFailed: Unauthorised.code,
    exceptions.PermissionDenied: Forbidden.code,
    exceptions.NotFound: NotFound.code,
    exceptions.MethodNotAllowed: "method-not-allowed",
    exceptions.NotAcceptable: "not-acceptable",
    exceptions.UnsupportedMediaType: "unsupported-media-type",
    exceptions.Throttled: "throttled",
}


class MalformedJson(RrmError):
    """A body that is not one JSON object of the kind that everybody reads in the same way."""

    status = 400
    code = "malformed-json"
    title = "The body is not acceptable JSON"


class BadRequest(RrmError):
    status = 400
    code = "bad-request"
    title = "The request cannot be understood"


class TooSlow(RrmError):
    """A body that does not arrive in time. There is no use in reading on."""

    status = 408
    code = "request-timeout"
    title = "The body did not arrive in time"


class Busy(RrmError):
    status = 503
    code = "busy"
    title = "The server has its hands full; try again"


class Internal(RrmError):
    status = 500
    code = "internal"
    title = "An error inside the server"


class Collision(StateConflict):
    """Two wanted what only one can have, and each looked before the other wrote."""

    def __init__(self) -> None:
        super().__init__("Somebody else changed the same thing at the same moment; look again.")


_MEANINGS: Mapping[type[Exception], type[RrmError]] = {
    Http404: NotFound,
    ObjectDoesNotExist: NotFound,
    IntegrityError: Collision,
    PermissionDenied: Forbidden,
    RequestDataTooBig: TooLarge,
    SuspiciousOperation: BadRequest,
}


def problem(
    status: int, code: str, title: str, detail: str, errors: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Any]:
    """The members of a problem document."""
    said = {"type": f"urn:rrm:problem:{code}", "title": title, "status": status, "detail": detail, "code": code}
    return said if errors is None else {**said, "errors": errors}


def problem_response(exc: Exception, context: Mapping[str, Any]) -> Response:
    """What the API answers to an exception. One that nobody foresaw is logged, and tells the caller nothing."""
    error = as_rrm_error(exc)
    if isinstance(error, RrmError):
        headers = {"WWW-Authenticate": "Bearer"} if error.status == HTTPStatus.UNAUTHORIZED else {}
        if error.retry_after is not None:
            headers["Retry-After"] = str(error.retry_after)
        body = problem(error.status, error.code, error.title, error.detail, getattr(error, "errors", None))
        return _respond({**body, **error.members}, headers)
    return _library_response(error)


def as_rrm_error(exc: Exception) -> RrmError | exceptions.APIException:
    """What an exception means to callers; unforeseen ones are logged."""
    if isinstance(exc, exceptions.ValidationError):
        return Invalid(flat_errors(exc.detail))
    if isinstance(exc, RrmError | exceptions.APIException):
        return exc
    for kind, meaning in _MEANINGS.items():
        if isinstance(exc, kind):
            if meaning is Collision:
                logger.warning("Two requests collided: %s", exc)
            return meaning()
    logger.error("Unforeseen error in a view", exc_info=exc)
    return Internal("The cause is in the server's log.")


def _library_response(exc: exceptions.APIException) -> Response:
    headers = {}
    if challenge := getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if wait := getattr(exc, "wait", None):
        headers["Retry-After"] = str(int(wait))
    code = next((code for kind, code in _CODES.items() if isinstance(exc, kind)), BadRequest.code)
    detail = " ".join(message for messages in flat_errors(exc.detail).values() for message in messages)
    return _respond(problem(exc.status_code, code, HTTPStatus(exc.status_code).phrase, detail), headers)


def _respond(body: Mapping[str, Any], headers: Mapping[str, str]) -> Response:
    return Response(body, status=body["status"], headers=dict(headers), content_type=PROBLEM_JSON)


def flat_errors(detail: Any, path: str = "") -> dict[str, list[str]]:
    """Nested messages as {dotted field: [messages]}; those about the whole body are under `body`."""
    if isinstance(detail, Mapping):
        found: dict[str, list[str]] = {}
        for name, part in detail.items():
            field = path if name == "non_field_errors" else f"{path}.{name}" if path else str(name)
            for where, messages in flat_errors(part, field).items():
                found.setdefault(where, []).extend(messages)
        return found
    if isinstance(detail, list) and any(isinstance(part, Mapping | list) for part in detail):
        return flat_errors({str(index): part for index, part in enumerate(detail) if part}, path)
    messages = detail if isinstance(detail, list) else [detail]
    return {path or "body": [str(message) for message in messages]}
