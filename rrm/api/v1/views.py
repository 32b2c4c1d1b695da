"""What all views of version 1 have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.parsers import FormParser, MultiPartParser
from rest_framework.request import Request

from rrm.api.parsers import StrictJSONParser
from rrm.api.v1 import origins
from rrm.api.v1.answers import bare, refusal
from rrm.api.v1.callers import AUTHENTICATORS
from rrm.api.views import ApiView

# The answers call themselves HTML. Should a browser show one as a page, that page can do nothing.
POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"


class V1View(ApiView):
    """A view with version 1's credentials, body types and refusals. Unknown query parameters are ignored."""

    authentication_classes = AUTHENTICATORS
    parser_classes = [StrictJSONParser, FormParser, MultiPartParser]
    http_method_names = ["get", "post", "put", "delete"]
    schema = None

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """A browser that asks whether a page may call has no credentials yet."""
        if request.method == "OPTIONS" and "Origin" in request.headers:
            try:
                answer = origins.preflight(request)
            except Exception as error:
                answer = refusal(error, {})
            finished(answer, request)
            return answer
        return super().dispatch(request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        origins.refuse_other_pages(request)
        super().initial(request, *args, **kwargs)

    def check_query(self, request: Request) -> None:
        return

    def get_exception_handler(self) -> Callable[[Exception, Mapping[str, Any]], Any]:
        return refusal

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        return finished(super().finalize_response(request, response, *args, **kwargs), request)


def finished(answer: Any, request: Any) -> Any:
    """The answer with what browsers have to know of it."""
    answer.headers["Content-Security-Policy"] = POLICY
    for name, value in origins.permissions(request.headers.get("Origin", "")).items():
        answer.headers[name] = value
    return answer


def fields_of(request: Request) -> dict[str, Any]:
    """The fields of a body, which may be a form's or JSON."""
    data: Mapping[str, Any] = request.data  # type: ignore[assignment]  # no parser of these views makes a list
    return {str(name): data[name] for name in data}


def nothing(request: HttpRequest, rest: str = "") -> HttpResponse:
    return bare("Not Found", 404)
