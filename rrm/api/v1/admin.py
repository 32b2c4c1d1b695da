"""`admin/<command>`: what the first RRM meant for its administrators."""

from __future__ import annotations

from django.http import HttpResponse
from rest_framework.request import Request

from rrm.api.auth import Scope, access
from rrm.api.v1.answers import bare
from rrm.api.v1.callers import require_configuring
from rrm.api.v1.sessions import session_of
from rrm.api.v1.views import V1View
from rrm.farm import sessions


class Admin(V1View):
    scopes = {"PUT": Scope.RENDER}

    def put(self, request: Request, command: str) -> HttpResponse:
        if command == "keepalive":
            session = session_of(request, access(request))
            sessions.touch(session.pk)
            return bare(f"Session {session.pk} is kept alive")
        if command in ("suspend", "resume"):
            require_configuring(request)
            return bare(f"Creation of new session {_switch(command, access(request).user.get_username())}")
        return bare(f"{command} is an invalid command", 401)


def _switch(command: str, actor: str) -> str:
    is_wanted = command == "suspend"
    if sessions.are_suspended() == is_wanted:
        return f"already {'suspended' if is_wanted else 'resumed'}"
    if is_wanted:
        sessions.suspend(actor, "")
    else:
        sessions.resume(actor)
    return f"now {'suspended' if is_wanted else 'resumed'}"
