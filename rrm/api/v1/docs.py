"""The description of version 1, for programs and for people."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase, JsonResponse
from rest_framework.permissions import AllowAny
from rest_framework.request import Request

from rrm.api.auth import LoginAuthentication, Scope
from rrm.api.v1.callers import AUTHENTICATORS
from rrm.api.v1.description import PREFIX, description
from rrm.api.v1.views import V1View
from rrm.api.v2.docs import Documentation as Pages


class Description(V1View):
    """OpenAPI 3.1."""

    scopes = {"GET": Scope.READ}
    authentication_classes = [*AUTHENTICATORS, LoginAuthentication]

    def get(self, request: Request) -> JsonResponse:
        return JsonResponse(description())


class Documentation(Pages):
    """Swagger UI, from this server's own files. It shows nothing that is anybody's: the description asks who reads."""

    title = "Rendering resource manager, version 1"
    url = f"{PREFIX}openapi.json"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if settings.RRM.v1_anonymous:
            self.authentication_classes, self.permission_classes = [], [AllowAny]
        return super().dispatch(request, *args, **kwargs)

    def needs_login(self, request: HttpRequest) -> bool:
        return not settings.RRM.v1_anonymous and super().needs_login(request)
