"""The description of the API, for programs and for people."""

from __future__ import annotations

import functools
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer2
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from rrm.api.auth import LoginAuthentication, Scope, ScopePermission, TokenAuthentication
from rrm.api.v2.locations import PREFIX
from rrm.api.views import OneFormat

# Swagger UI sets styles on its elements and draws its icons from data: URLs; it runs no inline script.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


class _JsonSchema(OpenApiJsonRenderer2):
    media_type = "application/json"


class Description(SpectacularAPIView):
    """OpenAPI 3.1."""

    scopes = {"GET": Scope.READ}
    renderer_classes = [_JsonSchema]
    authentication_classes = [TokenAuthentication, LoginAuthentication]
    permission_classes = [ScopePermission]
    content_negotiation_class = OneFormat

    def _get_schema_response(self, request: Request) -> Response:
        return Response(_description())


@functools.cache
def _description() -> Any:
    """The same for everybody, and a second's work."""
    return SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]


class Documentation(SpectacularSwaggerSplitView):
    """Swagger UI, from this server's own files."""

    scopes = {"GET": Scope.READ}
    renderer_classes = [TemplateHTMLRenderer]
    authentication_classes = [TokenAuthentication, LoginAuthentication]
    permission_classes = [ScopePermission]
    content_negotiation_class = OneFormat
    url = f"{PREFIX}openapi.json"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if self.needs_login(request):
            return redirect_to_login(request.get_full_path())
        response = super().dispatch(request, *args, **kwargs)
        response.headers["Content-Security-Policy"] = _POLICY
        return response

    def needs_login(self, request: HttpRequest) -> bool:
        return not request.user.is_authenticated and "HTTP_AUTHORIZATION" not in request.META
