"""The OpenAPI description: what every operation has besides the body that its view names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers

from rrm.api.errors import PROBLEM_JSON

EVENT_STREAM = "text/event-stream"

NOT_READY = OpenApiResponse(description="`not-ready`: the result does not exist yet.")
LAST_EVENT = [
    OpenApiParameter("Last-Event-ID", str, OpenApiParameter.HEADER, description="Resume after this id."),
    OpenApiParameter("last_event_id", str, description="The same, for clients that cannot set headers."),
]
LOCATION = OpenApiParameter(
    "Location", str, OpenApiParameter.HEADER, response=[201, 202], description="The path of what was made."
)
CACHED = [
    OpenApiParameter("If-None-Match", str, OpenApiParameter.HEADER, description="The ETag of what the client has."),
    OpenApiParameter(
        "ETag", str, OpenApiParameter.HEADER, response=[200, 206, 304], description="Names exactly these bytes."
    ),
]
IN_PARTS = [
    *CACHED,
    OpenApiParameter("Range", str, OpenApiParameter.HEADER, description="One part, as in `bytes=0-1023`."),
    OpenApiParameter("If-Range", str, OpenApiParameter.HEADER, description="The ETag that `Range` was meant for."),
    OpenApiParameter(
        "Content-Range", str, OpenApiParameter.HEADER, response=[206, 416], description="Which bytes, and of how many."
    ),
]


class ProblemSerializer(serializers.Serializer[Any]):
    """A problem document (RFC 9457)."""

    type = serializers.CharField(help_text="A URN made of the code.")
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    code = serializers.CharField(help_text="Stable and meant for programs.")
    errors = serializers.DictField(  # type: ignore[assignment]  # a field, not the serializer's own attribute
        child=serializers.ListField(child=serializers.CharField()),
        required=False,
        help_text="For a body or query that was refused: messages by dotted field.",
    )


_CREDENTIALS = {"401": "No credentials, or ones that are not valid.", "403": "The credentials do not allow this."}
_BODY = {
    "400": "The body is not acceptable JSON.",
    "413": "The body is too large.",
    "415": "The body has another media type.",
    "422": "Fields that cannot be accepted.",
}


class ProblemSchema(AutoSchema):
    """Adds to each operation the problems that its method, path and credentials make possible."""

    def _get_response_bodies(self, direction: Any = "response") -> Any:
        responses = super()._get_response_bodies(direction)
        content = {PROBLEM_JSON: {"schema": self.resolve_serializer(ProblemSerializer, "response").ref}}
        for status, description in self._problems().items():
            responses.setdefault(status, {"description": description, "content": content})
        for status, response in responses.items():
            if status >= "400":
                response["content"] = content
        return dict(sorted(responses.items()))

    def _problems(self) -> Mapping[str, str]:
        problems = {**_CREDENTIALS, "422": "A query parameter that there is not."}
        if "{" in self.path:
            problems["404"] = "There is no such thing, or it belongs to somebody else."
        if self.method in {"POST", "PUT", "PATCH"} and self.get_request_serializer() is not None:
            problems |= _BODY
        elif self.method == "POST":
            problems |= {"415": _BODY["415"], "422": "The action takes no fields."}
        if self._is_list_view():
            problems["422"] = "A filter, cursor or ordering that cannot be accepted."
        return problems

    def get_description(self) -> str:  # type: ignore[override]  # as the library itself overrides it
        """The operation's docstring, and the scope it needs."""
        scope = getattr(self.view, "scopes", {}).get(self.method)
        return str(super().get_description()) + (f"\n\nNeeds the scope `{scope}`." if scope else "")

    def get_summary(self) -> str | None:
        """The first line of the operation's own docstring."""
        operation = getattr(self.view, self.method.lower(), None)
        described = (getattr(operation, "__doc__", "") or "").strip()
        return described.splitlines()[0].rstrip(".") if described else None


class _TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "rrm.api.auth.TokenAuthentication"
    name = "token"
    definition: ClassVar[dict[str, str]] = {
        "type": "http",
        "scheme": "bearer",
        "description": "A token with the scopes `read`, `render` or `operate`; each contains the ones before it.",
    }

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return self.definition


class _LoginScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "rrm.api.auth.LoginAuthentication"
    name = "login"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}


class _NodeScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "rrm.api.auth.NodeAuthentication"
    name = "node"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "The token that a node got when it registered."}


def file_responses(media_type: str, description: str, *, waits: bool = True) -> dict[Any, Any]:
    """The answers of a route that serves a file: whole, in part, unchanged, or not there yet."""
    whole = OpenApiResponse(OpenApiTypes.BINARY, description)
    responses: dict[Any, Any] = {
        (200, media_type): whole,
        (206, media_type): OpenApiResponse(OpenApiTypes.BINARY, "The part that `Range` asks for."),
        304: OpenApiResponse(description="Unchanged since the ETag in `If-None-Match`."),
        416: OpenApiResponse(description="`Range` lies outside the file."),
    }
    return responses | ({409: NOT_READY} if waits else {})
