"""Lists in pages that stay right while rows come and go: a cursor names the last row seen, not a count."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db.models import Model, Q, QuerySet
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from rrm.errors import Invalid

if TYPE_CHECKING:  # the framework's views import this module
    from rest_framework.views import APIView

DEFAULT_SIZE = 100
LARGEST_SIZE = 1000


@dataclass(frozen=True)
class Cursor:
    """The sort values of the row at the edge of a page, and on which side of it the next page lies."""

    values: Sequence[Any]
    backwards: bool = False

    def encode(self) -> str:
        said = json.dumps([self.backwards, *self.values], default=_plain)
        return base64.urlsafe_b64encode(said.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str, width: int) -> Cursor:
        """Raises Invalid when `text` did not come from `encode` with `width` values."""
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            backwards, *values = json.loads(raw)
        except (binascii.Error, ValueError, TypeError, RecursionError):
            raise Invalid("cursor", "This is not a cursor of this list.") from None
        plain = all(isinstance(value, str | int | float) and "\0" not in str(value) for value in values)
        if not isinstance(backwards, bool) or len(values) != width or not plain:
            raise Invalid("cursor", "This is not a cursor of this list.")
        return cls(values, backwards)


class CursorPages(BasePagination):
    """`{"next", "previous", "results"}`. The view's `ordering_fields` may be sorted by; the first is the default."""

    _links: tuple[str | None, str | None] = (None, None)

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any]:
        allowed = getattr(view, "ordering_fields", ("id",))
        order = _order(request.query_params.get("ordering", allowed[0]), allowed)
        size = _size(request.query_params.get("page_size"))
        text = request.query_params.get("cursor")
        cursor = Cursor.decode(text, len(order)) if text else None
        rows, more = _read(queryset, order, cursor, size)
        self._links = _links(request, rows, order, cursor, more)
        return rows

    def get_paginated_response(self, data: Any) -> Response:
        following, previous = self._links
        return Response({"next": following, "previous": previous, "results": data})

    def get_paginated_response_schema(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        link = {"type": ["string", "null"], "format": "uri"}
        members = {"next": link, "previous": link, "results": schema}
        return {"type": "object", "required": list(members), "properties": members}

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        allowed = getattr(view, "ordering_fields", ("id",))
        names = [sign + name.removeprefix("-") for name in allowed for sign in ("", "-")]
        size = {"type": "integer", "minimum": 1, "default": DEFAULT_SIZE}
        return [
            _parameter("cursor", "Where a page begins, from `next` or `previous`.", {"type": "string"}),
            _parameter("page_size", f"Rows in a page; more than {LARGEST_SIZE} are not given.", size),
            _parameter("ordering", "The field to sort by, with `-` downwards.", {"type": "string", "enum": names}),
        ]


def _parameter(name: str, description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


def _order(asked: str, allowed: Sequence[str]) -> tuple[str, ...]:
    """The fields to sort by, ending with the key so that no two rows are equal."""
    names = {name.lstrip("-") for name in allowed}
    if asked.removeprefix("-") not in names:
        raise Invalid("ordering", f"Sort by one of {', '.join(sorted(names))}; with - downwards.")
    key = "-id" if asked.startswith("-") else "id"
    return (asked,) if asked == key else (asked, key)


def _size(asked: str | None) -> int:
    if asked is None:
        return DEFAULT_SIZE
    if not (asked.isascii() and asked.isdigit() and int(asked[:9]) > 0):
        raise Invalid("page_size", "Give a whole number from 1.")
    return min(int(asked[:9]), LARGEST_SIZE)


def _read(queryset: QuerySet[Any], order: Sequence[str], cursor: Cursor | None, size: int) -> tuple[list[Any], bool]:
    """The rows of a page in order, and whether there are more in the direction of travel."""
    backwards = cursor is not None and cursor.backwards
    direction = [_turned(name) for name in order] if backwards else order
    try:
        wanted = queryset.filter(_beyond(direction, cursor.values)) if cursor else queryset
        rows = list(wanted.order_by(*direction)[: size + 1])
    except (ValidationError, ValueError, TypeError, OverflowError):  # values of another list's types
        if cursor is None:
            raise
        raise Invalid("cursor", "This is not a cursor of this list.") from None
    more, rows = len(rows) > size, rows[:size]
    return (rows[::-1] if backwards else rows), more


def _beyond(direction: Sequence[str], values: Sequence[Any]) -> Q:
    """Rows after the one with these values: (a > x) or (a = x and b > y)."""
    found, equal = Q(), Q()
    for name, value in zip(direction, values, strict=True):
        field = name.removeprefix("-")
        found |= equal & Q((f"{field}__{'lt' if name.startswith('-') else 'gt'}", value))
        equal &= Q((field, value))
    return found


def _turned(name: str) -> str:
    return name[1:] if name.startswith("-") else f"-{name}"


def _links(
    request: Request, rows: Sequence[Model], order: Sequence[str], cursor: Cursor | None, more: bool
) -> tuple[str | None, str | None]:
    if not rows:
        return None, None
    backwards = cursor is not None and cursor.backwards
    following = _link(request, rows[-1], order, backwards=False) if backwards or more else None
    has_previous = more if backwards else cursor is not None
    return following, _link(request, rows[0], order, backwards=True) if has_previous else None


def _link(request: Request, row: Model, order: Sequence[str], *, backwards: bool) -> str:
    cursor = Cursor([getattr(row, name.removeprefix("-")) for name in order], backwards)
    return replace_query_param(request.build_absolute_uri(), "cursor", cursor.encode())


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
