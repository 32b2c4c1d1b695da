"""Nodes: renderer processes, as the manager sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import django_filters
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from rrm.api.auth import Access, Scope, access
from rrm.api.fields import Slug, StrictSerializer
from rrm.api.filters import Filters, OneOf
from rrm.api.schema import LOCATION
from rrm.api.v2.locations import at
from rrm.api.v2.models import models_of
from rrm.api.views import ApiView, ListView, refuse_fields, valid
from rrm.domain.states import NodeState
from rrm.errors import Invalid
from rrm.farm import nodes
from rrm.farm.models import Job, Node, Resource, Session, Site
from rrm.farm.snapshot import node_bodies
from rrm.launchers.base import Stream

MOST_LINES = 10_000
_CONFLICT = OpenApiResponse(description="`state-conflict`: the present state does not allow this.")


class NodeSerializer(serializers.Serializer[Any]):
    """One renderer process."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    resource = serializers.CharField()
    site = serializers.CharField()
    color = serializers.CharField()
    state = serializers.CharField(help_text=", ".join(NodeState))
    state_since = serializers.DateTimeField()
    reason = serializers.CharField(allow_blank=True)
    handle = serializers.DictField(help_text="How its site finds it again; empty for all but operators.")
    hostname = serializers.CharField(allow_blank=True)
    address = serializers.CharField(allow_blank=True, help_text="Where it answers people, host:port.")
    version = serializers.CharField(allow_blank=True)
    cores = serializers.IntegerField()
    models = serializers.ListField(
        child=serializers.UUIDField(), help_text="The render models it holds, as far as you may see them."
    )
    session = serializers.UUIDField(allow_null=True)
    job = serializers.UUIDField(allow_null=True, help_text="The job it works on, if you may see it.")
    blames = serializers.IntegerField(help_text="Ranges it failed lately that other nodes completed.")
    tiles_done = serializers.IntegerField()
    busy_seconds = serializers.FloatField()
    requested_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    ends_at = serializers.DateTimeField(allow_null=True, help_text="When its site will end it, where there is a limit.")
    last_heartbeat = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class NodeOrderSerializer(StrictSerializer):
    """Where to start a node."""

    resource = Slug()
    site = Slug(required=False, allow_null=True, default=None)


class NodeFilters(Filters):
    state = OneOf(NodeState)
    resource = django_filters.CharFilter(field_name="resource_id")
    site = django_filters.CharFilter(field_name="site_id")


def _all() -> QuerySet[Node]:
    return Node.objects.select_related("site")


def shown(bodies: Sequence[dict[str, Any]], viewer: Access) -> list[dict[str, Any]]:
    """Nodes as somebody may see them, in three queries at most: others' work and the ways into a site are left out."""
    if viewer.operator:
        return list(bodies)
    at_work = [body["job"] for body in bodies if body["job"]]
    jobs = {str(job) for job in Job.objects.filter(pk__in=at_work, owner=viewer.user).values_list("pk", flat=True)}
    served = [body["session"] for body in bodies if body["session"]]
    own = {str(pk) for pk in Session.objects.filter(pk__in=served, owner=viewer.user).values_list("pk", flat=True)}
    held = {model for body in bodies for model in body["models"]}
    models = {str(model) for model in models_of(viewer).filter(pk__in=held).values_list("pk", flat=True)}
    return [
        {
            **body,
            "handle": {},
            "address": "",
            "session": body["session"] if body["session"] in own else None,
            "job": body["job"] if body["job"] in jobs else None,
            "models": [model for model in body["models"] if model in models],
        }
        for body in bodies
    ]


def _bodies(rows: Sequence[Node], request: Request) -> list[dict[str, Any]]:
    return shown(node_bodies(rows), access(request))


def _one(id: UUID, request: Request) -> Response:
    return Response(_bodies([_all().get(pk=id)], request)[0])


class Nodes(ListView):
    scopes = {"GET": Scope.READ, "POST": Scope.OPERATE}
    queryset = Node.objects.all()
    filterset_class = NodeFilters
    serializer_class = NodeSerializer
    ordering_fields = ("-requested_at", "name", "tiles_done")

    @extend_schema(operation_id="node_list", responses=NodeSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List the nodes, the newest first."""
        return self.page(_all())

    def serialize(self, rows: Any) -> Any:
        return _bodies(rows, self.request)

    @extend_schema(
        operation_id="node_create",
        parameters=[LOCATION],
        request=NodeOrderSerializer,
        responses={202: NodeSerializer, 409: _CONFLICT},
    )
    def post(self, request: Request) -> Response:
        """Start a node by hand."""
        order = valid(NodeOrderSerializer(data=request.data))
        resource = Resource.objects.filter(pk=order["resource"]).first()
        site = Site.objects.filter(pk=order["site"]).first() if order["site"] else None
        errors = {}
        if resource is None:
            errors["resource"] = ["There is no such resource."]
        if order["site"] and site is None:
            errors["site"] = ["There is no such site."]
        if resource is None or errors:
            raise Invalid(errors)
        node = nodes.request_node(resource, site, access(request).user.get_username())
        response = _one(node.pk, request)
        response.status_code = 202
        response.headers["Location"] = at("node", node.pk)
        return response


class NodeDetail(ApiView):
    scopes = {"GET": Scope.READ}

    @extend_schema(operation_id="node_retrieve", responses=NodeSerializer)
    def get(self, request: Request, id: UUID) -> Response:
        """Show a node."""
        return Response(_bodies([get_object_or_404(_all(), pk=id)], request)[0])


class _NodeAction(ApiView):
    scopes = {"POST": Scope.OPERATE}
    use_case: staticmethod[[Node, str], None]

    def act(self, request: Request, id: UUID) -> Response:
        refuse_fields(request)
        node = get_object_or_404(_all().select_related("resource"), pk=id)
        self.use_case(node, access(request).user.get_username())
        return _one(id, request)


class NodeDrain(_NodeAction):
    use_case = staticmethod(nodes.drain)

    @extend_schema(operation_id="node_drain", request=None, responses={200: NodeSerializer, 409: _CONFLICT})
    def post(self, request: Request, id: UUID) -> Response:
        """Let a node finish what it holds and leave."""
        return self.act(request, id)


class NodeStop(_NodeAction):
    use_case = staticmethod(nodes.stop)

    @extend_schema(operation_id="node_stop", request=None, responses={200: NodeSerializer, 409: _CONFLICT})
    def post(self, request: Request, id: UUID) -> Response:
        """End a node now; what it holds is given to others."""
        return self.act(request, id)


class NodeLog(ApiView):
    scopes = {"GET": Scope.OPERATE}
    query = ("stream", "tail")

    @extend_schema(
        operation_id="node_log",
        parameters=[
            OpenApiParameter("stream", str, enum=["out", "err"], default="out"),
            OpenApiParameter("tail", int, default=200, description=f"Lines from the end, at most {MOST_LINES}."),
        ],
        responses={
            (200, "text/plain"): OpenApiTypes.STR,
            422: OpenApiResponse(description="No such stream, or no such number of lines."),
            502: OpenApiResponse(description="`launcher-error`: the site does not tell."),
        },
    )
    def get(self, request: Request, id: UUID) -> HttpResponse:
        """Show the end of what a node wrote."""
        return lines_of(request, get_object_or_404(_all(), pk=id))


def lines_of(request: Request, node: Node) -> HttpResponse:
    """The lines of a node's log that a request asks for with `stream` and `tail`."""
    text = nodes.log(node, _stream(request), _tail(request))
    return HttpResponse(text, content_type="text/plain; charset=utf-8")


def _stream(request: Request) -> Stream:
    stream = request.query_params.get("stream", "out")
    if stream == "out":
        return "out"
    if stream == "err":
        return "err"
    raise Invalid("stream", "Must be out or err.")


def _tail(request: Request) -> int:
    text = request.query_params.get("tail", "200")
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 0 < int(text) <= MOST_LINES):
        raise Invalid("tail", f"Must be a whole number between 1 and {MOST_LINES}.")
    return int(text)
