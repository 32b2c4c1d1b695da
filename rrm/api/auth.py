"""Who calls, and what they may do: tokens for programs, the login session for pages, node tokens for nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import AnonymousUser, User
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from rrm.farm import tokens
from rrm.farm.models import Node, Token

if TYPE_CHECKING:  # the framework's views import this module
    from rest_framework.views import APIView


class Scope(StrEnum):
    READ = "read"
    RENDER = "render"
    OPERATE = "operate"


_INCLUDED: Mapping[str, frozenset[Scope]] = {
    Scope.READ: frozenset({Scope.READ}),
    Scope.RENDER: frozenset({Scope.READ, Scope.RENDER}),
    Scope.OPERATE: frozenset(Scope),
}


@dataclass(frozen=True)
class Access:
    """A person or program that was recognised, and the scopes in force; `token` is None for a login session."""

    user: User
    scopes: frozenset[Scope]
    token: Token | None = None

    @property
    def operator(self) -> bool:
        return Scope.OPERATE in self.scopes


def scopes_of(user: User) -> frozenset[Scope]:
    """The most that this user may do, whatever the credentials say."""
    return _INCLUDED[Scope.OPERATE if user.is_staff or user.is_superuser else Scope.RENDER]


def included(scopes: Iterable[str]) -> frozenset[Scope]:
    """These scopes and the lesser ones that they contain; names that mean nothing are left out."""
    return frozenset().union(*(_INCLUDED.get(scope, frozenset()) for scope in scopes))


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer <token>` of a user. A token never allows more than its user may do today."""

    def authenticate(self, request: Request) -> tuple[User, Access] | None:
        secret = bearer(request)
        if secret is None:
            return None
        token = tokens.authenticate(secret)
        if token is None or not token.user.is_active:
            raise AuthenticationFailed("The token is unknown, revoked or expired.")
        return token.user, Access(token.user, included(token.scopes) & scopes_of(token.user), token)

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="rrm"'


class LoginAuthentication(SessionAuthentication):
    """The login session of a page; everything that changes something needs the CSRF token too."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        found = super().authenticate(request)
        return found and (found[0], Access(found[0], scopes_of(found[0])))


class NodeAuthentication(BaseAuthentication):
    """`Authorization: Bearer <node token>`; `request.auth` is the node."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, Node] | None:
        secret = bearer(request)
        if secret is None:
            return None
        node = tokens.node_of(secret)
        if node is None:
            raise AuthenticationFailed("The node token is unknown or no longer valid.")
        return AnonymousUser(), node

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="rrm-node"'


class ScopePermission(BasePermission):
    """The scope that the view's table `scopes` names for this method. A method without an entry is closed."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not isinstance(request.auth, Access):
            return False
        method = "GET" if request.method == "HEAD" else str(request.method)
        if method not in view.allowed_methods:
            return True  # the answer will be 405
        return getattr(view, "scopes", {}).get(method) in request.auth.scopes


class NodePermission(BasePermission):
    """Nodes, and nobody else."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return isinstance(request.auth, Node)


def bearer(request: Request) -> str | None:
    """The secret of the Authorization header, or None when the header is absent or of another scheme."""
    scheme, _, secret = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def access(request: Request) -> Access:
    """The recognised caller of a view that `ScopePermission` guards."""
    if not isinstance(request.auth, Access):
        raise TypeError("this view is not guarded by ScopePermission")
    return request.auth
