"""The farm as a whole: one snapshot, one stream; the palettes; and who is asking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from rrm.api import streams
from rrm.api.auth import Access, Scope, access
from rrm.api.fields import StrictSerializer, Text
from rrm.api.schema import EVENT_STREAM, LAST_EVENT
from rrm.api.v2.job_body import JobSerializer, job_bodies, jobs_of
from rrm.api.v2.models import models_of
from rrm.api.v2.nodes import NodeSerializer, shown
from rrm.api.v2.preloads import PreloadSerializer
from rrm.api.v2.tokens import TokenSerializer
from rrm.api.views import ApiView, refuse_fields, valid
from rrm.domain.palettes import Palette
from rrm.farm import colormaps, sessions
from rrm.farm.reading import one_instant
from rrm.farm.snapshot import farm_snapshot, sessions_body

RECENT_JOBS = 20
_TELLING = {"model", "name", "owner"}


class FarmSiteSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    name = serializers.CharField()
    kind = serializers.CharField()
    color = serializers.CharField()
    enabled = serializers.BooleanField()
    max_nodes = serializers.IntegerField()
    nodes = serializers.DictField(child=serializers.IntegerField(), help_text="How many are in each state.")
    problem = serializers.CharField(help_text="Why the site cannot be used at present; empty when it can.")
    tiles_done = serializers.IntegerField()


class FarmMoveSerializer(serializers.Serializer[Any]):
    """A node that makes place for another resource."""

    node = serializers.CharField()
    resource = serializers.CharField(help_text="Whose place it becomes.")


class FarmBeyondSerializer(serializers.Serializer[Any]):
    """A node, at work or not, that leaves because a limit was lowered."""

    node = serializers.CharField()
    limit = serializers.CharField(help_text="In words: beyond the maximum of 2, or beyond the limit of a site.")


class FarmNeedSerializer(serializers.Serializer[Any]):
    """How many nodes work that only these sites may do wants there."""

    sites = serializers.ListField(child=serializers.CharField())
    nodes = serializers.IntegerField()


class FarmPlanSerializer(serializers.Serializer[Any]):
    """What the autoscaler last decided; nodes by name, sites by id."""

    want = serializers.IntegerField()
    have = serializers.IntegerField(help_text="Nodes that exist, those included that are starting.")
    launch = serializers.DictField(child=serializers.IntegerField(), help_text="How many nodes at which site.")
    drain = serializers.ListField(child=serializers.CharField(), help_text="Idle nodes that are let go.")
    beyond = FarmBeyondSerializer(many=True)
    retire = serializers.ListField(child=serializers.CharField(), help_text="Nodes whose time ends.")
    make_place = FarmMoveSerializer(many=True)
    pinned = serializers.ListField(
        child=serializers.CharField(), help_text="Pinned nodes in places that work bound to other sites waits for."
    )
    reason = serializers.CharField()
    at = serializers.DateTimeField()
    next_at = serializers.DateTimeField(help_text="When it is decided anew at the latest.")
    blocked = serializers.CharField(allow_blank=True, help_text="Why nothing is launched.")
    blocked_until = serializers.DateTimeField(allow_null=True)
    lacking_since = serializers.DateTimeField(allow_null=True, help_text="Since when more is wanted than exists.")
    peak = serializers.IntegerField(help_text="The most that was wanted lately.")
    work_seconds = serializers.FloatField(help_text="Rendering to be done, in node-seconds.")
    load_seconds = serializers.FloatField(help_text="Loads that are expected beside that.")
    needs = FarmNeedSerializer(many=True)


class FarmDecisionsSerializer(serializers.Serializer[Any]):
    """What nodes were given during the last hour, and why."""

    reasons = serializers.DictField(child=serializers.IntegerField(), help_text="Ranges by reason: warm, no-holder, …")
    hit_rate = serializers.FloatField(
        allow_null=True, help_text="The part of what they delivered that found its model loaded."
    )
    loads_per_hour = serializers.IntegerField(help_text="Delivered ranges that needed a load.")
    seconds_saved = serializers.FloatField(help_text="Loads that warm nodes spared for those delivered, in seconds.")


class FarmResourceSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    name = serializers.CharField()
    renderer = serializers.CharField()
    status = serializers.CharField()
    reason = serializers.CharField(allow_blank=True)
    min_nodes = serializers.IntegerField()
    max_nodes = serializers.IntegerField()
    plan = FarmPlanSerializer(allow_null=True, help_text="The autoscaler's last plan; null before the first.")


class FarmQueueSerializer(serializers.Serializer[Any]):
    model = serializers.UUIDField(allow_null=True, help_text="null for a model that you may not see.")
    name = serializers.CharField(allow_null=True)
    jobs = serializers.IntegerField()
    tiles = serializers.IntegerField()


class FarmSessionsSerializer(serializers.Serializer[Any]):
    ready = serializers.IntegerField()
    pending = serializers.IntegerField()
    suspended = serializers.BooleanField(help_text="No new ones are taken.")
    reason = serializers.CharField(allow_blank=True)


class FarmPreloadSerializer(PreloadSerializer):
    model = serializers.UUIDField(allow_null=True, help_text="null for a model that you may not see.")
    name = serializers.CharField(allow_null=True)
    owner = serializers.CharField(allow_null=True)


class FarmLoopSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    age_seconds = serializers.FloatField(allow_null=True)
    period_seconds = serializers.FloatField()
    ok = serializers.BooleanField()
    error = serializers.CharField(allow_blank=True)


class FarmSerializer(serializers.Serializer[Any]):
    """Everything that a dashboard shows, at one instant."""

    time = serializers.DateTimeField()
    status = serializers.CharField()
    reason = serializers.CharField(allow_blank=True)
    sites = FarmSiteSerializer(many=True)
    resources = FarmResourceSerializer(many=True)
    nodes = NodeSerializer(many=True)
    queue = FarmQueueSerializer(many=True)
    sessions = FarmSessionsSerializer()
    preloads = FarmPreloadSerializer(many=True, help_text="Models that nodes load in advance, and how far that is.")
    jobs = JobSerializer(many=True, help_text=f"The {RECENT_JOBS} newest that you may see.")
    hit_rate = serializers.FloatField(allow_null=True)
    seconds_saved = serializers.FloatField()
    decisions = FarmDecisionsSerializer()
    loads = serializers.IntegerField()
    warm_hits = serializers.IntegerField()
    loops = FarmLoopSerializer(many=True)


class Farm(ApiView):
    scopes = {"GET": Scope.READ}

    @extend_schema(operation_id="farm_retrieve", responses=FarmSerializer)
    def get(self, request: Request) -> Response:
        """Show the whole farm at one instant."""
        now, viewer = timezone.now(), access(request)
        with one_instant():
            recent = list(jobs_of(viewer).order_by("-created_at", "id")[:RECENT_JOBS])
            farm = farm_snapshot(now)
            body = {**farm, "nodes": shown(farm["nodes"], viewer), **_models_seen(farm, viewer)}
            return Response({**body, "jobs": job_bodies(recent, now)})


def _models_seen(farm: Mapping[str, Any], viewer: Access) -> dict[str, list[dict[str, Any]]]:
    """How much waits, and is loaded in advance, is for everybody; which models others use is not."""
    told: dict[str, list[dict[str, Any]]] = {key: farm[key] for key in ("queue", "preloads")}
    asked = models_of(viewer).filter(pk__in={row["model"] for rows in told.values() for row in rows})
    seen = {str(model) for model in asked.values_list("pk", flat=True)}
    return {
        key: [row if row["model"] in seen else row | dict.fromkeys(_TELLING & row.keys()) for row in rows]
        for key, rows in told.items()
    }


class FarmEvents(ApiView):
    scopes = {"GET": Scope.READ}
    query = ("last_event_id",)

    @extend_schema(
        operation_id="farm_events",
        parameters=LAST_EVENT,
        responses={
            (200, EVENT_STREAM): OpenApiResponse(
                OpenApiTypes.STR,
                "`node`, `job`, `tiles`, `resource`, `site` and `log`. You get those of your own jobs, operators "
                "everybody's. While an earlier event may still appear, events come without an `id`.",
            ),
            422: OpenApiResponse(description="The last id is not a number."),
        },
    )
    def get(self, request: Request) -> StreamingHttpResponse | HttpResponse:
        """Follow the farm, from now on or from the last event seen (Server-Sent Events)."""
        return streams.farm_events(request, access(request))


class SuspensionSerializer(StrictSerializer):
    reason = Text(max_length=500, allow_blank=True, default="", help_text="What people are told.")


class FarmSuspend(ApiView):
    scopes = {"POST": Scope.OPERATE}

    @extend_schema(operation_id="farm_suspend", request=SuspensionSerializer, responses=FarmSessionsSerializer)
    def post(self, request: Request) -> Response:
        """Take no new sessions; those that are open go on."""
        reason = valid(SuspensionSerializer(data=request.data))["reason"]
        sessions.suspend(access(request).user.get_username(), reason)
        return Response(sessions_body())


class FarmResume(ApiView):
    scopes = {"POST": Scope.OPERATE}

    @extend_schema(operation_id="farm_resume", request=None, responses=FarmSessionsSerializer)
    def post(self, request: Request) -> Response:
        """Take new sessions again."""
        refuse_fields(request)
        sessions.resume(access(request).user.get_username())
        return Response(sessions_body())


class PaletteSerializer(serializers.Serializer[Any]):
    """Colours at positions from 0 to 1."""

    name = serializers.CharField()
    stops = serializers.ListField(
        child=serializers.ListField(child=serializers.JSONField()), help_text='[position, "#rrggbb"] each.'
    )
    interpolation = serializers.CharField(help_text="linear or cosine")
    origin = serializers.CharField(help_text="Who made it, and where it comes from.")
    license = serializers.CharField(allow_blank=True)
    cyclic = serializers.BooleanField(help_text="It ends where it began; one that does not runs forth and back.")


class Palettes(ApiView):
    scopes = {"GET": Scope.READ}
    pagination_class = None

    @extend_schema(operation_id="palette_list", responses=PaletteSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List the palettes and colour maps, with their origin."""
        return Response([_shown(palette) for palette in colormaps.palettes().values()])


def _shown(palette: Palette) -> dict[str, Any]:
    return {
        "name": palette.name,
        "stops": palette.stops,
        "interpolation": palette.interpolation,
        "origin": palette.origin,
        "license": palette.license,
        "cyclic": palette.returns_home,
    }


class MeSerializer(serializers.Serializer[Any]):
    """Who the credentials belong to, and what they allow."""

    user = serializers.CharField()
    operator = serializers.BooleanField()
    scopes = serializers.ListField(child=serializers.CharField())
    token = TokenSerializer(allow_null=True, help_text="null for a login session")


class Me(ApiView):
    scopes = {"GET": Scope.READ}

    @extend_schema(operation_id="me_retrieve", responses=MeSerializer)
    def get(self, request: Request) -> Response:
        """Show who you are to the service, and what you may do."""
        caller = access(request)
        return Response(
            {
                "user": caller.user.get_username(),
                "operator": caller.operator,
                "scopes": [scope.value for scope in Scope if scope in caller.scopes],
                "token": TokenSerializer(caller.token).data if caller.token else None,
            }
        )
