"""Bearer tokens of the caller. A secret is shown once, when its token is made.

A token that gets into wrong hands must not grow: it neither sees nor revokes stronger ones, and makes no others
unless it may do everything anyway.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import Q, QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from rrm.api.auth import Scope, access
from rrm.api.fields import Instant, OneOf, StrictModelSerializer, StrictSerializer, Text
from rrm.api.schema import LOCATION
from rrm.api.v2.locations import at
from rrm.api.views import ApiView, ListView, valid
from rrm.errors import Forbidden
from rrm.farm import tokens
from rrm.farm.models import Token


class TokenSerializer(StrictModelSerializer):
    """A token without its secret; `prefix` is how the secret begins."""

    scopes = serializers.ListField(child=serializers.CharField())

    class Meta:
        model = Token
        fields: ClassVar = ["id", "name", "prefix", "scopes", "expires_at", "last_used_at", "created_at"]


class TokenOrderSerializer(StrictSerializer):
    """What a new token is for. It can do no more than the credentials that make it."""

    name = Text(max_length=100)
    scopes = serializers.ListField(child=OneOf(choices=[scope.value for scope in Scope]), allow_empty=False)
    expires_at = Instant(required=False, allow_null=True, default=None)


class NewTokenSerializer(TokenSerializer):
    """A new token with its secret, which cannot be had again."""

    token = serializers.CharField(help_text="The secret, for `Authorization: Bearer …`.")

    class Meta(TokenSerializer.Meta):
        fields: ClassVar = [*TokenSerializer.Meta.fields, "token"]


def _own(request: Request) -> QuerySet[Token]:
    """The caller's tokens; for a token those that can do no more than it, and itself."""
    caller = access(request)
    own = Token.objects.filter(user=caller.user)
    if caller.token is None:
        return own
    held = [scope for scope in tokens.SCOPES if scope in caller.scopes]
    weaker = Q(pk=caller.token.pk)
    for count in range(1, len(held) + 1):
        for scopes in combinations(held, count):
            weaker |= Q(scopes=list(scopes))
    return own.filter(weaker)


class Tokens(ListView):
    scopes = {"GET": Scope.READ, "POST": Scope.READ}
    queryset = Token.objects.all()
    serializer_class = TokenSerializer
    ordering_fields = ("-created_at", "name")

    @extend_schema(operation_id="token_list", responses=TokenSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List your tokens. With a token: those that can do no more than it."""
        return self.page(_own(request))

    @extend_schema(
        operation_id="token_create",
        parameters=[LOCATION],
        request=TokenOrderSerializer,
        responses={201: OpenApiResponse(NewTokenSerializer, "The token; its secret is shown this once.")},
    )
    def post(self, request: Request) -> Response:
        """Make a token with scopes that you have yourself.

        Needs a login session, or a token with the scope `operate`.
        """
        _refuse_to_multiply(request)
        order = valid(TokenOrderSerializer(data=request.data))
        _refuse_to_exceed(request, order)
        token, secret = tokens.issue(access(request).user, order["name"], order["scopes"], order["expires_at"])
        body = {**TokenSerializer(token).data, "token": secret}
        return Response(body, status=201, headers={"Location": at("token", token.pk), "Cache-Control": "no-store"})


def _refuse_to_multiply(request: Request) -> None:
    caller = access(request)
    if caller.token is not None and not caller.operator:
        raise Forbidden("A token with the scope operate makes tokens; with others, log in to make one.")


def _refuse_to_exceed(request: Request, order: dict[str, Any]) -> None:
    """A token neither gives scopes nor outlives the token that makes it."""
    caller = access(request)
    if missing := set(order["scopes"]) - caller.scopes:
        raise Forbidden(f"Your credentials do not have the scope {', '.join(sorted(missing))}.")
    limit = caller.token.expires_at if caller.token else None
    if limit is not None and (order["expires_at"] is None or order["expires_at"] > limit):
        raise Forbidden("A token made with a token must not last longer than it.")


class TokenDetail(ApiView):
    scopes = {"GET": Scope.READ, "DELETE": Scope.READ}

    @extend_schema(operation_id="token_retrieve", responses=TokenSerializer)
    def get(self, request: Request, id: UUID) -> Response:
        """Show one of your tokens."""
        return Response(TokenSerializer(get_object_or_404(_own(request), pk=id)).data)

    @extend_schema(operation_id="token_delete", responses={204: None})
    def delete(self, request: Request, id: UUID) -> Response:
        """Revoke one of your tokens. With a token: one that can do no more than it."""
        get_object_or_404(_own(request), pk=id).delete()
        return Response(status=204)
