"""The routes of nodes: checking in, asking for work, delivering it. Nobody else may use them."""

from __future__ import annotations

import time
from typing import Any, BinaryIO, cast
from uuid import UUID

from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from rrm.api import ranged
from rrm.api.auth import bearer
from rrm.api.fields import Flag, Number, StrictSerializer, Text, Whole
from rrm.api.v2.models import RenderModelSerializer
from rrm.api.v2.waiting import is_news, wait_for_work
from rrm.api.views import NodeView, calling_node, valid
from rrm.errors import Unauthorised
from rrm.farm import deliveries, leases, loaded, reports
from rrm.farm.models import RenderModel

BUNDLE = "application/vnd.rrm.bundle"
LOADED = "application/vnd.rrm.model"
_MOST_MODELS = 1000
_MOST_CORES = 100_000


class RegistrationSerializer(StrictSerializer):
    """What a node says of itself when it checks in."""

    node = Text(max_length=100)
    hostname = Text(max_length=255, allow_blank=True, default="")
    machine = Text(
        max_length=255,
        allow_blank=True,
        default="",
        help_text="What its scheduler calls the machine, where it has one.",
    )
    address = Text(
        max_length=255,
        allow_null=True,
        allow_blank=True,
        default=None,
        help_text="Where an external renderer answers, host:port.",
    )
    version = Text(max_length=50, allow_blank=True, default="")
    cores = Whole(min_value=1, max_value=_MOST_CORES, default=1)
    pid = Whole(required=False, allow_null=True)
    lifetime_seconds = Number(
        required=False, allow_null=True, min_value=0, max_value=1e9, help_text="After so long its site ends it."
    )


class RegisteredSerializer(serializers.Serializer[Any]):
    """The node's own token, and the intervals it keeps to."""

    node_id = serializers.UUIDField()
    token = serializers.CharField()
    heartbeat_seconds = serializers.FloatField()
    lease_wait_seconds = serializers.FloatField()
    give_up_seconds = serializers.FloatField()
    max_upload_bytes = serializers.IntegerField()


class UnloadedField(serializers.ListField):
    """Digests of models."""

    child = Text(max_length=64)

    def __init__(self, **options: Any) -> None:
        what = "Digests of models that it was told to load and could not."
        super().__init__(**{"max_length": _MOST_MODELS, "help_text": what, **options})


class HeartbeatSerializer(StrictSerializer):
    """What a node has in hand and holds."""

    leases = serializers.ListField(child=serializers.UUIDField(), max_length=100, default=list)
    models = serializers.ListField(child=Text(max_length=64), max_length=_MOST_MODELS, default=list)
    cores = Whole(min_value=1, max_value=_MOST_CORES, required=False)
    problem = Text(
        max_length=1000, allow_blank=True, required=False, help_text="News: why its renderer does not answer, or empty."
    )
    unloaded = UnloadedField(required=False)


class HeartbeatAnswerSerializer(serializers.Serializer[Any]):
    command = serializers.CharField(help_text="run, drain or stop")
    revoked = serializers.ListField(child=serializers.UUIDField(), help_text="Leases to abandon.")
    pinned = serializers.ListField(child=serializers.CharField(), help_text="Digests of models to keep.")


class HeldModelSerializer(StrictSerializer):
    digest = Text(max_length=64)
    load_seconds = Number(min_value=0, required=False, allow_null=True)
    size_bytes = Whole(max_value=2**62, required=False, allow_null=True)


class WorkRequestSerializer(StrictSerializer):
    """What a node has in hand and holds, and whether it would wait."""

    leases = serializers.ListField(child=serializers.UUIDField(), max_length=100, default=list)
    models = HeldModelSerializer(many=True, required=False)
    cores = Whole(min_value=1, max_value=_MOST_CORES, required=False)
    wait = Flag(default=False)
    memory = Whole(max_value=2**62, required=False, help_text="Bytes of loaded models that it keeps.")
    unloaded = UnloadedField(required=False)
    session = serializers.UUIDField(
        required=False,
        allow_null=True,
        default=None,
        help_text="The session it knows of; of another it is told at once.",
    )


class WorkAnswerSerializer(serializers.Serializer[Any]):
    """What to do now. While the node waits, white space may come before the JSON."""

    command = serializers.CharField(help_text="run, drain or stop")
    lease = serializers.DictField(allow_null=True, help_text="The range, the view, the model and the colouring.")
    retry_after = serializers.FloatField(help_text="Seconds after which to ask again.")
    session = serializers.DictField(allow_null=True, help_text="Whom it serves now: `id`, and the model's `params`.")
    preload = serializers.DictField(
        allow_null=True,
        required=False,
        help_text="A model to load while there is nothing else to do: `digest`, `renderer`, `params`.",
    )


class FailureSerializer(StrictSerializer):
    tile = Whole(allow_null=True, default=None)
    error = Text(max_length=10_000)
    stage = Text(
        max_length=10,
        default="render",
        help_text="`render`, or `load`: the model could not be loaded, which is no fault of the tiles.",
    )

    def validate_stage(self, value: str) -> str:
        if value not in ("load", "render"):
            raise serializers.ValidationError("Must be load or render.")
        return value


class GoodbyeSerializer(StrictSerializer):
    reason = Text(max_length=1000, allow_blank=True, default="")


class CommandSerializer(serializers.Serializer[Any]):
    command = serializers.CharField(help_text="run, drain or stop")


class Register(NodeView):
    authentication_classes = []  # the bearer is a launch token, which the use-case knows
    permission_classes = [AllowAny]

    @extend_schema(
        operation_id="node_agent_register",
        auth=[{"node": []}],  # type: ignore[list-item]  # what it takes is not what it declares
        request=RegistrationSerializer,
        responses={201: RegisteredSerializer},
    )
    def post(self, request: Request) -> Response:
        """Check in with the launch token, and get a node token for it."""
        secret = bearer(request)
        if not secret:
            raise Unauthorised("Give the launch token as Authorization: Bearer.")
        report = valid(RegistrationSerializer(data=request.data))
        return Response(reports.register(secret, report), status=201, headers={"Cache-Control": "no-store"})


class Heartbeat(NodeView):
    @extend_schema(
        operation_id="node_agent_heartbeat", request=HeartbeatSerializer, responses=HeartbeatAnswerSerializer
    )
    def post(self, request: Request) -> Response:
        """Say that the node lives and works on its leases."""
        report, node = _report(valid(HeartbeatSerializer(data=request.data))), calling_node(request)
        if unloaded := report.pop("unloaded", ()):
            deliveries.fail_preload(node, unloaded, timezone.now())
        return Response(reports.heartbeat(node, report))


class LeaseRequest(NodeView):
    @extend_schema(operation_id="node_agent_lease", request=WorkRequestSerializer, responses=WorkAnswerSerializer)
    def post(self, request: Request) -> HttpResponseBase:
        """Ask for work; with `wait` and empty hands the answer comes when there is some, or after a while."""
        report = _report(valid(WorkRequestSerializer(data=request.data)))
        node, waits = calling_node(request), report.pop("wait") and not report["leases"]
        if unloaded := report.pop("unloaded", ()):
            deliveries.fail_preload(node, unloaded, timezone.now())
        asked = time.monotonic()
        answer = leases.next_lease(node, report, timezone.now())
        if not waits or is_news(answer, report):
            return Response(answer)
        return wait_for_work(node.pk, report, asked)


def _report(fields: dict[str, Any]) -> dict[str, Any]:
    """As the use-cases take it: ids as text, and no empty entries."""
    return {**fields, "leases": [str(lease) for lease in fields["leases"]]}


class LeaseResult(NodeView):
    def streams_body(self) -> bool:
        return True

    @extend_schema(
        operation_id="node_agent_deliver",
        request={BUNDLE: OpenApiTypes.BINARY},
        responses={
            200: CommandSerializer,
            409: OpenApiResponse(description="`stale-lease`: the range belongs to another node now; nothing is kept."),
            422: OpenApiResponse(description="`bad-bundle`: the results are not what the lease asked for."),
        },
    )
    def put(self, request: Request, id: UUID) -> Response:
        """Deliver the results of a whole range. Doing it twice is the same as doing it once."""
        if request.content_type.partition(";")[0].strip() != BUNDLE:
            raise UnsupportedMediaType(request.content_type)
        # The body as the server received it: in memory, or in a file when it is large.
        return Response(deliveries.complete(calling_node(request), id, cast(BinaryIO, request._request)))


class LeaseFailure(NodeView):
    @extend_schema(operation_id="node_agent_fail", request=FailureSerializer, responses=CommandSerializer)
    def post(self, request: Request, id: UUID) -> Response:
        """Give a range back that cannot be rendered, with the tile that fails if it is known."""
        report = valid(FailureSerializer(data=request.data))
        if report["stage"] == "load":
            return Response(deliveries.fail_load(calling_node(request), id, report["error"]))
        return Response(deliveries.fail(calling_node(request), id, report["tile"], report["error"]))


class Goodbye(NodeView):
    @extend_schema(operation_id="node_agent_goodbye", request=GoodbyeSerializer, responses=CommandSerializer)
    def post(self, request: Request) -> Response:
        """Leave in order."""
        report = valid(GoodbyeSerializer(data=request.data))
        reports.goodbye(calling_node(request), report["reason"])
        return Response({"command": "stop"})


class AgentModel(NodeView):
    @extend_schema(operation_id="node_agent_model", responses=RenderModelSerializer)
    def get(self, request: Request, digest: str) -> Response:
        """Fetch a render model by its digest."""
        found = RenderModel.objects.prefetch_related("holders").filter(renderer="mandelbrot")
        return Response(RenderModelSerializer(get_object_or_404(found, digest=digest)).data)


class AgentModelData(NodeView):
    """A loaded model, as one node leaves it for others."""

    def streams_body(self) -> bool:
        return True

    @extend_schema(
        operation_id="node_agent_model_fetch", responses={(200, LOADED): OpenApiTypes.BINARY, 404: OpenApiResponse()}
    )
    def get(self, request: Request, digest: str) -> HttpResponseBase:
        """Fetch what another node has loaded."""
        return ranged.serve_file(request, loaded.found(digest), LOADED)

    @extend_schema(
        operation_id="node_agent_model_keep",
        request={LOADED: OpenApiTypes.BINARY},
        responses={
            204: None,
            403: OpenApiResponse(description="The node does not work on this model."),
            422: OpenApiResponse(description="`bad-bundle`: the file was cut or changed."),
        },
    )
    def put(self, request: Request, digest: str) -> Response:
        """Leave a loaded model for other nodes. Doing it twice is the same as doing it once."""
        if request.content_type.partition(";")[0].strip() != LOADED:
            raise UnsupportedMediaType(request.content_type)
        loaded.keep(calling_node(request), digest, cast(BinaryIO, request._request))
        return Response(status=204)
