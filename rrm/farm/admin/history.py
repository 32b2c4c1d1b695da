"""Events: what happened, as it was recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from rrm.farm.admin.base import ShownAdmin, moment, page_of
from rrm.farm.models import Event, Job, Node, Resource, Site

_SUBJECTS = {"job": Job, "node": Node, "site": Site, "resource": Resource}
_SHOWN_LENGTH = 200
_UUID_LENGTH = 36


@admin.register(Event)
class EventAdmin(ShownAdmin):
    list_display = ("shown_at", "kind", "subject", "shown_job", "actor", "summary")
    list_filter = ("kind", "subject_type", "actor")
    search_fields = ("subject_id", "actor", "job__id", "job__name")
    search_help_text = "Id of the subject, actor, or id or name of the job"
    date_hierarchy = "created_at"
    ordering = ("-id",)
    list_select_related = ("job",)
    fields = ("shown_at", "kind", "subject", "shown_job", "seq", "actor", "shown_data")
    readonly_fields = ("shown_at", "subject", "shown_job", "shown_data")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return lookup == "subject_id" or super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type]

    @admin.display(description="At", ordering="id")
    def shown_at(self, event: Event) -> str:
        return moment(event.created_at)

    @admin.display(description="Subject", ordering="subject_id")
    def subject(self, event: Event) -> SafeString | str:
        model = _SUBJECTS.get(event.subject_type)
        key = event.subject_id
        text = f"{event.subject_type} {event.data.get('name') or (key[:8] if len(key) == _UUID_LENGTH else key)}"
        return page_of(model, event.subject_id, text) if model else text

    @admin.display(description="Job")
    def shown_job(self, event: Event) -> SafeString | str:
        return page_of(Job, event.job_id, event.job) if event.job_id else "-"

    @admin.display(description="What")
    def summary(self, event: Event) -> str:
        return _sentence(event.data)[:_SHOWN_LENGTH]

    @admin.display(description="Data")
    def shown_data(self, event: Event) -> SafeString:
        return format_html('<pre style="white-space:pre-wrap">{}</pre>', json.dumps(event.data, indent=2))


def _sentence(data: Mapping[str, Any]) -> str:
    """What the data of an event says, in a few words."""
    if "message" in data:
        return str(data["message"])
    if "state" in data:
        return f"{data['state']}: {data['reason']}" if data.get("reason") else str(data["state"])
    if "start" in data:
        return f"tiles {data['start']}…{data['stop'] - 1} by {data.get('node_name')} in {data.get('render_ms')} ms"
    return json.dumps(data)
