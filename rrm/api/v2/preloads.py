"""Orders to have a model held by nodes before anybody needs it."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from rrm.api.auth import Scope, access
from rrm.api.fields import Instant, Slug, StrictSerializer, Whole
from rrm.api.v2.models import found
from rrm.api.views import ApiView, refuse_fields, valid
from rrm.errors import Invalid
from rrm.farm import preloading, promises
from rrm.farm.models import Resource


class PreloadOrderSerializer(StrictSerializer):
    """Where a model is to be loaded, and for how long it is wanted."""

    resource = Slug()
    nodes = Whole(min_value=1, default=1)
    until = Instant(required=False, help_text="By default an hour from now, at most a week.")


class PreloadSerializer(serializers.Serializer[Any]):
    """What there is of an order."""

    model = serializers.UUIDField()
    resource = serializers.CharField()
    nodes = serializers.IntegerField(help_text="How many are to hold it.")
    until = serializers.DateTimeField()
    owner = serializers.CharField()
    holding = serializers.IntegerField(help_text="Nodes that hold it now.")
    loading = serializers.IntegerField(help_text="Nodes that load it now.")
    starting = serializers.IntegerField(help_text="Nodes of the resource that are starting.")
    reason = serializers.CharField(help_text="What happens next.")


class ModelPreload(ApiView):
    scopes = {"GET": Scope.READ, "POST": Scope.RENDER, "DELETE": Scope.RENDER}

    def check_query(self, request: Request) -> None:
        if request.method != "DELETE":
            super().check_query(request)

    @extend_schema(operation_id="model_preloads", responses=PreloadSerializer(many=True))
    def get(self, request: Request, ref: str) -> Response:
        """Show on which resources somebody wants the model to be held, and how far that is."""
        orders = (
            preloading.live(timezone.now())
            .filter(model=found(request, ref))
            .select_related("owner", "model", "resource")
        )
        return Response(promises.arranged(orders))

    @extend_schema(
        operation_id="model_preload",
        request=PreloadOrderSerializer,
        responses={
            202: OpenApiResponse(PreloadSerializer, "Nodes load it when they have nothing else to do."),
            409: OpenApiResponse(description="`state-conflict`: no node is asked to load the model at present."),
        },
    )
    def post(self, request: Request, ref: str) -> Response:
        """Have nodes of a resource load the model before anybody needs it; nodes are started for it if need be."""
        model, now = found(request, ref), timezone.now()
        order = valid(PreloadOrderSerializer(data=request.data))
        resource = Resource.objects.filter(pk=order["resource"]).first()
        if resource is None:
            raise Invalid("resource", f"There is no resource {order['resource']!r}.")
        until = order.get("until", now + preloading.LASTS)
        placed = preloading.order(access(request).user, model, resource, order["nodes"], until, now)
        return Response(promises.arranged([placed])[0], status=202)

    @extend_schema(
        operation_id="model_preload_withdraw",
        request=None,
        parameters=[OpenApiParameter("resource", str, required=True)],
        responses={204: None},
    )
    def delete(self, request: Request, ref: str) -> Response:
        """Withdraw an order; nodes keep the model until they need the room. Others' orders need `operate`."""
        refuse_fields(request)
        resource, caller = request.query_params.get("resource"), access(request)
        if not resource:
            raise Invalid("resource", "Say of which resource.")
        model = found(request, ref)
        preloading.withdraw(caller.user, model, resource.lower(), timezone.now(), is_operator=caller.operator)
        return Response(status=204)
