"""Events: what happened, in order."""

from __future__ import annotations

from typing import Any, ClassVar

import django_filters
from django.db.models import Q, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from rrm.api.auth import Scope, access
from rrm.api.fields import StrictModelSerializer
from rrm.api.filters import Filters, Instant
from rrm.api.views import ListView
from rrm.farm.models import Event


class EventSerializer(StrictModelSerializer):
    """Something that happened. `seq` counts the events of one job without a gap."""

    class Meta:
        model = Event
        fields: ClassVar = ["id", "created_at", "kind", "subject_type", "subject_id", "job", "seq", "actor", "data"]


class EventFilters(Filters):
    kind = django_filters.CharFilter()
    subject = django_filters.CharFilter(method="by_subject", help_text="A type, or type:id, as in `node:<id>`.")
    job = django_filters.UUIDFilter(field_name="job_id")
    since = Instant(field_name="created_at", lookup_expr="gte")

    def by_subject(self, events: QuerySet[Event], name: str, value: str) -> QuerySet[Event]:
        kind, _, id = value.partition(":")
        return events.filter(subject_type=kind, **({"subject_id": id} if id else {}))


class Events(ListView):
    scopes = {"GET": Scope.READ}
    queryset = Event.objects.all()
    filterset_class = EventFilters
    serializer_class = EventSerializer
    ordering_fields = ("-id",)

    @extend_schema(operation_id="event_list", responses=EventSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List what happened to your jobs and sessions (to everything, for operators), the newest first."""
        viewer = access(request)
        events: Any = Event.objects.all()
        return self.page(events if viewer.operator else events.filter(Q(job__owner=viewer.user) | Q(owner=viewer.user)))
