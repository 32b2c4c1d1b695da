"""Nodes: shown, with actions that call the use-cases of `rrm.farm.nodes`."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from rrm.domain.states import NODE_LIVE, NODE_STARTING, NODE_WORKING, LeaseState, NodeState
from rrm.farm import nodes
from rrm.farm.admin.actions import Deed, operated_by
from rrm.farm.admin.base import ShownAdmin, badge, link, page_of, rows_of, swatch
from rrm.farm.models import Event, HeldModel, Job, Lease, Node, RenderModel, Resource, Site

_DRAINABLE = NODE_STARTING | NODE_WORKING
_DEEDS = (
    Deed("drain", "Drain", "Let these nodes finish what they hold and leave?", "draining", nodes.drain, _DRAINABLE),
    Deed(
        "stop",
        "Stop",
        "Stop these nodes now? What they hold is offered to others.",
        "stopping",
        nodes.stop,
        NODE_LIVE - {NodeState.STOPPING},
    ),
)


@admin.register(Node)
@operated_by(*_DEEDS)
class NodeAdmin(ShownAdmin):
    list_display = (
        *("name", "shown_state", "shown_site", "shown_resource", "hostname", "cores", "at_work", "shown_models"),
        *("tiles_done", "last_heartbeat", "reason", "links"),
    )
    list_filter = ("state", "site", "resource")
    search_fields = ("name", "hostname", "reason")
    search_help_text = "Name, host or reason"
    date_hierarchy = "requested_at"
    list_select_related = ("site", "resource")
    fieldsets = (
        (None, {"fields": ("name", "shown_state", "state_since", "reason", "at_work", "shown_models", "links")}),
        (
            "Where",
            {
                "fields": (
                    "shown_site",
                    "shown_resource",
                    "hostname",
                    "machine",
                    "address",
                    "version",
                    "cores",
                    "handle",
                )
            },
        ),
        ("Work", {"fields": ("tiles_done", "busy_seconds", "streak", "blames")}),
        ("Course", {"fields": ("requested_at", "started_at", "last_heartbeat", "idle_since", "finished_at")}),
    )
    readonly_fields = ("shown_state", "at_work", "shown_models", "links", "shown_site", "shown_resource")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Node]:
        active = Lease.objects.filter(state=LeaseState.ACTIVE).select_related("job")
        held = HeldModel.objects.select_related("model")
        return (
            super().get_queryset(request).prefetch_related(Prefetch("leases", active, "active"), Prefetch("held", held))
        )

    @admin.display(description="State", ordering="state")
    def shown_state(self, node: Node) -> SafeString:
        return badge(node.state)

    @admin.display(description="Site", ordering="site")
    def shown_site(self, node: Node) -> SafeString:
        return page_of(Site, node.site_id, swatch(node.site.color, node.site_id))

    @admin.display(description="Resource", ordering="resource")
    def shown_resource(self, node: Node) -> SafeString:
        return page_of(Resource, node.resource_id, node.resource_id)

    @admin.display(description="Works on")
    def at_work(self, node: Node) -> SafeString | str:
        active: list[Lease] = node.active  # type: ignore[attr-defined]  # from get_queryset
        found = {lease.job_id: str(lease.job) for lease in active}
        return format_html_join(", ", "{}", ((page_of(Job, job, name),) for job, name in found.items())) or "-"

    @admin.display(description="Holds")
    def shown_models(self, node: Node) -> SafeString | str:
        held = [(page_of(RenderModel, entry.model_id, entry.model),) for entry in node.held.all()]
        return format_html_join(", ", "{}", held) or "-"

    @admin.display(description="Links")
    def links(self, node: Node) -> SafeString:
        log = f"/rendering-resource-manager/v2/node/{node.pk}/log"
        return format_html(
            "{} · {} · {} · {}",
            rows_of(Lease, "leases", node__id__exact=node.pk),
            rows_of(Event, "events", subject_type="node", subject_id=node.pk),
            link(f"{log}?stream=out&tail=200", "output"),
            link(f"{log}?stream=err&tail=200", "errors"),
        )
