"""What a list can be narrowed down by."""

from __future__ import annotations

from typing import Any

import django_filters


class Filters(django_filters.FilterSet):  # type: ignore[misc]  # the library has no types
    """Filters by query parameters; a value that a filter does not take is refused, not passed over."""


def yes_or_no(**options: Any) -> django_filters.TypedChoiceFilter:
    """A filter that takes `true` and `false` and nothing else."""
    words = [("true", "true"), ("false", "false")]
    return django_filters.TypedChoiceFilter(choices=words, coerce="true".__eq__, **options)
