"""`session/<anything else>` over real connections: to the renderer and back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import uvicorn

from rrm.asgi import application
from rrm.farm import nodes
from rrm.farm.models import Node as NodeRow
from rrm.farm.models import Resource, ResourceSite, Session
from rrm.gateway import links
from tests import factories as make
from tests.factories import Caller
from tests.gateway.servers import Node, front, serving, until
from tests.integration.api.v1.conftest import V1, checked_in
from tests.integration.farm.conftest import Farm


class Server:
    """The application on a port, and a renderer that says what it was asked."""

    def __init__(self, port: int, node: Node, node_port: int) -> None:
        self.url, self.node, self.node_port = f"http://127.0.0.1:{port}{V1}", node, node_port
        self.farm = Farm()
        viewer = Resource.objects.create(id="viewer", renderer="external", command_line="/opt/viewer", max_nodes=9)
        ResourceSite.objects.create(resource=viewer, site=self.farm.site)

    def call(self, method: str, path: str, by: Caller | None = None, **more: Any) -> httpx.Response:
        headers = {**(by.headers if by else {}), **more.pop("headers", {})}
        return httpx.request(method, self.url + path, headers=headers, timeout=20, trust_env=False, **more)

    def running(self, by: Caller | None = None, configuration: str = "viewer") -> str:
        order = {"owner": "x", "configuration_id": configuration}
        id = str(self.call("POST", "session/", by, json=order).json()["session_id"])
        assert self.call("PUT", f"session/open?session_id={id}", by, json={}).status_code == 200
        if configuration == "viewer":
            checked_in(id)
        NodeRow.objects.update(address=f"127.0.0.1:{self.node_port}")
        return id


@pytest.fixture
def server(transactional_db: None) -> Iterator[Server]:
    node = Node()
    config = uvicorn.Config(node, http="httptools", ws="websockets-sansio", lifespan="off", log_level="critical")
    with contextlib.ExitStack() as stack:
        node_port = stack.enter_context(serving(config))
        yield Server(stack.enter_context(front(application, 20.0)), node, node_port)
    links.close_idle()


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_request_goes_to_the_renderer_and_its_answer_comes_back(server: Server, method: str) -> None:
    id = server.running()
    answer = server.call(method, f"session/CAMERA/x?session_id={id}&a=1", content=b'{"matrix": []}')
    seen = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Content-Type"] == "application/json"
    assert (seen["raw_path"], seen["query"], seen["method"], seen["length"]) == ("/CAMERA/x", "a=1", method, 14)


def test_the_renderer_learns_nothing_that_would_let_it_act_for_the_client(server: Server) -> None:
    ada = make.caller(server.farm.owner)
    id = server.running(ada)
    headers = {"Cookie": f"HBP={id}", "HBP": "viewer"}
    seen = server.call("GET", f"session/camera?session_id={id}", ada, headers=headers)
    told = dict(seen.json()["headers"])
    assert not {"authorization", "cookie"} & set(told)
    assert id not in seen.json()["query"]
    assert "set-cookie" not in seen.headers


def test_only_who_may_gets_through(server: Server) -> None:
    ada, eve = make.caller(server.farm.owner), make.caller(make.person("eve"))
    id = server.running(ada)
    path = f"session/camera?session_id={id}"
    for other in (eve, None):
        answer = server.call("GET", path, other)
        assert (answer.status_code, answer.json()) == (404, {"contents": "Session does not exist"})
    assert server.call("GET", path, Caller("rrm_wrong")).status_code == 401
    assert server.call("GET", path, make.caller(server.farm.owner, "read")).status_code == 403
    assert server.call("GET", path, ada, headers={"Origin": "https://evil.example"}).status_code == 403
    assert server.call("GET", path, ada, headers={"Host": "evil.example"}).status_code == 400
    assert server.node.requests == []
    assert server.call("GET", path, make.caller(make.person("olga", is_operator=True))).status_code == 201


@pytest.mark.parametrize("cookie", ["", "rrm-session-9000=abc"])
def test_without_a_session_it_says_so_in_the_old_words(server: Server, cookie: str) -> None:
    answer = server.call("GET", "session/camera", headers={"Cookie": cookie})
    assert (answer.status_code, answer.json()) == (404, {"contents": "Cookie is missing"})
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"


def test_other_methods_are_not_forwarded(server: Server) -> None:
    id = server.running()
    for method in ("POST", "DELETE", "PATCH"):
        answer = server.call(method, f"session/camera?session_id={id}", json={})
        assert (answer.status_code, answer.json()) == (405, {"detail": f"Method '{method}' not allowed."})


def test_nothing_is_tried_before_the_renderer_answers(server: Server) -> None:
    id = server.call("POST", "session/", json={"owner": "x", "configuration_id": "viewer"}).json()["session_id"]
    answer = server.call("GET", f"session/camera?session_id={id}")
    assert answer.status_code == 400
    assert "PENDING" in answer.json()["contents"]


@pytest.mark.parametrize("path", ["a/%2e%2e/b", "a%2f..%2fb", "a//..;/b", "a%0d%0ab"])
def test_path_games_are_refused(server: Server, path: str) -> None:
    id = server.running()
    raw = httpx.URL(server.url).copy_with(raw_path=f"{V1}session/{path}?session_id={id}".encode())
    answer = httpx.get(raw, timeout=20, trust_env=False)
    assert answer.status_code in (400, 404)
    assert server.node.requests == []


def test_a_renderer_that_cannot_be_reached_is_400(server: Server) -> None:
    id = server.running()
    NodeRow.objects.update(address="127.0.0.1:9")
    answer = server.call("GET", f"session/camera?session_id={id}")
    assert (answer.status_code, list(answer.json())) == (400, ["contents"])


def test_using_the_renderer_renews_the_session(server: Server) -> None:
    id = server.running()
    before = Session.objects.get().expires_at
    assert before
    Session.objects.update(expires_at=before - timedelta(seconds=100))
    server.call("GET", f"session/camera?session_id={id}")
    until(lambda: (Session.objects.get().expires_at or before) >= before)


def test_a_page_of_a_listed_origin_reads_the_answer(server: Server, switch: Callable[..., None]) -> None:
    switch(v1_origins=("https://viewer.example",), v1_legacy="1")
    id = server.running()
    headers = {"Origin": "https://viewer.example", "Cookie": f"HBP={id}"}
    answer = server.call("GET", "session/camera", headers=headers)
    assert answer.status_code == 201
    assert answer.headers["Access-Control-Allow-Origin"] == "https://viewer.example"
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    refused = server.call("GET", "session/camera", headers={"Origin": "https://viewer.example"})
    assert refused.status_code == 404
    assert refused.headers["Access-Control-Allow-Origin"] == "https://viewer.example"


def test_our_own_renderers_are_reached_with_their_key(server: Server) -> None:
    row = server.farm.node(answers=True)
    id = server.running(configuration="mandelbrot")
    seen = server.call("GET", f"session/registry?session_id={id}").json()
    assert dict(seen["headers"])["x-rrm-key"] == nodes.session_key(row.name)


@pytest.mark.parametrize("use", ["script", "style", "iframe", "serviceworker"])
def test_what_a_renderer_sends_becomes_no_part_of_a_page(server: Server, use: str) -> None:
    id = server.running()
    headers = {"Sec-Fetch-Dest": use, "Sec-Fetch-Site": "same-origin"}
    assert server.call("GET", f"session/x.js?session_id={id}", headers=headers).status_code == 403
    assert server.node.requests == []


def test_without_the_switch_an_image_feed_is_the_renderers_affair(server: Server) -> None:
    id = server.running()
    assert server.call("GET", f"session/imagefeed?session_id={id}").json()["raw_path"] == "/imagefeed"


def test_who_runs_the_manager_needs_no_token_to_register_a_program(server: Server) -> None:
    answer = server.call("POST", "config/", json={"id": "new", "command_line": "/opt/new"})
    assert answer.status_code == 201, answer.text
    forwarded = {"X-Forwarded-For": "127.0.0.1"}
    assert server.call("POST", "config/", json={"id": "x", "command_line": "x"}, headers=forwarded).status_code == 401
