"""Blocks: who is given no more work, with the action that forgives."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from rrm.farm import blocking
from rrm.farm.admin.actions import Deed, operated_by
from rrm.farm.admin.base import ShownAdmin, page_of, swatch
from rrm.farm.models import Block, Site

_DEEDS = (Deed("forgive", "Forgive", "Let these work again from now on?", "forgiven", blocking.forgive),)


class _InForce(admin.SimpleListFilter):
    title = "in force"
    parameter_name = "in_force"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        return [("yes", "Yes"), ("no", "No")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Block]) -> QuerySet[Block]:
        now = timezone.now()
        if self.value() == "yes":
            return queryset.filter(until__gt=now)
        return queryset.filter(until__lte=now) if self.value() == "no" else queryset


@admin.register(Block)
@operated_by(*_DEEDS)
class BlockAdmin(ShownAdmin):
    list_display = ("whom", "shown_site", "renderer", "reason", "created_at", "until", "is_in_force", "lifted_by")
    list_filter = (_InForce, "site", "renderer")
    search_fields = ("node", "hostname", "reason")
    search_help_text = "Node, machine or reason"
    list_select_related = ("site",)
    fields = ("whom", "hostname", "shown_site", "renderer", "reason", "created_at", "until", "is_in_force", "lifted_by")
    readonly_fields = ("whom", "shown_site", "is_in_force")

    @admin.display(description="Whom", ordering="node")
    def whom(self, block: Block) -> str:
        return block.node or f"every node of {block.hostname}"

    @admin.display(description="Site", ordering="site")
    def shown_site(self, block: Block) -> SafeString:
        return page_of(Site, block.site_id, swatch(block.site.color, block.site_id))

    @admin.display(description="In force", boolean=True)
    def is_in_force(self, block: Block) -> bool:
        return block.until > timezone.now()
