"""`config/`: rendering resources in the first RRM's 17 fields."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError
from django.http import HttpResponse
from django.utils import timezone
from rest_framework.request import Request

from rrm.api.auth import Scope, access
from rrm.api.v1.answers import bare, contents, said
from rrm.api.v1.callers import may_configure, require_configuring
from rrm.api.v1.views import V1View, fields_of
from rrm.api.v2.resources import ResourceSerializer, save
from rrm.errors import StateConflict
from rrm.farm import resources
from rrm.farm.models import Resource, Site
from rrm.farm.populating.first_rrm import FIELDS, value_of
from rrm.farm.snapshot import resource_states

UNKNOWN = "RenderingResourceSettings matching query does not exist."
_MOST_NODES = 1000  # the first RRM had no limit of its own: that of the sites remains
_AS_BEFORE = {"first_rrm": True}  # which took any text for variables, and ignored what was none


class Config(V1View):
    scopes = dict.fromkeys(("GET", "POST", "PUT", "DELETE"), Scope.READ)

    def get(self, request: Request) -> HttpResponse:
        """Every resource; those who may not change them do not see what may be secret."""
        rows = list(Resource.objects.prefetch_related("placements").order_by("id"))
        context = {"states": resource_states(rows, timezone.now()), "operator": may_configure(request)}
        bodies = ResourceSerializer(rows, many=True, context=context).data
        return said([{field: body[field] for field in FIELDS} for body in bodies])

    def post(self, request: Request) -> HttpResponse:
        require_configuring(request)
        body = _fields(request)
        if Resource.objects.filter(pk=str(body.get("id", "")).lower()).exists():
            return contents("There is a rendering resource with this id.", 409)
        new = {"renderer": Resource.Renderer.EXTERNAL, "sites": _sites(), "max_nodes": _MOST_NODES}
        serializer = ResourceSerializer(data={**new, **body}, context=_AS_BEFORE)
        serializer.is_valid(raise_exception=True)
        try:
            resource = save(serializer, request)
        except IntegrityError:  # another request was faster
            return contents("There is a rendering resource with this id.", 409)
        return contents(f"Rendering Resource {resource.pk} successfully configured", 201)

    def put(self, request: Request) -> HttpResponse:
        require_configuring(request)
        body = _fields(request)
        resource = _found(body)
        if resource is None:
            return bare(UNKNOWN, 404)
        serializer = ResourceSerializer(resource, data=body, partial=True, context=_AS_BEFORE)
        serializer.is_valid(raise_exception=True)
        save(serializer, request)
        return HttpResponse(b"", content_type="text/html; charset=utf-8")

    def delete(self, request: Request) -> HttpResponse:
        require_configuring(request)
        resource = _found(_fields(request))
        if resource is None:
            return bare(UNKNOWN, 404)
        try:
            resources.remove_with_past(resource, access(request).user.get_username())
        except StateConflict as conflict:
            return bare(conflict.detail, 409)
        return bare("Settings successfully deleted")


def _fields(request: Request) -> dict[str, Any]:
    """The fields that the first RRM had; whatever else a program sends was never looked at."""
    body = fields_of(request)
    return {field: value_of(field, body[field]) for field in FIELDS if field in body}


def _found(body: dict[str, Any]) -> Resource | None:
    return Resource.objects.filter(pk=str(body.get("id", "")).lower()).first()


def _sites() -> list[str]:
    """Every enabled site, clusters first."""
    enabled = Site.objects.filter(enabled=True).order_by("id")
    return [site.pk for site in sorted(enabled, key=lambda site: site.kind != Site.Kind.SLURM)]
