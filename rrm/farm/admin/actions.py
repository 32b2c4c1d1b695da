"""Actions on rows, from a list or a row's own page: first a question, then a use-case for each row and its outcome."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.templatetags.admin_urls import admin_urlname
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from unfold.decorators import action as unfold_action

from rrm.errors import RrmError
from rrm.farm.admin.base import FarmAdmin

MOST_ROWS = 500
_MOST_TOLD = 20

T = TypeVar("T", bound=FarmAdmin)
Action = Callable[[Any, HttpRequest, QuerySet[Any]], HttpResponseBase | None]


@dataclass(frozen=True, slots=True)
class Deed:
    """Something to do with a row: `do(row, actor)` raises RrmError when it cannot be done."""

    name: str
    label: str
    question: str
    outcome: str
    do: Callable[[Any, str], object]
    states: Collection[str] | None = None  # in which a row's own page offers it; None is any

    @property
    def on_page(self) -> str:
        """The name under which the row's own page has it."""
        return f"{self.name}_this"


def operated_by(*deeds: Deed) -> Callable[[type[T]], type[T]]:
    """Give an admin page these deeds, on its list and on the page of each row."""

    def equip(page: type[T]) -> type[T]:
        page.actions = [_on_list(deed) for deed in deeds]
        page.actions_detail = [deed.on_page for deed in deeds]
        page.deeds = {deed.on_page: deed for deed in deeds}
        for deed in deeds:
            setattr(page, deed.on_page, _on_page(deed))
        return page

    return equip


def _on_list(deed: Deed) -> Action:
    """The action on the selected rows of a list."""

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


def _on_page(deed: Deed) -> Any:
    """The action on one row, at an address of its own below the row's page."""

    def action(page: FarmAdmin, request: HttpRequest, object_id: str) -> HttpResponseBase:
        row = page.get_object(request, object_id)
        if row is None:
            raise Http404
        if request.POST.get("confirmed") != "yes":
            return _question(deed, page, request, [row])
        _carry_out(deed, page, request, [row])
        is_kept = page.get_object(request, object_id) is not None
        return redirect(admin_urlname(page.opts, "change" if is_kept else "changelist"), *[object_id] * is_kept)  # type: ignore[arg-type]

    action.__name__ = deed.on_page  # unfold looks it up by this
    return unfold_action(description=deed.label, url_path=deed.name, permissions=["operate"])(action)


def _question(deed: Deed, page: FarmAdmin, request: HttpRequest, rows: Iterable[Model]) -> TemplateResponse:
    context = {
        **page.admin_site.each_context(request),
        "title": deed.label,
        "deed": deed,
        "rows": list(rows),
        "opts": page.model._meta,
        "checkbox": ACTION_CHECKBOX_NAME,
    }
    return TemplateResponse(request, "admin/farm/confirm_action.html", context)


def _carry_out(deed: Deed, page: FarmAdmin, request: HttpRequest, rows: Iterable[Model]) -> None:
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
