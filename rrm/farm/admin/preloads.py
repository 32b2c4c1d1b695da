"""Preloads: which models are to be held by nodes before anybody needs them, and how far that is. Only shown."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Count, F, IntegerField, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from rrm.domain.states import NODE_WORKING
from rrm.farm.admin.base import ShownAdmin, page_of
from rrm.farm.models import HeldModel, Preload, RenderModel, Resource


@admin.register(Preload)
class PreloadAdmin(ShownAdmin):
    list_display = ("shown_model", "shown_resource", "nodes", "holding", "loading", "owner", "until", "is_in_force")
    list_filter = ("resource",)
    search_fields = ("model__name", "model__digest", "owner__username")
    search_help_text = "Name or digest of the model, or owner"
    list_select_related = ("model", "resource", "owner")
    date_hierarchy = "created_at"
    fields = (
        *("shown_model", "shown_resource", "nodes", "holding", "loading"),
        *("owner", "created_at", "until", "is_in_force"),
    )
    readonly_fields = ("shown_model", "shown_resource", "holding", "loading", "is_in_force")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Preload]:
        orders: QuerySet[Preload] = super().get_queryset(request)
        return orders.annotate(holders=_nodes(Q(loading=False)), loaders=_nodes(Q(loading=True)))

    @admin.display(description="Model", ordering="model__name")
    def shown_model(self, order: Preload) -> SafeString:
        return page_of(RenderModel, order.model_id, order.model)

    @admin.display(description="Resource", ordering="resource")
    def shown_resource(self, order: Preload) -> SafeString:
        return page_of(Resource, order.resource_id, order.resource_id)

    @admin.display(description="Hold it")
    def holding(self, order: Preload) -> int:
        return order.holders or 0  # type: ignore[attr-defined]  # from get_queryset

    @admin.display(description="Load it")
    def loading(self, order: Preload) -> int:
        return order.loaders or 0  # type: ignore[attr-defined]  # from get_queryset

    @admin.display(description="In force", boolean=True)
    def is_in_force(self, order: Preload) -> bool:
        return order.until > timezone.now() and order.resource.enabled


def _nodes(how: Q) -> Subquery:
    """How many nodes at work have the model of an order in this way."""
    same = Q(model=OuterRef("model"), node__resource=OuterRef("resource"), node__state__in=NODE_WORKING)
    rows = HeldModel.objects.filter(same & how).order_by().values(resource=F("node__resource"))
    return Subquery(rows.annotate(nodes=Count("pk")).values("nodes"), output_field=IntegerField())
