"""The routes of version 1, with those of their oddities that programs may rely on.

A command is the first letters and digits after `session/`, whatever follows: `session/status.json` is `status`.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponsePermanentRedirect
from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import RedirectView

from rrm.api.v1.admin import Admin
from rrm.api.v1.commands import COMMANDS, Command, Elsewhere
from rrm.api.v1.config import Config
from rrm.api.v1.docs import Description, Documentation
from rrm.api.v1.sessions import SessionDetail, Sessions
from rrm.api.v1.views import nothing

_UUID = "[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"


@csrf_exempt
def with_slash(request: HttpRequest) -> HttpResponse:
    query = request.META.get("QUERY_STRING", "")
    return HttpResponsePermanentRedirect(f"{request.path}/{'?' if query else ''}{query}")


urlpatterns = [
    path("config", with_slash),
    path("session", with_slash),
    path("config/", Config.as_view()),
    path("session/", Sessions.as_view()),
    re_path(rf"^session/(?P<id>[A-Za-z0-9]+|{_UUID})/\Z", SessionDetail.as_view()),
    *(re_path(rf"^session/{name}(?![A-Za-z0-9])", Command.as_view(name=name), name=f"v1-{name}") for name in COMMANDS),
    re_path(r"^session/[A-Za-z0-9]", Elsewhere.as_view()),
    path("admin", RedirectView.as_view(url="/admin/")),
    re_path(r"^admin/(?P<command>[A-Za-z0-9]+)/?\Z", Admin.as_view()),
    path("api-docs", Documentation.as_view()),
    path("openapi.json", Description.as_view()),
    re_path(r"^(?P<rest>[\s\S]*)\Z", csrf_exempt(nothing)),
]
