"""Quotas: what each person may have of the farm, and what they have of it now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import User
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from rrm.api.auth import Scope, access
from rrm.api.fields import Number, StrictModelSerializer, Whole
from rrm.api.views import ApiView, ListView, valid
from rrm.domain.fairness import sound
from rrm.farm import quotas
from rrm.farm.models import Quota


class UsedSerializer(serializers.Serializer[Any]):
    """What counts against the limits at this moment."""

    nodes = serializers.IntegerField(help_text="At work for them.")
    queued_pixels = serializers.IntegerField(help_text="Of their unfinished jobs.")
    sessions = serializers.IntegerField(help_text="Open.")


class _Weight(Number):
    def to_internal_value(self, data: Any) -> float:
        return float(_checked("weight", data))


class _Limit(Whole):
    def __init__(self, field: str, help_text: str) -> None:
        super().__init__(max_value=quotas.MOST[field], required=False, allow_null=True, help_text=help_text)
        self._limit = field

    def to_internal_value(self, data: Any) -> int:
        return int(_checked(self._limit, int(data) if isinstance(data, float) and data.is_integer() else data))


def _checked(field: str, value: Any) -> Any:
    if said := quotas.complaint(field, value):
        raise serializers.ValidationError(said)
    return value


class QuotaSerializer(StrictModelSerializer):
    """A person's share of the farm. null is no limit of their own; for sessions the setting's holds then."""

    owner = serializers.CharField(source="owner.username", read_only=True)
    weight = _Weight(
        min_value=quotas.LEAST_WEIGHT,
        max_value=quotas.MOST_WEIGHT,
        required=False,
        help_text="Node-seconds beside a person of weight 1, where both have work.",
    )
    max_nodes = _Limit("max_nodes", "Nodes that render for them at once.")
    max_queued_pixels = _Limit("max_queued_pixels", "Of all their unfinished jobs together.")
    max_sessions = _Limit("max_sessions", "Open at once.")
    charged_seconds = serializers.SerializerMethodField()
    used = UsedSerializer(read_only=True)

    class Meta:
        model = Quota
        fields: ClassVar = ["owner", "weight", *quotas.LIMITS, "charged_seconds", "used"]

    def get_charged_seconds(self, quota: Quota) -> float:
        """Node-seconds had, by which turns go; to the millisecond."""
        return round(sound(quota.charged_seconds), 3)


def _bodies(rows: Sequence[Quota]) -> list[Any]:
    used = quotas.usage({row.owner_id for row in rows})
    for row in rows:
        row.used = used[row.owner_id]  # type: ignore[attr-defined]  # for the serializer
    return list(QuotaSerializer(rows, many=True).data)


def _body(owner: User) -> Any:
    return _bodies([quotas.of(owner)])[0]


class Quotas(ListView):
    scopes = {"GET": Scope.OPERATE}
    queryset = Quota.objects.all()
    serializer_class = QuotaSerializer
    ordering_fields = ("id", "-charged_seconds")

    @extend_schema(operation_id="quota_list", responses=QuotaSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List the shares of those who ever had a job, a session, or limits of their own."""
        return self.page(Quota.objects.select_related("owner"))

    def serialize(self, rows: Any) -> Any:
        return _bodies(rows)


class MyQuotaSerializer(QuotaSerializer):
    """One's own share, with the limits that hold for everybody."""

    max_open_jobs = serializers.IntegerField(help_text="Unfinished jobs that anybody may have.")

    class Meta(QuotaSerializer.Meta):
        fields: ClassVar = [*QuotaSerializer.Meta.fields, "max_open_jobs"]


class MyQuota(ApiView):
    scopes = {"GET": Scope.READ}

    @extend_schema(operation_id="quota_mine", responses=MyQuotaSerializer)
    def get(self, request: Request) -> Response:
        """Show what you may have of the farm, and what you have."""
        body = _body(access(request).user)
        if body["max_sessions"] is None:
            body["max_sessions"] = settings.RRM.max_sessions
        return Response({**body, "max_open_jobs": settings.RRM.max_open_jobs})


class QuotaDetail(ApiView):
    scopes = {"GET": Scope.OPERATE, "PATCH": Scope.OPERATE}

    @extend_schema(operation_id="quota_retrieve", responses=QuotaSerializer)
    def get(self, request: Request, username: str) -> Response:
        """Show what a person may have of the farm, and what they have."""
        return Response(_body(get_object_or_404(User, username=username)))

    @extend_schema(operation_id="quota_update", request=QuotaSerializer(partial=True), responses=QuotaSerializer)
    def patch(self, request: Request, username: str) -> Response:
        """Change a person's weight and limits. What they have already stays theirs."""
        owner = get_object_or_404(User, username=username)
        quotas.change(owner, valid(QuotaSerializer(data=request.data, partial=True)), access(request).user.username)
        return Response(_body(owner))
