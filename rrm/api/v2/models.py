"""Render models: what a node loads once and keeps. Equal parameters are one model."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import django_filters
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from rrm.api.auth import Access, Scope, access
from rrm.api.fields import Flag, Slug, StrictModelSerializer, StrictSerializer, Text
from rrm.api.filters import Filters, YesOrNo
from rrm.api.schema import LOCATION
from rrm.api.v2.locations import at
from rrm.api.views import ApiView, ListView, valid
from rrm.domain.orders import is_uuid
from rrm.errors import Forbidden, Invalid, NotFound
from rrm.farm import catalog, quarantine
from rrm.farm.models import Job, RenderModel


class RenderModelSerializer(StrictModelSerializer):
    """What a node loads once and keeps."""

    params = serializers.DictField(help_text="The canonical form: locating numbers are decimal strings.")
    nodes = serializers.SerializerMethodField()
    load_failures = serializers.SerializerMethodField()
    could_not_load = serializers.SerializerMethodField()
    quarantined_until = serializers.SerializerMethodField()

    class Meta:
        model = RenderModel
        fields: ClassVar = [
            "id",
            "name",
            "renderer",
            "params",
            "digest",
            "pinned",
            "size_bytes",
            "load_seconds",
            "load_failures",
            "could_not_load",
            "quarantined_until",
            "nodes",
            "created_at",
        ]

    def get_nodes(self, model: RenderModel) -> list[str]:
        """The ids of the nodes that hold it."""
        return [str(held.node_id) for held in model.holders.all()]

    def get_load_failures(self, model: RenderModel) -> int:
        """How often nodes could not load it lately."""
        return len(quarantine.counting(model, timezone.now()))

    def get_could_not_load(self, model: RenderModel) -> list[str]:
        """The names of the nodes that could not; of those that led to a quarantine as long as it lasts."""
        return quarantine.could_not_load(model, timezone.now())

    def get_quarantined_until(self, model: RenderModel) -> datetime | None:
        """Until then no node is asked to load it; null when it may be loaded."""
        return model.quarantined_until if quarantine.is_in_force(model, timezone.now()) else None


class ModelOrderSerializer(StrictSerializer):
    """The parameters of a model, and a name if it is to have one."""

    renderer = Text(default="mandelbrot")
    params = serializers.DictField()
    name = Slug(max_length=100, required=False, allow_null=True, default=None)


class ModelChangeSerializer(StrictSerializer):
    """What can be changed about a model."""

    pinned = Flag(required=False, help_text="A node that holds it keeps it, and is kept.")
    name = Slug(max_length=100, required=False, allow_null=True)
    quarantined = Flag(required=False, help_text="false: nodes may load it again.")

    def validate_quarantined(self, value: bool) -> bool:
        if value:
            raise serializers.ValidationError("A quarantine can be lifted, and begins by itself.")
        return value

    def validate_name(self, value: str | None) -> str | None:
        if value is not None and not catalog.is_name(value):
            raise serializers.ValidationError("An id cannot be a name.")
        return value


class ModelFilters(Filters):
    name = django_filters.CharFilter()
    renderer = django_filters.CharFilter()
    digest = django_filters.CharFilter()
    pinned = YesOrNo()
    named = YesOrNo(field_name="name", lookup_expr="isnull", exclude=True)


def models_of(viewer: Access) -> QuerySet[RenderModel]:
    """The models that somebody may see: those with a name, and those of one's own jobs; all of them for operators."""
    if viewer.operator:
        return RenderModel.objects.all()
    used = Job.objects.filter(owner=viewer.user).values("model")
    return RenderModel.objects.filter(Q(name__isnull=False) | Q(pk__in=used))


def _all(request: Request) -> QuerySet[RenderModel]:
    return models_of(access(request)).prefetch_related("holders")


def found(request: Request, ref: str) -> RenderModel:
    """The model of this id or name."""
    model = _all(request).filter(Q(pk=ref) if is_uuid(ref) else Q(name=ref.lower())).first()
    if model is None:
        raise NotFound(f"There is no model {ref!r}.")
    return model


class Models(ListView):
    scopes = {"GET": Scope.READ, "POST": Scope.RENDER}
    queryset = RenderModel.objects.all()
    filterset_class = ModelFilters
    serializer_class = RenderModelSerializer
    ordering_fields = ("-created_at", "digest")

    @extend_schema(operation_id="model_list", responses=RenderModelSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List the render models with a name and those of your jobs (all, for operators), the newest first."""
        return self.page(_all(request))

    @extend_schema(
        operation_id="model_create",
        parameters=[LOCATION],
        request=ModelOrderSerializer,
        responses={
            200: OpenApiResponse(RenderModelSerializer, "A model with equal parameters exists: this is it."),
            201: OpenApiResponse(RenderModelSerializer, "The new model."),
        },
    )
    def post(self, request: Request) -> Response:
        """Store the parameters of a model, or find the model that has them. Giving it a name needs `operate`."""
        order = valid(ModelOrderSerializer(data=request.data))
        if order["name"] is not None and not access(request).operator:
            raise Forbidden("Naming a model needs the scope operate.")
        model, is_new = catalog.render_model(order["renderer"], order["params"], order["name"])
        return Response(
            RenderModelSerializer(model).data,
            status=201 if is_new else 200,
            headers={"Location": at("model", model.pk)},
        )


class ModelDetail(ApiView):
    scopes = {"GET": Scope.READ, "PATCH": Scope.OPERATE}

    @extend_schema(operation_id="model_retrieve", responses=RenderModelSerializer)
    def get(self, request: Request, ref: str) -> Response:
        """Show a render model, by its id or its name."""
        return Response(RenderModelSerializer(found(request, ref)).data)

    @extend_schema(operation_id="model_update", request=ModelChangeSerializer, responses=RenderModelSerializer)
    def patch(self, request: Request, ref: str) -> Response:
        """Pin, unpin or rename a render model, or let nodes load it again before its quarantine is over."""
        model = found(request, ref)
        changes = valid(ModelChangeSerializer(data=request.data, partial=True))
        if "quarantined" in changes:
            del changes["quarantined"]
            quarantine.lift(model, access(request).user.get_username())
        for field, value in changes.items():
            setattr(model, field, value)
        try:
            with transaction.atomic():
                model.save(update_fields=list(changes))
        except IntegrityError:
            raise Invalid("name", "Another model has this name.") from None
        return Response(RenderModelSerializer(model).data)
