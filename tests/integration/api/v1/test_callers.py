"""Who may call version 1, from which pages, and what they may do: the first RRM's holes stay closed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from rrm.farm import tokens
from rrm.farm.models import Resource, Session
from tests import factories as make
from tests.integration.api.v1.conftest import V1, Program, body_of
from tests.integration.farm.conftest import Farm

pytestmark = pytest.mark.django_db

ORDER = {"owner": "x", "configuration_id": "viewer"}
CONFIG = {"id": "new", "command_line": "touch /tmp/x"}
ROUTES = [
    ("GET", "config/"),
    ("POST", "config/"),
    ("PUT", "config/"),
    ("DELETE", "config/"),
    ("GET", "session/"),
    ("POST", "session/"),
    ("DELETE", "session/"),
    ("GET", "session/x/"),
    ("PUT", "session/open"),
    ("PUT", "session/schedule"),
    ("GET", "session/status"),
    ("GET", "session/log"),
    ("GET", "session/err"),
    ("GET", "session/job"),
    ("GET", "session/camera"),
    ("PUT", "admin/keepalive"),
    ("PUT", "admin/suspend"),
    ("GET", "openapi.json"),
]


def with_token(user: User, *scopes: str) -> Program:
    return Program({"Authorization": f"Bearer {make.caller(user, *scopes).secret}"})


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_where_the_switch_is_off_nobody_passes_without_a_token(
    farm: Farm, viewer: Resource, switch: Callable[..., None], method: str, path: str
) -> None:
    switch(v1_anonymous=False)
    answer = Program().call(method, path, {})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert list(answer.json()) == ["detail"]
    _, node = make.registered_node(farm.resource, farm.site)
    for secret in ("rrm_wrong", node.secret):
        assert Program({"Authorization": f"Bearer {secret}"}).call(method, path, {}).status_code == 401


def test_with_a_token_it_works_as_in_version_2(farm: Farm, viewer: Resource, switch: Callable[..., None]) -> None:
    switch(v1_anonymous=False)
    ada, eve = with_token(farm.owner), with_token(make.person("eve"))
    id = ada.reserve()
    assert ada.status(id) == (200, 0)
    assert eve.status(id) == (404, {"contents": "Session does not exist"})
    assert body_of(eve.call("GET", "session/")) == []
    assert eve.call("DELETE", f"session/?session_id={id}").status_code == 404
    assert eve.call("GET", f"session/{id}/").status_code == 404
    olga = with_token(make.person("olga", is_operator=True))
    assert [row["id"] for row in body_of(olga.call("GET", "session/"))] == [id]
    assert with_token(farm.owner, "read").call("POST", "session/", ORDER).status_code == 403
    assert Session.objects.get().owner == farm.owner


def test_only_operators_say_what_is_run_and_see_what_may_be_secret(farm: Farm, viewer: Resource) -> None:
    Resource.objects.filter(pk="viewer").update(environment_variables="TOKEN=s3cret")
    ada = with_token(farm.owner)
    for method in ("POST", "PUT", "DELETE"):
        assert ada.call(method, "config/", CONFIG).status_code == 403
    for command in ("suspend", "resume"):
        assert ada.call("PUT", f"admin/{command}").status_code == 403
    assert b"s3cret" not in ada.call("GET", "config/").content
    olga = with_token(make.person("olga", is_operator=True))
    assert b"s3cret" in olga.call("GET", "config/").content
    assert olga.call("POST", "config/", CONFIG).status_code == 201
    weak = with_token(User.objects.get(username="olga"), "read", "render")
    assert weak.call("PUT", "config/", {"id": "viewer", "command_line": "x"}).status_code == 403


def test_without_a_token_only_who_runs_the_manager_says_what_is_run(viewer: Resource) -> None:
    program = Program()
    for method in ("POST", "PUT", "DELETE"):
        assert program.call(method, "config/", CONFIG).status_code == 403
    assert program.call("PUT", "admin/suspend").status_code == 403
    assert program.call("POST", "session/", ORDER).status_code == 201
    assert not Resource.objects.filter(pk="new").exists()


@pytest.mark.parametrize("change", [{"mode": "production"}, {"host": "0.0.0.0"}, {"host": "192.168.1.5"}])  # noqa: S104
def test_beyond_loopback_nobody_without_a_token_does(
    program: Program, switch: Callable[..., None], change: dict[str, Any]
) -> None:
    switch(**change)
    assert program.call("POST", "config/", CONFIG).status_code == 403
    assert program.call("GET", "config/").status_code == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
def test_what_comes_through_a_proxy_comes_from_elsewhere(program: Program, header: str) -> None:
    assert program.call("GET", "session/", **{header.replace("-", "_"): "x"}).status_code == 401


@pytest.mark.parametrize("fields", [{"is_staff": True}, {"password": "pbkdf2$x"}, {"is_active": False}])
def test_somebodys_own_account_of_that_name_is_not_lent_out(program: Program, fields: dict[str, Any]) -> None:
    program.call("GET", "session/")
    User.objects.filter(username="v1").update(**fields)
    assert program.call("GET", "session/").status_code == 401


def test_guests_see_only_what_guests_made(program: Program, farm: Farm) -> None:
    id = with_token(farm.owner).reserve()
    assert program.status(id)[0] == 404
    assert body_of(program.call("GET", "session/")) == []
    assert with_token(farm.owner).status(program.reserve())[0] == 404


def test_a_guests_account_cannot_log_in_and_gets_no_more_with_a_token(program: Program) -> None:
    program.call("GET", "session/")
    user = User.objects.get(username="v1")
    assert not user.has_usable_password()
    secret = tokens.issue(user, "test", ("read", "render", "operate"))[1]
    assert Program({"Authorization": f"Bearer {secret}"}).call("POST", "config/", CONFIG).status_code == 403


@pytest.mark.parametrize("name", ["LD_PRELOAD", "PATH", "PYTHONPATH", "https_proxy", "RRM_NODE_NAME"])
def test_variables_that_change_what_is_run_are_for_operators(viewer: Resource, farm: Farm, name: str) -> None:
    ada = with_token(farm.owner)
    id = ada.reserve()
    answer = ada.call("PUT", f"session/open?session_id={id}", {"environment": f"{name}=/tmp/evil"})
    assert answer.status_code == 403
    assert name in answer.content.decode()
    assert ada.status(id) == (200, 0)


# Pages of others, and of programs on other ports of the same machine.
OTHERS = [
    {"Origin": "https://evil.example"},
    {"Origin": "http://testserver:8080"},
    {"Origin": "null"},
    {"Referer": "https://evil.example/page"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


@pytest.mark.parametrize("headers", OTHERS)
@pytest.mark.parametrize(("method", "path"), [*ROUTES, ("OPTIONS", "session/")])
def test_pages_of_others_get_nothing_done(program: Program, method: str, path: str, headers: dict[str, str]) -> None:
    if method == "OPTIONS" and "Origin" not in headers:
        headers = {"Origin": "https://evil.example"}
    sent = {name.replace("-", "_"): value for name, value in headers.items()}
    answer = program.call(method, path, {**ORDER, **CONFIG}, **sent)
    assert answer.status_code == 403
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert not Session.objects.exists()
    assert not Resource.objects.filter(pk="new").exists()


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://testserver"}, {"Sec_Fetch_Site": "same-origin"}, {"Sec_Fetch_Site": "none"}, {}],
)
def test_programs_and_pages_of_this_server_do(program: Program, headers: dict[str, str]) -> None:
    answer = program.call("GET", "session/", **headers)
    assert answer.status_code == 200
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_another_name_for_this_machine_is_refused(program: Program) -> None:
    assert program.call("GET", "session/", Host="evil.example:9000").status_code == 400


def test_pages_of_listed_origins_may_call(program: Program, switch: Callable[..., None]) -> None:
    switch(v1_origins=("https://viewer.example",))
    ask = {"Origin": "https://viewer.example", "Access_Control_Request_Method": "PUT"}
    answer = program.call("OPTIONS", "session/open", **ask)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "https://viewer.example"
    allowed = answer.headers["Access-Control-Allow-Headers"]
    assert allowed == "x-requested-with, content-type, accept, origin, authorization, x-csrftoken"
    answer = program.call("POST", "session/", ORDER, Origin="https://viewer.example")
    assert answer.status_code == 201
    assert answer.headers["Access-Control-Allow-Origin"] == "https://viewer.example"
    assert answer.headers["Vary"] == "Origin"
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert program.call("GET", "session/", Origin="https://other.example").status_code == 403
    assert program.call("GET", "session/", Referer="https://viewer.example/page").status_code == 200


def test_an_answer_that_a_browser_takes_for_a_page_can_do_nothing(program: Program) -> None:
    answer = program.call("POST", "session/", {**ORDER, "owner": "<script>alert(1)</script>"})
    assert answer.status_code == 201
    answer = program.call("GET", "session/")
    assert b"<" not in answer.content
    assert body_of(answer)[0]["owner"] == "<script>alert(1)</script>"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; sandbox")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"


def test_words_for_a_shell_are_no_commands_and_nothing_tells_of_the_inside(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    evil = "a;touch trap;$(touch trap)`touch trap`"
    id = body_of(program.call("POST", "session/", {**ORDER, "owner": evil}))["session_id"]
    for body in (
        {"params": evil},
        {"queue": evil},
        {"reservation": evil},
        {"allocation_time": evil},
        {"nb_cpus": evil},
    ):
        answer = program.call("PUT", f"session/schedule?session_id={id}", body)
        assert b"Traceback" not in answer.content
        assert b"/rrm/" not in answer.content
    assert list(tmp_path.iterdir()) == []


def test_the_documentation_needs_no_other_host(program: Program) -> None:
    page = program.call("GET", "api-docs")
    assert "swagger" in page.content.decode()
    assert "https://" not in page.content.decode()
    assert "v1/openapi.json" in program.call("GET", "api-docs?script=").content.decode()
    assert set(program.call("GET", "openapi.json").json()["paths"]) >= {f"{V1}config/", f"{V1}session/open"}


def test_without_the_switch_the_documentation_is_for_those_who_may_call(
    viewer: Resource, farm: Farm, switch: Callable[..., None]
) -> None:
    switch(v1_anonymous=False)
    assert Program().call("GET", "api-docs").status_code == 302
    assert with_token(farm.owner).call("GET", "openapi.json").status_code == 200
