"""A program of the first RRM, and a farm with a configuration that it knows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.utils import timezone

from rrm.api.v1 import peers
from rrm.farm import nodes, reports, reserved, sessions
from rrm.farm.models import Node, Resource, ResourceSite, Session
from tests.integration.farm.conftest import Farm

V1 = "/rendering-resource-manager/v1/"
HTML = "text/html; charset=utf-8"


@dataclass
class Program:
    """Sends what the first RRM's clients sent; keeps cookies as browsers do."""

    headers: dict[str, str] = field(default_factory=dict)
    http: Client = field(default_factory=Client)
    is_secure: bool = False

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.generic(
            method,
            V1 + path,
            data=body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode(),
            content_type=sent.pop("Content-Type", "application/json"),
            headers={**self.headers, **sent},
            secure=self.is_secure,
        )

    def reserve(self, configuration: str = "viewer") -> str:
        answer = self.call("POST", "session/", {"owner": "bbpvizuser", "configuration_id": configuration})
        assert answer.status_code == 201, answer.content
        return str(json.loads(answer.content)["session_id"])

    def status(self, id: str) -> tuple[int, Any]:
        """The HTTP status, and the number of the session's or the whole body where it has none."""
        answer = self.call("GET", f"session/status?session_id={id}")
        try:
            body = json.loads(answer.content)
        except ValueError:
            return answer.status_code, answer.content.decode()
        return answer.status_code, body.get("code", body)


def body_of(answer: Any) -> Any:
    """The JSON of an answer that calls itself HTML."""
    assert answer.headers["Content-Type"] == HTML
    return json.loads(answer.content)


def checked_in(id: str) -> Node:
    """The node that was started for this session, once its program answers, and the session has it."""
    node = Node.objects.filter(reserved_for=UUID(id)).latest("requested_at")
    Node.objects.filter(pk=node.pk).update(handle={"name": node.name, "pid": 4711}, state="SUBMITTED")
    host = "10.0.0.5" if node.site.is_remote else "127.0.0.1"
    report = {"node": node.name, "hostname": "h", "version": "1", "cores": 1, "address": f"{host}:5000"}
    reports.register(nodes.launch_token(node.name), report)
    sessions.turn(timezone.now())
    node.refresh_from_db()
    assert Session.objects.get(pk=id).state == "READY"
    return node


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no worker that would ask a site: nobody waits for its answer."""
    monkeypatch.setattr(reserved, "ANSWER_WITHIN", timedelta())


@pytest.fixture
def own_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller is who runs the manager."""
    monkeypatch.setattr(peers, "is_own", lambda meta: True)


@pytest.fixture
def viewer(farm: Farm) -> Resource:
    """A configuration as the first RRM had them."""
    row = Resource.objects.create(id="viewer", renderer="external", command_line="/opt/viewer", max_nodes=50)
    ResourceSite.objects.create(resource=row, site=farm.site)
    return row


@pytest.fixture
def program(viewer: Resource, own_machine: None) -> Program:
    return Program()


@pytest.fixture
def switch(settings: Any) -> Callable[..., None]:
    """Change what an operator sets."""

    def change(**values: Any) -> None:
        settings.RRM = replace(settings.RRM, **values)

    return change
