"""What a list can be narrowed down by."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC
from typing import Any

import django_filters
from django import forms
from django_filters.fields import IsoDateTimeField


class Filters(django_filters.FilterSet):  # type: ignore[misc]  # the library has no types
    """Filters by query parameters; a value that a filter does not take is refused, not passed over."""


class _YesOrNoField(forms.Field):
    widget = forms.TextInput

    def to_python(self, value: Any) -> bool | None:
        if value in self.empty_values:
            return None
        if value not in {"true", "false"}:
            raise forms.ValidationError("Must be true or false.")
        return bool(value == "true")


class YesOrNo(django_filters.BooleanFilter):  # type: ignore[misc]  # the library has no types
    """Takes `true` and `false` and nothing else."""

    field_class = _YesOrNoField

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"widget": forms.TextInput, **options})


class OneOf(django_filters.MultipleChoiceFilter):  # type: ignore[misc]  # the library has no types
    """Takes any of these values, also several: a row with one of them is listed."""

    def __init__(self, values: Iterable[str], **options: Any) -> None:
        # A column has one value, so no row comes twice; to make sure of it a database would sort all rows there are.
        super().__init__(choices=[(str(value), str(value)) for value in values], distinct=False, **options)


class _InstantField(IsoDateTimeField):  # type: ignore[misc]  # the library has no types
    def to_python(self, value: Any) -> Any:
        try:
            instant = super().to_python(value)
            return instant and instant.astimezone(UTC)
        except OverflowError:  # the first and last hours of the calendar lie outside it in UTC
            raise forms.ValidationError("Must be a time that there is in UTC.") from None


class Instant(django_filters.IsoDateTimeFilter):  # type: ignore[misc]  # the library has no types
    """Takes a time as RFC 3339 writes it."""

    field_class = _InstantField
