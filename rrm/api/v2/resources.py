"""Resources: which renderer, where, with which options, and how many nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.db import transaction
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from rrm.api.auth import Scope, access
from rrm.api.fields import Slug, StrictModelSerializer, Text, Whole
from rrm.api.schema import LOCATION
from rrm.api.v2.locations import at
from rrm.api.views import ApiView, ListView
from rrm.errors import NotFound
from rrm.farm import nodes, resources, specs, wakeups
from rrm.farm.models import Resource, ResourceSite, Site
from rrm.farm.models.places import MOST_NODES
from rrm.farm.snapshot import resource_states
from rrm.farm.transitions import record


class PlacementsField(serializers.ListField):
    """The ids of a resource's sites, the preferred one first."""

    child = Slug()

    def to_representation(self, data: Any) -> list[str]:
        return [placement.site_id for placement in data.all()]


class ResourceSerializer(StrictModelSerializer):
    """A rendering resource: the 17 settings that the first RRM had, and how this one scales it."""

    id = Slug()
    sites = PlacementsField(source="placements", required=False, help_text="Site ids in order of preference.")
    extra_directives = serializers.ListField(child=Text(max_length=500), max_length=100, required=False)
    skip_directives = serializers.ListField(child=Text(max_length=500), max_length=100, required=False)
    max_nodes = Whole(max_value=MOST_NODES, default=1)
    status = serializers.SerializerMethodField()
    reason = serializers.SerializerMethodField()
    plan = serializers.SerializerMethodField()

    class Meta:
        model = Resource
        fields: ClassVar = [
            "id",
            "command_line",
            "environment_variables",
            "modules",
            "process_rest_parameters_format",
            "scheduler_rest_parameters_format",
            "project",
            "queue",
            "exclusive",
            "nb_nodes",
            "nb_cpus",
            "nb_gpus",
            "memory",
            "graceful_exit",
            "wait_until_running",
            "name",
            "description",
            "renderer",
            "sites",
            "min_nodes",
            "max_nodes",
            "standby",
            "idle_timeout",
            "time_limit",
            "prologue",
            "extra_directives",
            "skip_directives",
            "enabled",
            "status",
            "reason",
            "plan",
        ]

    def get_status(self, resource: Resource) -> str:
        return str(self.context["states"][resource.pk][0])

    def get_reason(self, resource: Resource) -> str:
        return str(self.context["states"][resource.pk][1])

    def get_plan(self, resource: Resource) -> dict[str, Any] | None:
        return resource.last_plan or None

    def validate_id(self, value: str) -> str:
        if self.instance is None and Resource.objects.filter(pk=value).exists():
            raise serializers.ValidationError("There is a resource with this id.")
        if self.instance is not None and self.instance.pk != value:
            raise serializers.ValidationError("The id of a resource cannot be changed.")
        return value

    def validate_environment_variables(self, value: str) -> str:
        is_as_it_was = self.instance is not None and self.instance.environment_variables == value
        if not is_as_it_was and not self.context.get("first_rrm") and (said := specs.stray_words(value)):
            raise serializers.ValidationError(said)
        return value

    def validate_sites(self, value: list[str]) -> list[str]:
        unknown = set(value) - set(Site.objects.filter(pk__in=value).values_list("pk", flat=True))
        if unknown:
            raise serializers.ValidationError(f"There is no site {', '.join(sorted(unknown))}.")
        if len(set(value)) < len(value):
            raise serializers.ValidationError("Name each site once.")
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        least = attrs.get("min_nodes", getattr(self.instance, "min_nodes", 0))
        if least > attrs.get("max_nodes", getattr(self.instance, "max_nodes", 1)):
            raise serializers.ValidationError({"min_nodes": "Must not be more than max_nodes."})
        renderer = attrs.get("renderer", getattr(self.instance, "renderer", Resource.Renderer.MANDELBROT))
        command = attrs.get("command_line", getattr(self.instance, "command_line", ""))
        if renderer == Resource.Renderer.EXTERNAL and not command.strip():
            raise serializers.ValidationError({"command_line": "An external renderer needs the command to start it."})
        return attrs

    def to_representation(self, instance: Resource) -> dict[str, Any]:
        """What operators write for the shell and the scheduler may hold secrets: they alone see it."""
        body = super().to_representation(instance)
        if self.context["operator"]:
            return body
        return {
            **body,
            "environment_variables": masked(body["environment_variables"]),
            "prologue": "",
            "extra_directives": [],
        }

    def create(self, validated_data: dict[str, Any]) -> Resource:
        sites = validated_data.pop("placements", [])
        resource = Resource.objects.create(**validated_data)
        _place(resource, sites)
        return resource

    def update(self, instance: Resource, validated_data: dict[str, Any]) -> Resource:
        sites = validated_data.pop("placements", None)
        validated_data.pop("id", None)  # the same as it was
        # Only what was sent is written: the autoscaler keeps its memory in the same row.
        for field, value in validated_data.items():
            setattr(instance, field, value)
        instance.save(update_fields=list(validated_data))
        if sites is not None:
            _place(instance, sites)
        return instance


def _place(resource: Resource, sites: Sequence[str]) -> None:
    resource.placements.all().delete()
    ResourceSite.objects.bulk_create(
        ResourceSite(resource=resource, site_id=site, position=position) for position, site in enumerate(sites)
    )


def _all() -> QuerySet[Resource]:
    return Resource.objects.prefetch_related("placements")


def masked(variables: str) -> str:
    """The names of variables in "A=1 B='2 3'", their values hidden."""
    return " ".join(f"{name}=…" for name in specs.variables(variables))


def _bodies(rows: Sequence[Resource], request: Request) -> Any:
    context = {"states": resource_states(rows, timezone.now()), "operator": access(request).operator}
    return ResourceSerializer(rows, many=True, context=context).data


def _found(id: str) -> Resource:
    return get_object_or_404(_all(), pk=id)


class Resources(ListView):
    scopes = {"GET": Scope.READ, "POST": Scope.OPERATE}
    queryset = Resource.objects.all()
    serializer_class = ResourceSerializer
    ordering_fields = ("id", "name")

    @extend_schema(operation_id="resource_list", responses=ResourceSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List the rendering resources."""
        return self.page(_all())

    def serialize(self, rows: Any) -> Any:
        return _bodies(rows, self.request)

    @extend_schema(
        operation_id="resource_create",
        parameters=[LOCATION],
        request=ResourceSerializer,
        responses={201: ResourceSerializer},
    )
    def post(self, request: Request) -> Response:
        """Register a rendering resource."""
        serializer = ResourceSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        resource = save(serializer, request)
        location = {"Location": at("resource", resource.pk)}
        return Response(_bodies([_found(resource.pk)], request)[0], status=201, headers=location)


class ResourceDetail(ApiView):
    scopes = {"GET": Scope.READ, "PATCH": Scope.OPERATE, "DELETE": Scope.OPERATE}

    @extend_schema(operation_id="resource_retrieve", responses=ResourceSerializer)
    def get(self, request: Request, id: str) -> Response:
        """Show a rendering resource."""
        return Response(_bodies([_found(id)], request)[0])

    @extend_schema(
        operation_id="resource_update", request=ResourceSerializer(partial=True), responses=ResourceSerializer
    )
    def patch(self, request: Request, id: str) -> Response:
        """Change a rendering resource."""
        serializer = ResourceSerializer(_found(id), data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        save(serializer, request)
        return Response(_bodies([_found(id)], request)[0])

    @extend_schema(
        operation_id="resource_delete",
        responses={204: None, 409: OpenApiResponse(description="Nodes, sessions or jobs belong to the resource.")},
    )
    def delete(self, request: Request, id: str) -> Response:
        """Remove a rendering resource that no node or job belongs to."""
        resources.remove(_found(id), access(request).user.get_username())
        return Response(status=204)


class ScriptSerializer(serializers.Serializer[Any]):
    """What would be run to start a node."""

    resource = serializers.CharField()
    site = serializers.CharField(allow_null=True)
    script = serializers.CharField()


class ResourceScript(ApiView):
    scopes = {"GET": Scope.READ}
    query = ("site",)

    @extend_schema(
        operation_id="resource_script",
        parameters=[OpenApiParameter("site", str, description="A site of the resource; the preferred one by default.")],
        responses=ScriptSerializer,
    )
    def get(self, request: Request, id: str) -> Response:
        """Show the command line or batch script that would start a node, secrets masked."""
        resource = _found(id)
        wanted = request.query_params.get("site")
        site = next((place.site for place in resource.placements.all() if place.site_id == wanted), None)
        if wanted and site is None:
            raise NotFound(f"The resource {id} has no site of this id.")
        return Response({"resource": id, "site": wanted, "script": nodes.script(resource, site)})


def save(serializer: serializers.BaseSerializer[Any], request: Request) -> Resource:
    """Write what was accepted, tell of it, and have the autoscaler look."""
    with transaction.atomic():
        resource: Resource = serializer.save()
        record(resource, "resource", _facts(resource), actor=access(request).user.get_username())
        wakeups.wake("rrm.autoscale")
        wakeups.announce_work()
    return resource


def _facts(resource: Resource) -> dict[str, Any]:
    return {
        "id": resource.pk,
        "name": resource.name or resource.pk,
        "enabled": resource.enabled,
        "min_nodes": resource.min_nodes,
        "max_nodes": resource.max_nodes,
    }
