"""Sessions: booking a renderer for somebody who is looking at it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import django_filters
from django.db.models import QuerySet
from django.http import HttpResponse, StreamingHttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from rrm.api import streams
from rrm.api.auth import Access, Scope, access
from rrm.api.fields import Number, Slug, StrictSerializer, Text
from rrm.api.filters import Filters, OneOf
from rrm.api.schema import EVENT_STREAM, LAST_EVENT, LOCATION
from rrm.api.v2.locations import at
from rrm.api.v2.nodes import lines_of
from rrm.api.views import ApiView, ListView, refuse_fields, valid
from rrm.domain.states import SessionState
from rrm.errors import Invalid, RrmError
from rrm.farm import booking, jobs, nodes, sessions
from rrm.farm.models import Resource, Session
from rrm.farm.transitions import iso

LONGEST_WAIT = 86_400
LONGEST_IDLE = 86_400
DEFAULT_WAIT = 30
_CONFLICT = OpenApiResponse(description="`state-conflict`: the present state does not allow this.")
_PAUSE = OpenApiParameter(
    "Retry-After", int, OpenApiParameter.HEADER, response=[202, 503], description="Seconds after which to look again."
)


class NoGateway(RrmError):
    status = 501
    code = "no-gateway"
    title = "This process carries no requests to nodes; ask one that runs under ASGI"


class SessionOrderSerializer(StrictSerializer):
    """What is to be booked, and for how long its user would wait for it."""

    resource = Slug(required=False, allow_null=True, default=None, help_text="May be left out where there is only one.")
    model = Text(required=False, allow_null=True, default=None, max_length=100, help_text="Its id or name.")
    params = serializers.JSONField(required=False, default=None, help_text="The view, in place of a model.")
    max_wait = Number(min_value=0, max_value=LONGEST_WAIT, default=DEFAULT_WAIT, help_text="Seconds; 0: now or never.")
    idle_timeout = Number(
        min_value=1, max_value=LONGEST_IDLE, required=False, allow_null=True, help_text="Seconds without use."
    )
    label = Text(max_length=200, allow_blank=True, default="")  # type: ignore[assignment]  # Field has one of its own


class SessionSerializer(serializers.Serializer[Any]):
    """A booking of one node."""

    id = serializers.UUIDField()
    label = serializers.CharField(allow_blank=True)  # type: ignore[assignment]
    owner = serializers.CharField()
    state = serializers.CharField(help_text=", ".join(SessionState))
    reason = serializers.CharField(allow_blank=True)
    position = serializers.IntegerField(allow_null=True, help_text="While it waits: 1 is served next.")
    resource = serializers.CharField()
    node = serializers.UUIDField(allow_null=True)
    site = serializers.CharField(allow_null=True)
    model = serializers.UUIDField(allow_null=True)
    warm = serializers.BooleanField(help_text="Its node held the model already.")
    url = serializers.CharField(help_text="What lies under it goes to the node; every method.")
    ws_url = serializers.CharField(help_text="The node's WebSocket.")
    idle_timeout = serializers.IntegerField(help_text="Seconds without use after which it ends.")
    created_at = serializers.DateTimeField()
    ready_at = serializers.DateTimeField(allow_null=True)
    wait_until = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True, help_text="When it ends if nobody uses it.")
    hard_expires_at = serializers.DateTimeField(allow_null=True, help_text="When it ends in any case.")
    finished_at = serializers.DateTimeField(allow_null=True)


class ExtensionSerializer(StrictSerializer):
    seconds = Number(min_value=1, max_value=LONGEST_IDLE)


class SessionFilters(Filters):
    state = OneOf(SessionState)
    owner = django_filters.CharFilter(field_name="owner__username")
    resource = django_filters.CharFilter(field_name="resource_id")
    node = django_filters.UUIDFilter(field_name="node_id")


def sessions_of(viewer: Access) -> QuerySet[Session]:
    """Those that the viewer may see."""
    found = Session.objects.select_related("node", "owner")
    return found if viewer.operator else found.filter(owner=viewer.user)


def session_of(request: Request, id: UUID) -> Session:
    """The session of this id, if the caller may see it. Raises NotFound."""
    viewer = access(request)
    return sessions.find(id, None if viewer.operator else viewer.user)


def bodies(rows: Sequence[Session], request: Request) -> list[dict[str, Any]]:
    places = booking.positions(rows)
    return [_body(row, places.get(row.pk), request) for row in rows]


def body_of(row: Session, request: Request) -> dict[str, Any]:
    return bodies([row], request)[0]


def _body(row: Session, position: int | None, request: Request) -> dict[str, Any]:
    url = request.build_absolute_uri(f"{at('session', row.pk)}proxy/")
    return {
        "id": str(row.pk),
        "label": row.label,
        "owner": row.owner.get_username(),
        "state": str(row.state),
        "reason": row.reason,
        "position": position,
        "resource": row.resource_id,
        "node": str(row.node_id) if row.node_id else None,
        "site": row.node.site_id if row.node else None,
        "model": str(row.model_id) if row.model_id else None,
        "warm": row.warm,
        "url": url,
        "ws_url": f"ws{url.removeprefix('http')}ws",
        "idle_timeout": row.idle_seconds,
        **{
            name: iso(instant) if (instant := getattr(row, name)) else None
            for name in ("created_at", "ready_at", "wait_until", "expires_at", "hard_expires_at", "finished_at")
        },
    }


def wish_of(body: dict[str, Any]) -> booking.Wish:
    """What an accepted body asks for. Raises Invalid."""
    with Invalid.collected() as check:
        resource = check(lambda: _resource(body["resource"]))
        if body["model"] is not None and body["params"] is not None:
            check(lambda: _refuse("params", "Give a model or params, not both."))
        model = check(lambda: jobs.render_model(body["model"], body["params"]))
        if resource and model and resource.renderer != model.renderer:
            check(lambda: _refuse("model", f"The resource {resource.pk!r} is a program that takes no models."))
    if resource is None:
        raise AssertionError("unreachable: what is wrong with the resource was raised")
    idle = body.get("idle_timeout")
    return booking.Wish(
        resource=resource,
        model=model,
        max_wait=timedelta(seconds=body["max_wait"]),
        idle=timedelta(seconds=idle) if idle else None,
        label=body["label"],
    )


def _refuse(name: str, message: str) -> None:
    raise Invalid(name, message)


def _resource(wanted: str | None) -> Resource:
    if wanted is None:
        return jobs.resource_for(None)
    found = Resource.objects.filter(pk=wanted).first()
    if found is None:
        raise Invalid("resource", f"There is no resource {wanted!r}.")
    return found


class Sessions(ListView):
    scopes = {"GET": Scope.READ, "POST": Scope.RENDER}
    queryset = Session.objects.all()
    filterset_class = SessionFilters
    serializer_class = SessionSerializer
    ordering_fields = ("-created_at", "state")

    @extend_schema(operation_id="session_list", responses=SessionSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List your sessions (everybody's, for operators), the newest first."""
        return self.page(sessions_of(access(request)))

    def serialize(self, rows: Any) -> Any:
        return bodies(rows, self.request)

    @extend_schema(
        operation_id="session_create",
        parameters=[LOCATION, _PAUSE],
        request=SessionOrderSerializer,
        responses={
            201: SessionSerializer,
            202: OpenApiResponse(SessionSerializer, description="No renderer is free yet; one can be expected."),
            503: OpenApiResponse(
                description="`no-capacity`, with `position` and `eta_seconds`: nothing was booked; or `suspended`."
            ),
        },
    )
    def post(self, request: Request) -> Response:
        """Book a renderer."""
        wish = wish_of(valid(SessionOrderSerializer(data=request.data)))
        session = booking.book(access(request).user, wish, timezone.now())
        ready = session.state == SessionState.READY
        headers = {"Location": at("session", session.pk), **({} if ready else {"Retry-After": "1"})}
        return Response(body_of(session, request), status=201 if ready else 202, headers=headers)


class SessionDetail(ApiView):
    scopes = {"GET": Scope.READ, "DELETE": Scope.RENDER}

    @extend_schema(operation_id="session_retrieve", responses=SessionSerializer)
    def get(self, request: Request, id: UUID) -> Response:
        """Show a session."""
        return Response(body_of(session_of(request, id), request))

    @extend_schema(operation_id="session_delete", responses={204: None, 409: _CONFLICT})
    def delete(self, request: Request, id: UUID) -> Response:
        """End a session; one that is over already stays as it is."""
        session = session_of(request, id)
        if session.state in (SessionState.PENDING, SessionState.READY):
            sessions.end(session, access(request).user.get_username())
        return Response(status=204)


class SessionKeepalive(ApiView):
    scopes = {"POST": Scope.RENDER}

    @extend_schema(operation_id="session_keepalive", request=None, responses={200: SessionSerializer, 409: _CONFLICT})
    def post(self, request: Request, id: UUID) -> Response:
        """Say that the session is still wanted, though nothing is asked of its node."""
        refuse_fields(request)
        session = session_of(request, id)
        sessions.keepalive(session)
        return Response(body_of(session, request))


class SessionExtend(ApiView):
    scopes = {"POST": Scope.RENDER}

    @extend_schema(
        operation_id="session_extend", request=ExtensionSerializer, responses={200: SessionSerializer, 409: _CONFLICT}
    )
    def post(self, request: Request, id: UUID) -> Response:
        """Move the end of a session later, as far as the limits allow."""
        session, by = session_of(request, id), valid(ExtensionSerializer(data=request.data))
        sessions.extend(session, timedelta(seconds=by["seconds"]), access(request).user.get_username())
        return Response(body_of(session, request))


class SessionLog(ApiView):
    scopes = {"GET": Scope.RENDER}
    query = ("stream", "tail")

    @extend_schema(
        operation_id="session_log",
        parameters=[
            OpenApiParameter("stream", str, enum=["out", "err"], default="err"),
            OpenApiParameter("tail", int, default=200),
        ],
        responses={(200, "text/plain"): OpenApiTypes.STR, 409: _CONFLICT},
    )
    def get(self, request: Request, id: UUID) -> HttpResponse:
        """The last lines that the session's node wrote."""
        return lines_of(request, sessions.node_of(session_of(request, id)))


class SessionJob(ApiView):
    scopes = {"GET": Scope.RENDER}

    @extend_schema(operation_id="session_job", responses={(200, "text/plain"): OpenApiTypes.STR, 409: _CONFLICT})
    def get(self, request: Request, id: UUID) -> HttpResponse:
        """What the node's site says of the job or process that runs it, in its own words."""
        text = nodes.account(sessions.node_of(session_of(request, id)))
        return HttpResponse(text, content_type="text/plain; charset=utf-8")


class SessionEvents(ApiView):
    scopes = {"GET": Scope.READ}
    query = ("last_event_id",)

    @extend_schema(
        operation_id="session_events",
        parameters=LAST_EVENT,
        responses={(200, EVENT_STREAM): OpenApiResponse(OpenApiTypes.STR, "`session` and `warning`.")},
    )
    def get(self, request: Request, id: UUID) -> StreamingHttpResponse:
        """Follow a session, from its beginning or from the last event seen (Server-Sent Events)."""
        return streams.session_events(request, session_of(request, id).pk)


_CARRIED = {
    (200, "*/*"): OpenApiTypes.BINARY,
    409: _CONFLICT,
    501: OpenApiResponse(description="`no-gateway`: this process carries nothing; ask one that runs under ASGI."),
    502: OpenApiResponse(description="`node-unreachable` or `node-failed`, with the reason."),
    504: OpenApiResponse(description="`node-timeout`."),
}


class SessionProxyPlace(ApiView):
    """Describes what `rrm.api.v2.proxy` does before Django is asked; a server without it answers from here."""

    scopes = dict.fromkeys(("GET", "POST", "PUT", "PATCH", "DELETE"), Scope.RENDER)

    def check_query(self, request: Request) -> None:
        """The node's affair."""

    @extend_schema(operation_id="session_proxy_get", responses=_CARRIED)
    def get(self, request: Request, id: UUID, path: str) -> Response:
        """Ask the session's node: headers, body and answer pass as they are. A WebSocket upgrade passes too."""
        raise NoGateway

    @extend_schema(operation_id="session_proxy_post", request=OpenApiTypes.BINARY, responses=_CARRIED)
    def post(self, request: Request, id: UUID, path: str) -> Response:
        """Send something to the session's node."""
        raise NoGateway

    @extend_schema(operation_id="session_proxy_put", request=OpenApiTypes.BINARY, responses=_CARRIED)
    def put(self, request: Request, id: UUID, path: str) -> Response:
        """Put something at the session's node."""
        raise NoGateway

    @extend_schema(operation_id="session_proxy_patch", request=OpenApiTypes.BINARY, responses=_CARRIED)
    def patch(self, request: Request, id: UUID, path: str) -> Response:
        """Change something at the session's node."""
        raise NoGateway

    @extend_schema(operation_id="session_proxy_delete", responses=_CARRIED)
    def delete(self, request: Request, id: UUID, path: str) -> Response:
        """Delete something at the session's node."""
        raise NoGateway
