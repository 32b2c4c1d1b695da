"""Clients older than 0.5.6: the call sequences of the viewers that came with the first RRM."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from rrm.farm.models import Session
from tests.integration.api.v1.conftest import Program, body_of, checked_in

pytestmark = pytest.mark.django_db

PAGE = "https://viewer.example"


@pytest.fixture
def page(program: Program, switch: Callable[..., None]) -> Program:
    """A page of a listed origin, with a browser's cookies."""
    switch(v1_legacy="1", v1_origins=(PAGE,))
    program.headers["Origin"] = PAGE
    return program


def status(page: Program) -> dict[str, Any]:
    answer = page.call("GET", "session/status")
    assert answer.status_code == 200, answer.content
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    return dict(json.loads(answer.content))


def test_the_javascript_viewer(page: Program) -> None:
    order = {"owner": "bbpvizuser", "configuration_id": "viewer"}
    page.call("DELETE", "session/", order)  # whatever the answer
    answer = page.call("POST", "session/", order)
    assert answer.status_code == 201
    id = body_of(answer)["session_id"]
    cookie = answer.cookies["HBP"]
    assert (cookie.value, cookie["httponly"], cookie["samesite"]) == (id, True, "Lax")
    wish = {"params": "--display x", "environment": "A=1,B=2"}
    assert page.call("PUT", "session/schedule", wish).status_code == 200
    assert status(page)["code"] == 2
    assert page.call("GET", "session/log").status_code == 200
    checked_in(id)
    body = status(page)
    assert (body["code"], body["description"]) == (3, "viewer is up and running")
    uri = body_of(page.call("GET", "session/imagefeed"))["uri"]
    assert uri == f"testserver/rendering-resource-manager/v1/session/stream?session_id={id}"
    assert page.call("DELETE", "session/").status_code == 200
    assert page.call("GET", "session/status").status_code == 404
    assert Session.objects.get().state == "ENDED"


def test_the_angular_viewer_sends_a_header_that_means_nothing(page: Program) -> None:
    ask = page.call("OPTIONS", "session/", Access_Control_Request_Headers="hbp")
    assert "hbp" in ask.headers["Access-Control-Allow-Headers"]
    page.headers["HBP"] = "viewer"
    order = {"owner": "viewerController", "configuration_id": "viewer"}
    id = body_of(page.call("POST", "session/", order))["session_id"]
    assert status(page)["code"] == 0
    assert page.call("PUT", "session/open", {"params": "", "environment": ""}).status_code == 200
    assert status(page)["code"] == 2
    checked_in(id)
    assert status(page)["code"] == 3
    assert page.call("DELETE", "session/").status_code == 200


def test_the_demo_launcher_schedules_with_nothing(page: Program) -> None:
    page.headers = {"HBP": "viewer"}  # no browser
    id = page.reserve()
    assert page.call("PUT", "session/schedule", {}).status_code == 200
    checked_in(id)
    assert body_of(page.call("GET", "session/status"))["description"] == "viewer is up and running"


def test_the_allocator_uses_the_cookie_and_the_numbers_of_today(program: Program, switch: Callable[..., None]) -> None:
    switch(v1_legacy="cookie")
    answer = program.call("POST", "session/", {"owner": "me", "renderer_id": "viewer"})
    assert answer.status_code == 201
    wish = {
        "params": "",
        "environment": "",
        "reservation": "",
        "exclusive_allocation": True,
        "nb_nodes": 0,
        "nb_cpus": 0,
        "nb_gpus": 0,
        "allocation_time": "1:00:00",
    }
    assert program.call("PUT", "session/schedule", wish).status_code == 200
    checked_in(body_of(answer)["session_id"])
    assert body_of(program.call("GET", "session/status"))["code"] == 5
    for command in ("log", "job"):
        assert program.call("GET", f"session/{command}").status_code in (200, 400)
    assert program.call("DELETE", "session/").status_code == 200


def test_who_names_the_session_in_the_query_gets_the_numbers_of_today(page: Program) -> None:
    page.headers = {}
    id = page.reserve()
    page.call("PUT", f"session/open?session_id={id}", {})
    checked_in(id)
    assert page.status(id) == (200, 5)
    assert body_of(page.call("GET", f"session/status?sessionid={id}"))["code"] == 5


def test_without_the_switch_there_is_no_cookie_and_none_is_read(program: Program) -> None:
    answer = program.call("POST", "session/", {"owner": "x", "configuration_id": "viewer"})
    assert "HBP" not in answer.cookies
    program.http.cookies["HBP"] = body_of(answer)["session_id"]
    assert body_of(program.call("GET", "session/status")) == {"contents": "Cookie is missing"}
    assert program.call("POST", "session/", {"owner": "x", "renderer_id": "viewer"}).status_code == 401


def test_a_cookie_names_a_session_and_opens_nobody_elses(page: Program) -> None:
    page.reserve()
    other = Program({"Authorization": "Bearer rrm_x"}, page.http)
    assert other.call("GET", "session/status").status_code == 401


def test_over_https_the_cookie_is_sent_across_sites(page: Program) -> None:
    page.headers = {}
    page.is_secure = True
    cookie = page.call("POST", "session/", {"owner": "x", "configuration_id": "viewer"}).cookies["HBP"]
    assert (cookie["secure"], cookie["samesite"]) == (True, "None")
