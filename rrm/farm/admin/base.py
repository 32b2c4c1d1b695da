"""What all admin pages share: who may operate, rows that are only shown, and how things look."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Model
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin as _ModelAdmin
    from django.contrib.admin import TabularInline as _TabularInline
    from django.forms import ModelForm as _ModelForm

    class ModelAdmin(_ModelAdmin[Any]):
        """What unfold adds, as far as it is used here."""

        actions_detail: list[str]

        def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]: ...

    ModelForm = _ModelForm[Any]
    TabularInline = _TabularInline[Any, Any]
else:
    from django.forms import ModelForm
    from unfold.admin import ModelAdmin, TabularInline

__all__ = [
    "FarmAdmin",
    "ModelForm",
    "ShownAdmin",
    "TabularInline",
    "badge",
    "duration",
    "link",
    "moment",
    "page_of",
    "progress",
    "rows_of",
    "swatch",
]

_TONES = {
    "QUEUED": "",
    "RUNNING": "info",
    "PAUSED": "warning",
    "COMPOSING": "primary",
    "COMPLETED": "success",
    "FAILED": "danger",
    "CANCELLED": "warning",
    "REQUESTED": "",
    "SUBMITTED": "",
    "IDLE": "success",
    "BUSY": "info",
    "BOOKED": "primary",
    "PENDING": "",
    "READY": "success",
    "ENDED": "",
    "DRAINING": "warning",
    "STOPPING": "warning",
    "STOPPED": "",
    "ACTIVE": "info",
    "DONE": "success",
    "RETURNED": "warning",
}


class FarmAdmin(ModelAdmin):
    """A page of the farm. Staff may carry out its actions, as the API lets them."""

    list_per_page = 50
    list_fullwidth = True
    deeds: Mapping[str, Any] = {}  # from `actions.operated_by`

    def has_operate_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return bool(request.user.is_active and request.user.is_staff) and self.has_view_permission(request)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """The actions that make sense in the state the row is in."""
        state = getattr(self.get_object(request, str(object_id)), "state", None)
        found: list[Any] = super().get_actions_detail(request, object_id)
        return [action for action in found if _is_offered(self.deeds, action.method.original_function_name, state)]


class ShownAdmin(FarmAdmin):
    """Rows that use-cases own: shown, with actions, never added, edited or deleted by hand."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


def _is_offered(deeds: Mapping[str, Any], name: str, state: str | None) -> bool:
    return name not in deeds or deeds[name].states is None or state in deeds[name].states


def badge(state: str) -> SafeString:
    """A state in its colour."""
    return render_to_string("unfold/helpers/label.html", {"text": state.lower(), "type": _TONES.get(state, "")})


def swatch(color: str, text: str) -> SafeString:
    """A text with the colour that stands for it on the live pages."""
    return format_html(
        '<span style="white-space:nowrap"><span style="display:inline-block;width:.8em;height:.8em;'
        'border-radius:2px;background:{}"></span> {}</span>',
        color,
        text,
    )


def progress(done: int, total: int) -> SafeString:
    """A bar with its percentage."""
    percent = 100 * done // max(total, 1)
    return format_html(
        '<progress max="{}" value="{}" aria-label="{} of {} tiles" style="width:6em"></progress> {}%',
        total,
        done,
        done,
        total,
        percent,
    )


def duration(start: datetime | None, end: datetime | None) -> str:
    """Hours, minutes and seconds between two instants; empty while one is missing."""
    if start is None or end is None:
        return ""
    seconds = (end - start).total_seconds()
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def moment(instant: datetime | None) -> str:
    """An instant to the second; the pages' own form stops at minutes."""
    return f"{instant:%Y-%m-%d %H:%M:%S}" if instant else "-"


def link(address: str, text: object) -> SafeString:
    return format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>', address, text)


def page_of(model: type[Model], key: object, text: object) -> SafeString:
    """A link to the admin page of one row."""
    return link(reverse(f"admin:farm_{model._meta.model_name}_change", args=[key]), text)


def rows_of(model: type[Model], text: object, **filters: object) -> SafeString:
    """A link to the admin list of `model`, filtered."""
    address = reverse(f"admin:farm_{model._meta.model_name}_changelist")
    query = urlencode({name: str(value) for name, value in filters.items()})
    return link(f"{address}?{query}", text)
