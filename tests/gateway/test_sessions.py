"""The whole way with nothing standing in: a booked session, its node, and the application as it is served."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import uvicorn
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from rrm.asgi import application
from rrm.farm import nodes
from rrm.farm.models import Node as NodeRow
from rrm.farm.models import Session, Site
from rrm.gateway import links
from tests.factories import Caller, caller, person
from tests.gateway.servers import Node, front, serving, until
from tests.integration.farm.conftest import Farm

V2 = "/rendering-resource-manager/v2/"


class Manager:
    """The application on a port, with a node that serves people."""

    def __init__(self, port: int, node: Node, node_port: int) -> None:
        self.url, self.node = f"http://127.0.0.1:{port}", node
        self.farm = Farm()
        self.row = self.farm.node(answers=True)
        NodeRow.objects.update(address=f"127.0.0.1:{node_port}")
        self.owner = caller(self.farm.owner)

    def call(self, method: str, path: str, by: Caller | None = None, **more: Any) -> httpx.Response:
        headers = (by or self.owner).headers
        url = path if path.startswith("http") else self.url + V2 + path
        return httpx.request(method, url, headers=headers, timeout=20, trust_env=False, **more)

    def book(self) -> dict[str, Any]:
        answer = self.call("POST", "session/", json={"max_wait": 0})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())


@pytest.fixture
def manager(transactional_db: None) -> Iterator[Manager]:
    node = Node()
    config = uvicorn.Config(node, http="httptools", ws="websockets-sansio", lifespan="off", log_level="critical")
    with contextlib.ExitStack() as stack:
        node_port = stack.enter_context(serving(config))
        yield Manager(stack.enter_context(front(application, 20.0)), node, node_port)
    links.close_idle()


def test_a_booked_node_is_reached_at_the_addresses_that_the_session_names(manager: Manager) -> None:
    session = manager.book()
    place = httpx.URL(manager.url).join(session["url"])

    answer = manager.call("PUT", f"{place}camera", content=b"{}")

    assert answer.status_code == 201, answer.text
    seen = dict(answer.json()["headers"])
    token = nodes.launch_token(manager.row.name)
    assert seen["x-rrm-key"] == hmac.new(token.encode(), b"session side", hashlib.sha256).hexdigest()
    assert seen["x-rrm-session"] == session["id"]
    ws = str(httpx.URL(manager.url.replace("http", "ws")).join(session["ws_url"]))
    with connect(ws, additional_headers=manager.owner.headers, proxy=None) as opened:
        opened.send("x")
        assert opened.recv(20) == "x"


def test_using_the_node_renews_the_session(manager: Manager) -> None:
    session = manager.book()
    row = Session.objects.get(pk=session["id"])
    Session.objects.update(expires_at=row.expires_at and row.expires_at - timedelta(seconds=100))

    manager.call("GET", f"session/{session['id']}/proxy/registry")

    until(lambda: (Session.objects.get().expires_at or row.created_at) >= (row.expires_at or row.created_at))


def test_one_that_is_used_does_not_end_however_soon_it_would_unused(manager: Manager) -> None:
    id = manager.call("POST", "session/", json={"max_wait": 0, "idle_timeout": 1}).json()["id"]
    first = Session.objects.get().expires_at
    assert first is not None

    def is_renewed() -> bool:
        assert manager.call("GET", f"session/{id}/proxy/registry").status_code == 201
        return (Session.objects.get().expires_at or first) > first + timedelta(seconds=1)

    until(is_renewed)  # beyond the time at which it would have ended, and the one after that


def test_nobody_else_gets_through_and_nobody_after_its_end(manager: Manager) -> None:
    id = manager.book()["id"]
    for stranger, status in ((Caller(), 401), (caller(person("eve")), 404)):
        assert manager.call("GET", f"session/{id}/proxy/x", by=stranger).status_code == status
    operator = caller(person("olga", is_operator=True))
    assert manager.call("GET", f"session/{id}/proxy/x", by=operator).status_code == 201

    assert manager.call("DELETE", f"session/{id}/").status_code in (200, 204)

    answer = manager.call("GET", f"session/{id}/proxy/x")
    assert (answer.status_code, answer.json()["code"]) == (409, "state-conflict")
    ws = f"{manager.url.replace('http', 'ws')}{V2}session/{id}/proxy/ws"
    with pytest.raises(InvalidStatus) as caught, connect(ws, additional_headers=manager.owner.headers, proxy=None):
        pass
    assert caught.value.response.status_code == 409


def test_a_site_whose_host_is_away_is_told(manager: Manager) -> None:
    session = manager.book()
    Site.objects.update(kind="ssh", host="127.0.0.1", port=1, username="nobody", connection="tunnel", host_key="x y")

    answer = manager.call("GET", f"session/{session['id']}/proxy/x")

    assert (answer.status_code, answer.json()["code"]) == (502, "node-unreachable")
