"""Fields that accept what their type says and nothing that merely looks like it: "1" is no number, and 1 is no text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.db import models
from django.utils.dateparse import parse_datetime
from rest_framework import serializers

from rrm.domain import capabilities

_SLUG = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_NO_SUCH_FIELD = "There is no such field."
_NOT_SETTABLE = "This field cannot be set."


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses fields that it does not know, and those that only the server sets."""

    def to_internal_value(self, data: Any) -> Any:
        fields = self.fields
        errors: dict[str, Any] = {}
        if isinstance(data, Mapping):
            for name in data:
                if name not in fields:
                    errors[str(name)] = [_NO_SUCH_FIELD]
                elif fields[name].read_only:
                    errors[str(name)] = [_NOT_SETTABLE]
        try:
            values = super().to_internal_value(data)
        except serializers.ValidationError as error:
            raise serializers.ValidationError({**_as_mapping(error.detail), **errors}) from None
        if errors:
            raise serializers.ValidationError(errors)
        return values


def _as_mapping(detail: Any) -> Mapping[str, Any]:
    return detail if isinstance(detail, Mapping) else {"non_field_errors": detail}


LARGEST_WHOLE = 2**31 - 1  # what every database keeps in an integer column


class Whole(serializers.IntegerField):
    """A JSON number without a fraction; what is counted here is never negative."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"min_value": 0, "max_value": LARGEST_WHOLE, **options})

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, float) and data.is_integer():
            data = int(data)
        if not isinstance(data, int) or isinstance(data, bool):
            self.fail("invalid")
        return int(data)


class Number(serializers.FloatField):
    """A finite JSON number."""

    def to_internal_value(self, data: Any) -> float:
        if not isinstance(data, int | float) or isinstance(data, bool) or abs(data) > 1e300:
            self.fail("invalid")
        return float(data)


class Flag(serializers.BooleanField):
    """true or false."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class Text(serializers.CharField):
    """A JSON string."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return str(super().to_internal_value(data))


class Slug(Text):
    """An id that people write: lower-cased, at most 50 characters."""

    default_error_messages = {"slug": "Use letters, digits, '-', '_' and '.', beginning with a letter or digit."}

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"max_length": 50, **options})

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data).lower()
        if not _SLUG.fullmatch(text):
            self.fail("slug")
        return text


class Tags(serializers.ListField):
    """Capabilities, answered in order and each once."""

    child = Text()

    def to_internal_value(self, data: Any) -> list[str]:
        try:
            return capabilities.parse(data)
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from None


class Instant(serializers.DateTimeField):
    """A time with its zone (RFC 3339)."""

    default_error_messages = {"zone": "Give a time with its zone, like 2030-01-31T12:00:00Z."}

    def to_internal_value(self, value: Any) -> datetime:
        try:
            instant = parse_datetime(value) if isinstance(value, str) else None
            utc = instant.astimezone(UTC) if instant is not None and instant.tzinfo is not None else None
        except (ValueError, OverflowError):  # the first and last hours of the calendar lie outside it in UTC
            utc = None
        if utc is None:
            self.fail("zone")
        return utc


class OneOf(serializers.ChoiceField):
    """One of a few strings."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            self.fail("invalid_choice", input=data)
        return super().to_internal_value(data)


class StrictModelSerializer(StrictSerializer, serializers.ModelSerializer[Any]):
    """A serializer whose fields follow a model, with the strict types of this module."""

    serializer_field_mapping = {
        **serializers.ModelSerializer.serializer_field_mapping,
        models.CharField: Text,
        models.TextField: Text,
        models.PositiveIntegerField: Whole,
        models.BigIntegerField: Whole,
        models.FloatField: Number,
        models.BooleanField: Flag,
        models.DateTimeField: Instant,
    }
    serializer_choice_field = OneOf

    def build_standard_field(self, field_name: str, model_field: Any) -> Any:
        """The field of a column; an integer has the same limit on every database."""
        kind, options = super().build_standard_field(field_name, model_field)
        if issubclass(kind, Whole):
            options["max_value"] = min(options.get("max_value", LARGEST_WHOLE), LARGEST_WHOLE)
        return kind, options
