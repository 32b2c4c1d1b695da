"""`session/`: reserved for an owner and a configuration, listed, ended."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from rest_framework.request import Request

from rrm.api.auth import Access, Scope, access
from rrm.api.v1.answers import contents, said
from rrm.api.v1.config import UNKNOWN
from rrm.api.v1.views import V1View, fields_of
from rrm.domain.states import SESSION_OPEN, SessionState
from rrm.errors import Invalid, NotFound
from rrm.farm import booking, sessions
from rrm.farm.models import Resource, Session

COOKIE = "HBP"
NO_ID = "Cookie is missing"
NO_SESSION = "Session does not exist"
NO_ROW = "Session matching query does not exist."
_LONGEST_OWNER = 200


def existing(caller: Access) -> QuerySet[Session]:
    """The caller's sessions that exist in the first RRM's sense: it removed those that had ended.

    One that failed is there until its program has been told, or has not asked for too long.
    """
    since = timezone.now() - settings.RRM.session_idle
    untold = Q(state=SessionState.FAILED, told_at=None, finished_at__gt=since)
    found = Session.objects.select_related("node__site", "resource", "owner")
    found = found.filter(Q(state__in=SESSION_OPEN) | untold)
    return found if caller.operator else found.filter(owner=caller.user)


def named(request: HttpRequest | Request) -> tuple[str, bool]:
    """The id that a request names, and whether only its cookie does; empty where there is none."""
    query = request.GET
    names = ("session_id",) if settings.RRM.v1_legacy == "0" else ("session_id", "sessionid")
    id = next((query[name] for name in names if query.get(name)), "")
    if id or settings.RRM.v1_legacy == "0":
        return id, False
    return request.COOKIES.get(COOKIE, ""), True


def session_of(request: HttpRequest | Request, caller: Access, unknown: str = NO_SESSION) -> Session:
    """The session that a request names. Raises NotFound in the first RRM's words."""
    id, _ = named(request)
    if not id:
        raise NotFound(NO_ID)
    return found(id, caller, unknown)


def found(id: str, caller: Access, unknown: str) -> Session:
    try:
        row = existing(caller).filter(pk=UUID(id)).first()
    except ValueError:
        row = None
    if row is None:
        raise NotFound(unknown)
    return row


def forget(session: Session) -> None:
    """A program was told that the session is over, and never hears of it again."""
    Session.objects.filter(pk=session.pk, told_at=None).update(told_at=timezone.now())


class Sessions(V1View):
    scopes = {"GET": Scope.READ, "POST": Scope.RENDER, "DELETE": Scope.RENDER}

    def get(self, request: Request) -> HttpResponse:
        return said([_body(row) for row in existing(access(request)).order_by("created_at", "id")])

    def post(self, request: Request) -> HttpResponse:
        body = _named_fields(request)
        if missing := next((name for name in ("owner", "configuration_id") if name not in body), None):
            return HttpResponse(f"'{missing}'", status=401, content_type="text/html; charset=utf-8")
        session = booking.reserve(access(request).user, booking.Wish(_resource(body), label=_owner(body)))
        answer = said({"session_id": str(session.pk)}, 201)
        if settings.RRM.v1_legacy != "0":
            _set_cookie(answer, str(session.pk), is_secure=request.is_secure())
        return answer

    def delete(self, request: Request) -> HttpResponse:
        session = session_of(request, access(request), NO_ROW)
        if session.state in SESSION_OPEN:
            sessions.end(session, access(request).user.get_username())
        forget(session)
        answer = contents("Session successfully destroyed")
        if named(request)[1]:
            answer.delete_cookie(COOKIE)
        return answer


class SessionDetail(V1View):
    scopes = {"GET": Scope.READ}

    def get(self, request: Request, id: str) -> HttpResponse:
        return said(_body(found(id, access(request), NO_ROW)))


def _body(row: Session) -> dict[str, str]:
    return {"id": str(row.pk), "owner": row.label or row.owner.get_username(), "configuration_id": row.resource_id}


def _named_fields(request: Request) -> dict[str, Any]:
    body = fields_of(request)
    if settings.RRM.v1_legacy != "0" and "renderer_id" in body:  # its name before 0.7
        body.setdefault("configuration_id", body["renderer_id"])
    return body


def _resource(body: dict[str, Any]) -> Resource:
    found = Resource.objects.filter(pk=str(body["configuration_id"]).lower()).first()
    if found is None:
        raise NotFound(UNKNOWN)
    return found


def _owner(body: dict[str, Any]) -> str:
    """What the program calls whoever it acts for: a word for people, no account."""
    owner = str(body["owner"])
    if len(owner) > _LONGEST_OWNER:
        raise Invalid("owner", f"Must have at most {_LONGEST_OWNER} characters.")
    return owner


def _set_cookie(answer: HttpResponse, id: str, *, is_secure: bool) -> None:
    """Pages of other sites need one that is sent across sites, which browsers allow over https alone."""
    answer.set_cookie(COOKIE, id, secure=is_secure, httponly=True, samesite="None" if is_secure else "Lax")
