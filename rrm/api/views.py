"""What all views of the API have in common."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from django.db import connections
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import Resolver404, resolve
from django.views.decorators.csrf import csrf_exempt
from rest_framework.generics import GenericAPIView
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.permissions import AllowAny
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView

from rrm.api.auth import NodeAuthentication, NodePermission, Scope
from rrm.errors import Invalid, NotFound
from rrm.farm.models import Node


class OneFormat(BaseContentNegotiation):
    """Every route has one format: `Accept` is not asked, so that an <img> or an EventSource may point at any route."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        """The parser of the body's media type; none means 415."""
        media_type = request.content_type.partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == media_type), None)

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type


class ApiView(APIView):
    """A view for people and programs; `scopes` names the scope of each method, `query` the parameters of GET."""

    scopes: Mapping[str, Scope] = {}
    query: Collection[str] = ()
    http_method_names = ["get", "head", "post", "put", "patch", "delete"]
    content_negotiation_class = OneFormat
    metadata_class = None

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        """A body sent in chunks has no Content-Length, which the framework takes for no body at all."""
        if "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower() and not self.streams_body():
            request.META["CONTENT_LENGTH"] = str(len(request.body))
        return super().initialize_request(request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method in self.allowed_methods:
            self.check_query(request)

    def check_query(self, request: Request) -> None:
        """Refuse parameters that mean nothing here, for they were meant to change the answer."""
        known = self.query if request.method in {"GET", "HEAD"} else ()
        if unknown := set(request.query_params) - set(known):
            raise Invalid({name: ["There is no such query parameter."] for name in sorted(unknown)})

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """JSON tells of this moment and this caller: nobody keeps it. Files say for themselves how long they last."""
        answer = super().finalize_response(request, response, *args, **kwargs)
        answer.headers.setdefault("Cache-Control", "no-store")
        return answer

    def streams_body(self) -> bool:
        """Whether the view itself reads the body."""
        return False


class NodeView(ApiView):
    """A view for nodes alone."""

    authentication_classes = [NodeAuthentication]
    permission_classes = [NodePermission]


class ListView(ApiView, GenericAPIView[Any]):
    """A list in pages. The view names its queryset, filters, serializer and the fields that may be sorted by."""

    ordering_fields: Sequence[str] = ("id",)
    schema_filters: Sequence[str] = ()

    def check_query(self, request: Request) -> None:
        if request.method in {"GET", "HEAD"}:
            self._refuse_meaningless_filters()
        else:
            super().check_query(request)

    def page(self, queryset: QuerySet[Any]) -> Response:
        rows = self.paginate_queryset(self.filter_queryset(queryset))
        return self.get_paginated_response(self.serialize(rows))

    def serialize(self, rows: Any) -> Any:
        return self.get_serializer(rows, many=True).data

    def _refuse_meaningless_filters(self) -> None:
        filterset = getattr(self, "filterset_class", None)
        known = {"cursor", "page_size", "ordering", *(filterset.base_filters if filterset else ())}
        if unknown := set(self.request.query_params) - known:
            raise Invalid({name: ["This list has no such filter."] for name in sorted(unknown)})
        if empty := [name for name, values in self.request.query_params.lists() if "" in values]:
            raise Invalid({name: ["Give a value, or leave the parameter out."] for name in sorted(empty)})


class Unknown(APIView):
    """Whatever lies under the prefix and is nothing."""

    authentication_classes = []
    permission_classes = [AllowAny]
    content_negotiation_class = OneFormat
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise NotFound(f"There is nothing at {request.path}.")


@csrf_exempt
def elsewhere(request: HttpRequest, rest: str) -> Any:
    """The same route with or without the slash at its end, or 404."""
    other = request.path_info[:-1] if request.path_info.endswith("/") else f"{request.path_info}/"
    try:
        match = resolve(other)
    except Resolver404:
        match = None
    if match is None or match.func is elsewhere:
        return Unknown.as_view()(request)
    return match.func(request, *match.args, **match.kwargs)


def valid(serializer: BaseSerializer[Any]) -> dict[str, Any]:
    """The accepted fields of a body. Raises with every field that cannot be accepted."""
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


def refuse_fields(request: Request) -> None:
    """For actions that take no fields: a body is nothing, or an empty object. Raises Invalid with what is too much."""
    if request.data:
        raise Invalid({str(name): ["There is no such field."] for name in sorted(request.data)})


def calling_node(request: Request) -> Node:
    """The node of a view that `NodePermission` guards."""
    if not isinstance(request.auth, Node):
        raise TypeError("this view is not guarded by NodePermission")
    return request.auth


def release_connections() -> None:
    """Give database connections back before an answer that may take minutes: a stream must not hold one."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
