"""`session/<command>`: what a session is told to do and asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

from django.conf import settings
from django.http import HttpResponse
from django.utils import timezone
from rest_framework.request import Request

from rrm.api.auth import Scope, access
from rrm.api.v1 import orders
from rrm.api.v1.answers import bare, contents, said
from rrm.api.v1.callers import may_configure
from rrm.api.v1.sessions import forget, named, session_of
from rrm.api.v1.views import V1View, fields_of
from rrm.domain.first_rrm import EARLIER, WORDS, Code, Seen, code_of
from rrm.domain.states import NodeState, SessionState
from rrm.errors import LauncherError, NotFound, RrmError, StateConflict
from rrm.farm import booking, nodes, reports, reserved, sessions
from rrm.farm.booking import Wish
from rrm.farm.models import Node, Session, Site
from rrm.launchers.base import Stream

GONE = "Job has been cancelled"
_UNAVAILABLE = "Rendering resource is currently unavailable"
_MOST_LINES = 10_000
_PATIENCE = timedelta(hours=24)  # programs of the first RRM decide for themselves how long they go on asking
_NO_PROCESS = "-1"
_Command = Callable[[Request, Session], HttpResponse]


class Command(V1View):
    """One of the commands below. Those that start something need PUT."""

    scopes = {"GET": Scope.RENDER, "PUT": Scope.RENDER}
    name = ""

    @property
    def allowed_methods(self) -> list[str]:
        return ["PUT"] if self.name in _STARTING else ["GET", "PUT"]

    def get(self, request: Request) -> HttpResponse:
        if self.name in _STARTING:
            self.http_method_not_allowed(request)
        return self._answer(request)

    def put(self, request: Request) -> HttpResponse:
        return self._answer(request)

    def _answer(self, request: Request) -> HttpResponse:
        session = session_of(request, access(request))
        sessions.touch(session.pk)
        return COMMANDS[self.name](request, session)


class Elsewhere(V1View):
    """What is the renderer's to answer: the gateway stands before Django and carries it there."""

    scopes = {"GET": Scope.RENDER, "PUT": Scope.RENDER}

    def get(self, request: Request, **_: str) -> HttpResponse:
        session_of(request, access(request))
        raise RrmError("Only the ASGI application carries requests to renderers.")

    put = get


def _open(request: Request, session: Session) -> HttpResponse:
    try:
        node = _start(request, session, [Site.Kind.LOCAL], as_batch=False)
    except StateConflict:
        return contents("process is already started", 401)
    return said({"message": "Process started", "processId": str(node.handle.get("pid", "")) if node else _NO_PROCESS})


def _schedule(request: Request, session: Session) -> HttpResponse:
    try:
        _start(request, session, [Site.Kind.SLURM], as_batch=True)
    except StateConflict:
        return contents("job is already scheduled", 401)
    return said({"message": f"{session.resource_id} successfully started"})


def _start(request: Request, session: Session, kinds: list[str], *, as_batch: bool) -> Node | None:
    """Find a renderer. Raises NoCapacity or LauncherError with the reason, StateConflict when that was done already."""
    options = orders.options_of(fields_of(request), as_batch=as_batch, may_mislead=may_configure(request))
    if not orders.needs_own(session.resource, options):
        wish = Wish(session.resource, session.model, _PATIENCE)
        return booking.open_reserved(session, wish, timezone.now()).node
    own = {"session": str(session.pk), **options}
    return reserved.open_own(session, Wish(session.resource, session.model, _PATIENCE, overrides=own), kinds)


def _status(request: Request, session: Session) -> HttpResponse:
    sessions.look_after(session, timezone.now())
    node = _node(session)
    code = code_of(_seen(session, node))
    if code is None:
        return _farewell(request, session)
    host, _, port = (node.address if node and session.state == SessionState.READY else "").rpartition(":")
    text = WORDS[code].format(session.resource_id)
    return said(_status_body(request, session, code, text, host.strip("[]"), port or "0"))


def _farewell(request: Request, session: Session) -> HttpResponse:
    """Its job is gone: told once."""
    forget(session)
    if session.ready_at is None:
        return bare(GONE, 404)
    return said(_status_body(request, session, Code.STOPPED, GONE, "", "0"), 404)


def _status_body(
    request: Request, session: Session, code: Code, text: str, host: str, port: str
) -> dict[str, str | int]:
    is_early = settings.RRM.v1_legacy == "1" and named(request)[1]
    number = EARLIER[code] if is_early else int(code)
    return {"session": str(session.pk), "code": number, "description": text, "hostname": host, "port": port}


def _seen(session: Session, node: Node | None) -> Seen:
    return Seen(
        state=SessionState(session.state),
        is_open=session.opened_at is not None,
        has_reason=bool(session.reason),
        node=NodeState(node.state) if node else None,
        is_batch=node is not None and node.site.kind == Site.Kind.SLURM,
        waits_at_site=node is not None and bool(node.reason),
        is_silent=node is not None
        and session.resource.wait_until_running
        and node.reason.startswith(reports.UNANSWERED),
    )


def _node(session: Session) -> Node | None:
    try:
        return sessions.node_of(session)
    except StateConflict:
        return None


def _log(stream: Stream) -> _Command:
    def answer(request: Request, session: Session) -> HttpResponse:
        node = _node(session)
        if node is None:
            return contents(session.reason or _UNAVAILABLE)
        try:
            return contents(nodes.log(node, stream, _MOST_LINES) or _why(node, stream))
        except LauncherError:
            return contents("Not currently available")

    return answer


def _why(node: Node, stream: Stream) -> str:
    """Of a node that ended without a word, what is known here."""
    return node.reason if stream == "err" else ""


def _job(request: Request, session: Session) -> HttpResponse:
    node = _node(session)
    if node is None:
        return contents(session.reason or _UNAVAILABLE)
    return contents(nodes.account(node))


def _imagefeed(request: Request, session: Session) -> HttpResponse:
    """Where the renderer's stream of pictures is, without its scheme, as the clients of that time write it."""
    if settings.RRM.v1_legacy == "0":
        raise NotFound("There is no image feed.")
    return said({"uri": f"{request.get_host()}/rendering-resource-manager/v1/session/stream?session_id={session.pk}"})


COMMANDS: Mapping[str, _Command] = {
    "open": _open,
    "schedule": _schedule,
    "status": _status,
    "log": _log("out"),
    "err": _log("err"),
    "job": _job,
    "imagefeed": _imagefeed,
}
_STARTING = frozenset({"open", "schedule"})
