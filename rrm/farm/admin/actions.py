"""Actions on selected rows: a page asks first, then a use-case is called for each row and each outcome is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse

from rrm.errors import RrmError
from rrm.farm.admin.base import FarmAdmin

MOST_ROWS = 500
_MOST_TOLD = 20

Action = Callable[[Any, HttpRequest, QuerySet[Any]], HttpResponseBase | None]


@dataclass(frozen=True, slots=True)
class Deed:
    """Something to do with a row: `do(row, actor)` raises RrmError when it cannot be done."""

    name: str
    label: str
    question: str
    outcome: str
    do: Callable[[Any, str], object]


def confirmed(deed: Deed) -> Action:
    """The admin action that does it, once it is confirmed."""

    @admin.action(description=deed.label, permissions=["operate"])
    def action(page: FarmAdmin, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponseBase | None:
        if rows.count() > MOST_ROWS:
            page.message_user(request, f"Select at most {MOST_ROWS} rows at a time.", messages.ERROR)
            return None
        if request.POST.get("confirmed") != "yes":
            return _question(deed, page, request, rows)
        _carry_out(deed, page, request, rows)
        return None

    action.__name__ = deed.name
    return action


def _question(deed: Deed, page: FarmAdmin, request: HttpRequest, rows: QuerySet[Any]) -> TemplateResponse:
    context = {
        **page.admin_site.each_context(request),
        "title": deed.label,
        "deed": deed,
        "rows": list(rows),
        "opts": page.model._meta,
        "checkbox": ACTION_CHECKBOX_NAME,
    }
    return TemplateResponse(request, "admin/farm/confirm_action.html", context)


def _carry_out(deed: Deed, page: FarmAdmin, request: HttpRequest, rows: QuerySet[Any]) -> None:
    done: list[Model] = []
    for row in rows:
        try:
            deed.do(row, request.user.get_username())
        except RrmError as error:
            page.message_user(request, f"{row}: {error.detail}", messages.ERROR)
        else:
            done.append(row)
    for row in done[:_MOST_TOLD]:
        page.message_user(request, f"{row}: {deed.outcome}", messages.SUCCESS)
    if len(done) > _MOST_TOLD:
        page.message_user(request, f"… and {len(done) - _MOST_TOLD} more: {deed.outcome}", messages.SUCCESS)
