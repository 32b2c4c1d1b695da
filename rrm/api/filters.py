"""What a list can be narrowed down by."""

from __future__ import annotations

import django_filters


class Filters(django_filters.FilterSet):  # type: ignore[misc]  # the library has no types
    """Filters by query parameters; a value that a filter does not take is refused, not passed over."""
