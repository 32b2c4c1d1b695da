"""Who calls, where Django's views are not: the same credentials, checks and refusals for an ASGI scope of any kind."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.core.handlers.asgi import ASGIRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated
from rest_framework.request import Request

from rrm.api.auth import Access, LoginAuthentication, Scope, TokenAuthentication
from rrm.errors import Forbidden

_OF_THE_BODY = frozenset({b"content-type", b"content-length", b"transfer-encoding"})
# What a page of ours asks a node for is shown or read; it never becomes a part of the page that could act for it.
_INERT = frozenset({"", "audio", "document", "empty", "image", "track", "video", "websocket"})


def caller(scope: Mapping[str, Any], needed: Scope) -> Access:
    """The recognised caller of an HTTP request or WebSocket, who has the scope.

    Raises what views raise: NotAuthenticated, AuthenticationFailed, PermissionDenied, SuspiciousOperation, Forbidden.
    """
    request = request_of(scope)
    access = recognised(request, (TokenAuthentication(), LoginAuthentication()), needed)
    if access.token is None and scope["type"] == "websocket":
        _check_page(request)
    return access


def recognised(request: ASGIRequest, authenticators: Sequence[BaseAuthentication], needed: Scope) -> Access:
    """Whom the first of these recognises, and who has the scope. Raises as `caller` does.

    Without a token a browser may have sent the request, for whatever use.
    """
    request.get_host()
    if getattr(settings, "SECURE_SSL_REDIRECT", False) and not request.is_secure():
        raise Forbidden("Use https.")
    try:
        access = Request(request, authenticators=authenticators).auth
        if not isinstance(access, Access):
            raise NotAuthenticated
    except (NotAuthenticated, AuthenticationFailed) as refusal:
        refusal.auth_header = authenticators[0].authenticate_header(Request(request))  # type: ignore[union-attr]
        raise
    if access.token is None and request.headers.get("Sec-Fetch-Dest", "") not in _INERT:
        raise Forbidden("What a node sends is no part of a page.")
    if needed not in access.scopes:
        raise Forbidden
    return access


def request_of(scope: Mapping[str, Any]) -> ASGIRequest:
    """The scope as views see it, without its body. Asks the database."""
    request = bodiless(scope)
    store = import_module(settings.SESSION_ENGINE).SessionStore
    request.session = store(request.COOKIES.get(settings.SESSION_COOKIE_NAME))
    request.user = get_user(request)
    return request


def bodiless(scope: Mapping[str, Any]) -> ASGIRequest:
    """The scope as a request without a body, a login session or a user."""
    headers = [(name, value) for name, value in scope["headers"] if name not in _OF_THE_BODY]
    return ASGIRequest({"method": "GET", **scope, "headers": headers}, io.BytesIO())


def _check_page(request: ASGIRequest) -> None:
    """A browser sends the cookie whoever asks it to. Raises Forbidden unless a page of ours did."""
    own = f"{'https' if request.is_secure() else 'http'}://{request.get_host()}"
    if request.headers.get("Origin", "") not in {own, *settings.CSRF_TRUSTED_ORIGINS}:
        raise Forbidden("With a login session a WebSocket is opened by a page of this server only.")
