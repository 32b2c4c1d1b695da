"""Sites: where nodes can run."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar

from django.db import transaction
from django.db.models import ProtectedError
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from rrm.api.auth import Scope, access
from rrm.api.fields import Slug, StrictModelSerializer, Tags, Text, Whole
from rrm.api.schema import LOCATION
from rrm.api.v2.locations import at
from rrm.api.views import ApiView, ListView, refuse_fields
from rrm.domain.capabilities import LONGEST_TAG, MOST_TAGS
from rrm.errors import Invalid, LauncherError, StateConflict
from rrm.farm import checking, keys, sites, wakeups
from rrm.farm.models import Site
from rrm.farm.models.places import MOST_NODES
from rrm.farm.sites import facts_of
from rrm.farm.transitions import record

_WAYS_IN = ("username", "identity", "host_key", "host_key_fingerprint")


class SiteSerializer(StrictModelSerializer):
    """Where nodes can run. `identity` names a file in the key directory, never its content."""

    id = Slug()
    port = Whole(min_value=1, max_value=65535, default=22)
    identity = Text(max_length=255, required=False, allow_blank=True)
    gateway = Text(max_length=255, required=False, allow_blank=True)
    python = Text(max_length=255, required=False)
    directory = Text(max_length=255, required=False)
    host_key_fingerprint = serializers.SerializerMethodField(help_text="Of the key that was accepted.")
    host_key_offered = serializers.SerializerMethodField(
        help_text="When a site is added: the fingerprint of the key that its host shows and nobody has accepted yet."
    )
    poll_interval = Whole(min_value=1, max_value=86400, default=10)
    max_nodes = Whole(max_value=MOST_NODES, default=1)
    max_parallel_loads = Whole(
        min_value=1,
        allow_null=True,
        default=None,
        help_text="Models that its nodes may load at the same time, where they share a file system; null is no limit.",
    )
    capabilities = Tags(
        child=Text(max_length=LONGEST_TAG),
        max_length=MOST_TAGS,
        default=list,
        help_text="What its machines can do: tags that jobs may require.",
    )

    class Meta:
        model = Site
        fields: ClassVar = [
            "id",
            "name",
            "kind",
            "color",
            "host",
            "port",
            "username",
            "identity",
            "host_key",
            "host_key_fingerprint",
            "host_key_offered",
            "connection",
            "gateway",
            "python",
            "directory",
            "poll_interval",
            "max_nodes",
            "max_parallel_loads",
            "capabilities",
            "enabled",
            "problem",
            "problem_since",
            "created_at",
        ]
        read_only_fields: ClassVar = ["problem", "problem_since", "created_at"]

    def to_representation(self, instance: Site) -> dict[str, Any]:
        """How to get into a site is for operators."""
        body = super().to_representation(instance)
        is_operator = access(self.context["request"]).operator
        return body if is_operator else {**body, **dict.fromkeys(_WAYS_IN, "")}

    def get_host_key_offered(self, _site: Site) -> str:
        return ""

    def get_host_key_fingerprint(self, site: Site) -> str:
        return sites.fingerprint_of(site.host_key)

    def validate_id(self, value: str) -> str:
        if self.instance is None and Site.objects.filter(pk=value).exists():
            raise serializers.ValidationError("There is a site with this id.")
        if self.instance is not None and self.instance.pk != value:
            raise serializers.ValidationError("The id of a site cannot be changed.")
        return value

    def validate_identity(self, value: str) -> str:
        try:
            keys.check(value)
        except Invalid as invalid:
            raise serializers.ValidationError(invalid.errors["identity"]) from None
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        kind = attrs.get("kind", getattr(self.instance, "kind", Site.Kind.LOCAL))
        if kind != Site.Kind.LOCAL and not attrs.get("host", getattr(self.instance, "host", "")):
            raise serializers.ValidationError({"host": "A site of this kind needs the name of its host."})
        return attrs


def _offered(site: Site) -> str:
    """What its host shows is asked once, so that whoever adds a site can compare it at once."""
    if not site.is_remote or site.host_key:
        return ""
    try:
        return sites.offered_fingerprint(site)
    except LauncherError:
        return ""


def _body(site: Site, request: Request) -> Any:
    return SiteSerializer(site, context={"request": request}).data


class CheckSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    ok = serializers.BooleanField()
    detail = serializers.CharField()
    seconds = serializers.FloatField()


class SiteCheckSerializer(serializers.Serializer[Any]):
    """What was tried at a site, and how it went."""

    ok = serializers.BooleanField()
    checks = CheckSerializer(many=True)


class Sites(ListView):
    scopes = {"GET": Scope.READ, "POST": Scope.OPERATE}
    queryset = Site.objects.all()
    serializer_class = SiteSerializer
    ordering_fields = ("id", "name", "created_at")

    @extend_schema(operation_id="site_list", responses=SiteSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List the sites."""
        return self.page(Site.objects.all())

    @extend_schema(
        operation_id="site_create", parameters=[LOCATION], request=SiteSerializer, responses={201: SiteSerializer}
    )
    def post(self, request: Request) -> Response:
        """Add a site."""
        serializer = SiteSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        site = _save(serializer, request)
        body = {**_body(site, request), "host_key_offered": _offered(site)}
        return Response(body, status=201, headers={"Location": at("site", site.pk)})


class SiteDetail(ApiView):
    scopes = {"GET": Scope.READ, "PATCH": Scope.OPERATE, "DELETE": Scope.OPERATE}

    @extend_schema(operation_id="site_retrieve", responses=SiteSerializer)
    def get(self, request: Request, id: str) -> Response:
        """Show a site."""
        return Response(_body(get_object_or_404(Site, pk=id), request))

    @extend_schema(operation_id="site_update", request=SiteSerializer(partial=True), responses=SiteSerializer)
    def patch(self, request: Request, id: str) -> Response:
        """Change a site."""
        serializer = SiteSerializer(get_object_or_404(Site, pk=id), data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        return Response(_body(_save(serializer, request), request))

    @extend_schema(
        operation_id="site_delete",
        responses={204: None, 409: OpenApiResponse(description="Resources or nodes belong to the site.")},
    )
    def delete(self, request: Request, id: str) -> Response:
        """Remove a site that nothing belongs to."""
        site = get_object_or_404(Site, pk=id)
        try:
            with transaction.atomic():
                record(site, "site", facts_of(site) | {"deleted": True}, actor=access(request).user.get_username())
                site.delete()
        except ProtectedError as error:
            raise StateConflict(
                f"{len(error.protected_objects)} resources, nodes or jobs belong to the site {id}; disable it instead."
            ) from None
        return Response(status=204)


class SiteCheck(ApiView):
    scopes = {"POST": Scope.OPERATE}

    @extend_schema(operation_id="site_check", request=None, responses=SiteCheckSerializer)
    def post(self, request: Request, id: str) -> Response:
        """Try whether nodes could work at a site."""
        refuse_fields(request)
        checks = checking.check(get_object_or_404(Site, pk=id))
        return Response({"ok": all(check.ok for check in checks), "checks": [asdict(check) for check in checks]})


class AcceptSerializer(serializers.Serializer[Any]):
    """Which key is meant, as the site's administrator tells it."""

    fingerprint = Text(max_length=100)


class SiteAcceptHostKey(ApiView):
    scopes = {"POST": Scope.OPERATE}

    @extend_schema(
        operation_id="site_accept_host_key",
        request=AcceptSerializer,
        responses={200: SiteSerializer, 409: OpenApiResponse(description="The host shows another key.")},
    )
    def post(self, request: Request, id: str) -> Response:
        """Trust the key that the host of a site shows now, if it is the one with this fingerprint."""
        site = get_object_or_404(Site, pk=id)
        serializer = AcceptSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        sites.accept_host_key(site, serializer.validated_data["fingerprint"], access(request).user.get_username())
        return Response(_body(site, request))


def _save(serializer: serializers.BaseSerializer[Any], request: Request) -> Site:
    with transaction.atomic():
        site: Site = serializer.save()
        record(site, "site", facts_of(site), actor=access(request).user.get_username())
        wakeups.wake("rrm.autoscale")
        wakeups.announce_work()  # what it can do decides what its nodes may take
    return site
