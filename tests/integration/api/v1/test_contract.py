"""Each row of the first RRM's table of operations: status, content type and body."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rrm.farm.models import Resource, Session, Site
from rrm.farm.populating.first_rrm import FIELDS
from tests.integration.api.v1.conftest import HTML, Program, body_of, checked_in
from tests.integration.farm.conftest import Farm

pytestmark = pytest.mark.django_db

# Posted by the first RRM's own populate file; there is no `memory`.
LIVRE: dict[str, Any] = {
    "id": "LIVRE",
    "command_line": "livre",
    "environment_variables": "EQ_WINDOW_IATTR_HINT_DRAWABLE=FBO",
    "modules": "BBP/viz/latest",
    "process_rest_parameters_format": "--zeroeq-http-server ${rest_hostname}:${rest_port}",
    "scheduler_rest_parameters_format": "--zeroeq-http-server :${rest_port}",
    "project": "proj3",
    "queue": "interactive",
    "exclusive": True,
    "nb_nodes": 1,
    "nb_cpus": 16,
    "nb_gpus": 1,
    "graceful_exit": True,
    "wait_until_running": True,
    "name": "Livre",
    "description": "Large-scale volume renderer",
}
ORDER = {"owner": "bbpvizuser", "configuration_id": "viewer"}
UNKNOWN = "00000000-0000-4000-8000-000000000000"
NO_ROW = {"contents": "Session matching query does not exist."}
NO_CONFIG = "RenderingResourceSettings matching query does not exist."
MISSING, NOBODY = {"contents": "Cookie is missing"}, {"contents": "Session does not exist"}

# method, path, body, status, what the answer is: JSON, text, or {"detail"} as application/json
ROWS: list[tuple[str, str, Any, int, Any]] = [
    ("POST", "config/", LIVRE, 201, {"contents": "Rendering Resource livre successfully configured"}),
    ("POST", "config/", {**LIVRE, "id": "Viewer"}, 409, {"contents": "There is a rendering resource with this id."}),
    ("POST", "config/", {"id": "x"}, 400, None),
    ("POST", "config/", {**LIVRE, "nb_cpus": "many"}, 400, None),
    ("POST", "config/", {**LIVRE, "memory": "4096", "exclusive": "false"}, 201, None),
    ("POST", "config/", b"{", 400, {"detail": ...}),
    ("PUT", "config/", {**LIVRE, "id": "VIEWER"}, 200, ""),
    ("PUT", "config/", {"id": "viewer", "queue": "prod"}, 200, ""),
    ("PUT", "config/", LIVRE, 404, NO_CONFIG),
    ("DELETE", "config/", {"id": "Viewer"}, 200, "Settings successfully deleted"),
    ("DELETE", "config/", {"id": "nothing"}, 404, NO_CONFIG),
    ("DELETE", "config/", None, 404, NO_CONFIG),
    ("PATCH", "config/", LIVRE, 405, {"detail": "Method 'PATCH' not allowed."}),
    ("GET", "config", None, 301, None),
    ("GET", "session", None, 301, None),
    ("POST", "session/", ORDER, 201, None),
    ("POST", "session/", {**ORDER, "configuration_id": "VIEWER"}, 201, None),
    ("POST", "session/", {"configuration_id": "viewer"}, 401, "'owner'"),
    ("POST", "session/", {"owner": "x"}, 401, "'configuration_id'"),
    ("POST", "session/", {**ORDER, "configuration_id": "nothing"}, 404, {"contents": NO_CONFIG}),
    ("POST", "session/", b"{", 400, {"detail": ...}),
    ("POST", "session/", b"[]", 400, {"detail": ...}),
    ("GET", "session/", None, 200, []),
    ("DELETE", "session/", None, 404, MISSING),
    ("DELETE", f"session/?session_id={UNKNOWN}", None, 404, NO_ROW),
    ("DELETE", "session/?session_id=x", None, 404, NO_ROW),
    ("GET", f"session/{UNKNOWN}/", None, 404, NO_ROW),
    ("GET", "session/status/", None, 404, NO_ROW),
    *(("PUT", f"session/{name}", {}, 404, MISSING) for name in ("open", "schedule", "status", "log", "err", "job")),
    *(("GET", f"session/{name}", None, 404, MISSING) for name in ("status", "log", "err", "job", "camera")),
    *(
        ("GET", f"session/{name}?session_id={UNKNOWN}", None, 404, NOBODY)
        for name in ("status", "log", "err", "job", "camera", "status.json")
    ),
    ("PUT", f"session/open?session_id={UNKNOWN}", {}, 404, NOBODY),
    ("PUT", f"session/schedule-foo?session_id={UNKNOWN}", {}, 404, NOBODY),
    *(
        (method, f"session/{name}", {}, 405, {"detail": f"Method '{method}' not allowed."})
        for name in ("open", "status", "camera")
        for method in ("POST", "DELETE", "PATCH")
    ),
    ("GET", "session/open", None, 405, {"detail": "Method 'GET' not allowed."}),
    ("GET", "session/schedule", None, 405, {"detail": "Method 'GET' not allowed."}),
    ("PUT", "admin/keepalive", None, 404, MISSING),
    ("PUT", f"admin/keepalive?session_id={UNKNOWN}", None, 404, NOBODY),
    ("PUT", "admin/suspend", None, 200, "Creation of new session now suspended"),
    ("PUT", "admin/resume", None, 200, "Creation of new session already resumed"),
    ("PUT", "admin/explode", None, 401, "explode is an invalid command"),
    ("GET", "admin/suspend", None, 405, {"detail": "Method 'GET' not allowed."}),
    ("GET", "admin", None, 302, None),
    ("GET", "admin/", None, 404, None),
    ("GET", "api-docs", None, 200, None),
    ("GET", "api-docs/", None, 404, None),
    ("GET", "openapi.json", None, 200, None),
    ("GET", "config.json", None, 404, None),
    ("GET", "session/_x", None, 404, None),
    ("GET", "", None, 404, None),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "expected"), ROWS)
def test_every_operation_answers_as_it_did(
    program: Program, method: str, path: str, body: Any, status: int, expected: Any
) -> None:
    answer = program.call(method, path, body)
    assert answer.status_code == status, answer.content
    if isinstance(expected, dict) and "detail" in expected:
        assert answer.headers["Content-Type"] == "application/json"
        assert expected["detail"] in (..., answer.json()["detail"])
    elif expected is not None:
        assert answer.headers["Content-Type"] == HTML
        assert (answer.content.decode() if isinstance(expected, str) else json.loads(answer.content)) == expected


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", ""])
def test_other_body_types_are_refused(program: Program, kind: str) -> None:
    answer = program.call("POST", "session/", b"owner=x", Content_Type=kind)
    assert (answer.status_code, list(answer.json())) == (415, ["detail"])


def test_forms_are_taken_as_json_is(program: Program) -> None:
    form = "application/x-www-form-urlencoded"
    answer = program.call("POST", "session/", b"owner=ada&configuration_id=viewer", Content_Type=form)
    assert answer.status_code == 201
    part = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    parts = part % (b"owner", b"ada") + part % (b"configuration_id", b"viewer") + b"--b--\r\n"
    answer = program.call("POST", "session/", parts, Content_Type="multipart/form-data; boundary=b")
    assert answer.status_code == 201


def test_a_configuration_is_a_resource_of_every_enabled_site_clusters_first(program: Program, farm: Farm) -> None:
    Site.objects.create(id="zcluster", kind="slurm", host="h")
    Site.objects.create(id="off", kind="local", enabled=False)
    program.call("POST", "config/", LIVRE)
    row = Resource.objects.get(pk="livre")
    assert [place.site_id for place in row.placements.all()] == ["zcluster", "here"]
    assert (row.renderer, row.memory, row.nb_cpus, row.exclusive) == ("external", 0, 16, True)
    shown = {each["id"]: each for each in body_of(program.call("GET", "config/"))}
    assert list(shown) == ["livre", "mandelbrot", "viewer"]
    assert list(shown["livre"]) == list(FIELDS)
    assert shown["livre"] == {**LIVRE, "id": "livre", "memory": 0}


def test_a_configuration_that_was_used_can_be_removed_once_nothing_of_it_is_left(program: Program) -> None:
    id = program.reserve()
    answer = program.call("DELETE", "config/", {"id": "viewer"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (409, HTML)
    program.call("DELETE", f"session/?session_id={id}")
    assert program.call("DELETE", "config/", {"id": "viewer"}).status_code == 200


def test_a_session_is_listed_shown_and_destroyed(program: Program) -> None:
    id = program.reserve()
    row = {"id": id, "owner": "bbpvizuser", "configuration_id": "viewer"}
    assert body_of(program.call("GET", "session/")) == [row]
    assert body_of(program.call("GET", f"session/{id}/")) == row
    answer = program.call("DELETE", f"session/?session_id={id}")
    assert body_of(answer) == {"contents": "Session successfully destroyed"}
    assert body_of(program.call("DELETE", f"session/?session_id={id}")) == NO_ROW
    assert body_of(program.call("GET", "session/")) == []


def test_while_creation_is_suspended_it_is_forbidden_and_gives_no_id(program: Program) -> None:
    program.call("PUT", "admin/suspend")
    answer = program.call("POST", "session/", ORDER)
    assert (answer.status_code, list(body_of(answer))) == (403, ["contents"])
    assert program.call("PUT", "admin/suspend").content == b"Creation of new session already suspended"
    assert program.call("PUT", "admin/resume").content == b"Creation of new session now resumed"
    assert program.call("POST", "session/", ORDER).status_code == 201
    assert Session.objects.count() == 1


def test_keepalive_renews_a_session(program: Program) -> None:
    id = program.reserve()
    assert program.call("PUT", f"admin/keepalive?session_id={id}").status_code == 200
    program.call("PUT", f"session/open?session_id={id}", {})
    checked_in(id)
    before = Session.objects.get().expires_at
    assert program.call("PUT", f"admin/keepalive?session_id={id}").status_code == 200
    after = Session.objects.get().expires_at
    assert before
    assert after
    assert after > before


@pytest.mark.parametrize("suffix", ["", ".json", "-foo", "/more", "_x"])
def test_a_command_is_what_the_path_begins_with(program: Program, suffix: str) -> None:
    id = program.reserve()
    assert body_of(program.call("GET", f"session/status{suffix}?session_id={id}"))["code"] == 0
