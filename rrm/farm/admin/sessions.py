"""Sessions: shown, with an action that ends them."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from rrm.domain.states import SESSION_OPEN
from rrm.farm import sessions
from rrm.farm.admin.actions import Deed, operated_by
from rrm.farm.admin.base import ShownAdmin, badge, page_of, rows_of
from rrm.farm.models import Event, Node, RenderModel, Resource, Session

_DEEDS = (
    Deed("end", "End", "End these sessions? Their users lose what they see.", "ended", sessions.end, SESSION_OPEN),
)


@admin.register(Session)
@operated_by(*_DEEDS)
class SessionAdmin(ShownAdmin):
    list_display = (
        *("id", "shown_state", "owner", "label", "shown_resource", "shown_node", "shown_model", "warm"),
        *("created_at", "expires_at", "hard_expires_at", "reason", "links"),
    )
    list_filter = ("state", "resource", "warm")
    search_fields = ("id", "label", "owner__username", "reason")
    search_help_text = "Id, label, owner or reason"
    date_hierarchy = "created_at"
    list_select_related = ("owner", "resource", "node", "model")
    fieldsets = (
        (None, {"fields": ("id", "label", "owner", "shown_state", "state_since", "reason", "links")}),
        ("Where", {"fields": ("shown_resource", "shown_node", "shown_model", "warm", "overrides")}),
        ("Course", {"fields": ("created_at", "opened_at", "wait_until", "ready_at", "finished_at")}),
        ("End", {"fields": ("idle_seconds", "expires_at", "hard_expires_at")}),
    )
    readonly_fields = ("shown_state", "shown_resource", "shown_node", "shown_model", "links")

    @admin.display(description="State", ordering="state")
    def shown_state(self, session: Session) -> SafeString:
        return badge(session.state)

    @admin.display(description="Resource", ordering="resource")
    def shown_resource(self, session: Session) -> SafeString:
        return page_of(Resource, session.resource_id, session.resource_id)

    @admin.display(description="Node", ordering="node")
    def shown_node(self, session: Session) -> SafeString | str:
        return page_of(Node, session.node_id, session.node) if session.node_id else "-"

    @admin.display(description="Model", ordering="model")
    def shown_model(self, session: Session) -> SafeString | str:
        return page_of(RenderModel, session.model_id, session.model) if session.model_id else "-"

    @admin.display(description="Links")
    def links(self, session: Session) -> SafeString:
        return rows_of(Event, "events", subject_type="session", subject_id=session.pk)
