"""Who may reach a node through the gateway: the answers are those of every other route."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from rrm.farm import tokens
from tests import factories as make
from tests.factories import Caller
from tests.gateway.conftest import Gate

CSRF = "c" * 32


def refused(gate: Gate, by: Caller, **more: Any) -> tuple[int, str]:
    with gate.client(by, **more) as client:
        answer = client.get("/")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert not gate.node.requests
    return answer.status_code, answer.json()["code"]


def page_of(gate: Gate, user: User, **headers: str) -> httpx.Client:
    """A browser in which the user has logged in, on a page of this server."""
    browser = Client()
    browser.force_login(user)
    cookies = {
        settings.SESSION_COOKIE_NAME: browser.cookies[settings.SESSION_COOKIE_NAME].value,
        settings.CSRF_COOKIE_NAME: CSRF,
    }
    base = gate.url + gate.path("")
    return httpx.Client(base_url=base, cookies=cookies, headers=headers, timeout=20, trust_env=False)


def test_nobody_and_unknown_tokens_are_asked_for_credentials(gate: Gate) -> None:
    for nobody in (Caller(), Caller("rrm_nonsense"), Caller(gate.owner.secret, "Basic"), Caller("")):
        assert refused(gate, nobody) == (401, "unauthorised")
    with gate.client(Caller()) as client:
        assert client.get("/").headers["WWW-Authenticate"] == 'Bearer realm="rrm"'


def test_a_token_that_may_only_look_is_not_enough(gate: Gate, reader: Caller) -> None:
    assert refused(gate, reader) == (403, "forbidden")


def test_nodes_have_no_business_here(gate: Gate) -> None:
    site = make.site("here")
    _, node = make.registered_node(make.resource(site), site)
    assert refused(gate, node) == (401, "unauthorised")


def test_sessions_of_others_do_not_exist(gate: Gate, stranger: Caller) -> None:
    assert refused(gate, stranger) == (404, "not-found")


def test_an_operator_reaches_everybodys_nodes_unless_the_token_says_less(gate: Gate, operator: Caller) -> None:
    modest = make.caller(User.objects.get(username="olga"), "render")
    assert refused(gate, modest) == (404, "not-found")
    with gate.client(operator) as client:
        assert client.get("/").status_code == 201


def test_a_revoked_token_and_a_deactivated_user_are_refused_at_once(gate: Gate) -> None:
    token, secret = tokens.issue(gate.user, "other", ["render"])
    with gate.client(Caller(secret)) as client:
        assert client.get("/").status_code == 201
        token.delete()
        assert client.get("/").status_code == 401
    User.objects.filter(pk=gate.user.pk).update(is_active=False)
    with gate.client() as client:
        assert client.get("/").status_code == 401


def test_a_session_that_has_no_node_yet_says_so(gate: Gate) -> None:
    with gate.client(session=gate.book(0)) as client:
        answer = client.get("/")
    assert (answer.status_code, answer.json()["code"]) == (409, "state-conflict")
    assert "a node is being started" in answer.json()["detail"]


def test_a_page_reads_with_its_login_and_changes_with_its_csrf_token(gate: Gate) -> None:
    with page_of(gate, gate.user) as page:
        assert page.get("/frame.jpg", headers={"Sec-Fetch-Dest": "image"}).status_code == 201
        answer = page.put("/camera", content=b"{}")
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert page.put("/camera", content=b"{}", headers={"X-CSRFToken": CSRF}).status_code == 201
        foreign = {"X-CSRFToken": CSRF, "Origin": "https://evil.example"}
        assert page.put("/camera", content=b"{}", headers=foreign).status_code == 403
        opaque = {"X-CSRFToken": CSRF, "Origin": "null"}
        assert page.put("/camera", content=b"{}", headers=opaque).status_code == 403
    seen = {name for request in gate.node.requests for name, _ in request["headers"]}
    assert not {"cookie", "x-csrftoken", "origin"} & seen


def test_a_login_of_somebody_else_opens_nothing(gate: Gate) -> None:
    with page_of(gate, make.person("eve")) as page:
        assert page.get("/").status_code == 404
    with page_of(gate, make.person("olga", is_operator=True)) as page:
        assert page.get("/").status_code == 201


@pytest.mark.parametrize("part", ["script", "worker", "serviceworker", "style", "iframe", "object", "embed"])
def test_what_a_node_sends_is_no_part_of_a_page(gate: Gate, part: str) -> None:
    with page_of(gate, gate.user) as page:
        assert page.get("/x.js", headers={"Sec-Fetch-Dest": part}).status_code == 403
    assert not gate.node.requests


@pytest.mark.parametrize(
    ("origin", "is_let_in"),
    [("own", True), (None, False), ("null", False), ("https://evil.example", False), ("http://127.0.0.1", False)],
)
def test_a_websocket_with_a_login_comes_from_a_page_of_ours(gate: Gate, origin: str | None, is_let_in: bool) -> None:
    with page_of(gate, gate.user) as page:
        cookie = "; ".join(f"{name}={value}" for name, value in page.cookies.items())
    told = gate.url if origin == "own" else origin
    headers = {"Cookie": cookie} | ({"Origin": told} if told else {})
    url = f"ws://127.0.0.1:{gate.port}{gate.path('/ws')}"
    if is_let_in:
        with connect(url, additional_headers=headers, proxy=None) as opened:
            opened.send("x")
            assert opened.recv(20) == "x"
        return
    with pytest.raises(InvalidStatus) as caught, connect(url, additional_headers=headers, proxy=None):
        pass
    assert caught.value.response.status_code == 403
    assert gate.node.sockets == 0


def test_another_host_name_is_refused(gate: Gate) -> None:
    with gate.client() as client:
        answer = client.get("/", headers={"Host": "evil.example"})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-request")
    assert not gate.node.requests


def test_what_is_not_the_proxy_is_left_to_the_other_routes(gate: Gate) -> None:
    for path in (gate.path("").removesuffix("proxy"), gate.path("x"), gate.path("/").replace("proxy", "%70roxy")):
        answer = httpx.get(gate.url + path, headers=gate.owner.headers, trust_env=False)
        assert answer.status_code in (404, 405), path
    assert httpx.get(f"{gate.url}/healthz", trust_env=False).status_code == 200
    assert not gate.node.requests
