"""Who calls version 1: whoever shows a token, and where a switch says so, anybody."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.models import User
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from rrm.api.auth import Access, Scope, TokenAuthentication, access
from rrm.api.v1 import peers
from rrm.errors import Forbidden
from rrm.farm import guests

_OF_PROXIES = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_VIA")


@dataclass(frozen=True)
class GuestAccess(Access):
    """Somebody who does not say who they are."""


class GuestAuthentication(BaseAuthentication):
    """Nobody in particular, as RRM_V1_ANONYMOUS allows; what they make belongs to one account.

    The embedded mode is for the people of one machine: what comes through a proxy comes from elsewhere.
    """

    def authenticate(self, request: Request) -> tuple[User, GuestAccess] | None:
        if not settings.RRM.v1_anonymous:
            return None
        if settings.RRM.embedded and any(name in request.META for name in _OF_PROXIES):
            return None
        user = guests.guest()
        return None if user is None else (user, GuestAccess(user, frozenset({Scope.READ, Scope.RENDER})))


AUTHENTICATORS: list[type[BaseAuthentication]] = [TokenAuthentication, GuestAuthentication]


def may_configure(request: Request) -> bool:
    """Whether the caller may say which programs the manager runs: operators, and who runs the manager anyway."""
    caller = access(request)
    if isinstance(caller, GuestAccess):
        return settings.RRM.v1_configurable and peers.is_own(request.META)
    return caller.operator


def require_configuring(request: Request) -> None:
    """Raises Forbidden."""
    if not may_configure(request):
        raise Forbidden("This needs an operator's token.")
