"""What is refused, and how: always a problem document, with every bad field named, and never a traceback."""

from __future__ import annotations

import base64
import json
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from rrm.api.v2.resources import ResourceSerializer
from rrm.api.v2.sites import SiteSerializer
from rrm.farm import jobs
from rrm.farm.models import Job, RenderModel, Resource, Site
from tests import factories as make
from tests.factories import API, VIEW, Caller, problem
from tests.integration.farm.conftest import Farm

pytestmark = pytest.mark.django_db

ORDER = {"params": VIEW, "width": 64, "height": 64, "resource": "mandelbrot"}

MALFORMED = {
    "nothing that is JSON": b"{",
    "a list": b"[]",
    "a string": b'"x"',
    "null": b"null",
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}',
    "a number beyond double precision": b'{"a": 1e999}',
    "a name that occurs twice": b'{"a": 1, "a": 1}',
    "a name that occurs twice deep inside": b'{"a": [{"b": 1, "b": 2}]}',
    "bytes that are not UTF-8": b'{"a": "\xff"}',
    "a byte order mark": b'\xef\xbb\xbf{"a": 1}',
    "a NUL character": b'{"a": "\\u0000"}',
    "a lone surrogate": b'{"a": "\\ud800"}',
    "a lone surrogate in a name": b'{"\\ud800": 1}',
    "nesting of 40 levels": b'{"a":' + b"[" * 40 + b"]" * 40 + b"}",
    "nesting of 100000 levels": b"[" * 100_000,
    "a number of 5000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "two objects": b"{} {}",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_a_body_on_which_readers_could_disagree_is_malformed(owner: Caller, body: bytes) -> None:
    problem(owner.post("job/", body), 400, "malformed-json")


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_other_media_types_than_json_are_not_read(owner: Caller, media_type: str) -> None:
    problem(owner.call("POST", "job/", b"a=1", **{"Content-Type": media_type}), 415, "unsupported-media-type")


def test_json_with_a_charset_is_json(owner: Caller) -> None:
    sent = owner.call("POST", "job/", json.dumps(ORDER).encode(), **{"Content-Type": "application/json; charset=utf-8"})

    assert sent.status_code == 202


def test_a_json_body_beyond_the_limit_is_too_large(owner: Caller, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000

    problem(owner.post("job/", {"name": "x" * 2000}), 413, "too-large")


@pytest.mark.parametrize("query", ["pinned=null", "pinned=1", "named=", "digest=%00"])
def test_a_list_of_models_refuses_values_that_mean_nothing(owner: Caller, query: str) -> None:
    problem(owner.get(f"model/?{query}"), 422, "invalid")


@pytest.mark.parametrize(
    "path", ["job/%0A/", "a%0Ab", "", "nothing", "job/not-a-uuid/", "site/../../etc/passwd", "node-agent/", "v1/"]
)
def test_an_unknown_route_is_a_problem_too(owner: Caller, path: str) -> None:
    for caller in (owner, Caller()):
        problem(caller.get(path), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", "farm/"), ("PUT", "job/"), ("OPTIONS", "job/"), ("TRACE", "me/")]
)
def test_a_method_that_a_route_has_not_is_named_as_such(owner: Caller, method: str, path: str) -> None:
    response = owner.call(method, path)

    problem(response, 405, "method-not-allowed")
    assert "GET" in response.headers["Allow"]


def test_a_route_answers_with_and_without_its_last_slash(owner: Caller) -> None:
    assert owner.get("me").json() == owner.get("me/").json()
    assert owner.post("job", ORDER).status_code == 202


def test_an_error_that_nobody_foresaw_tells_the_caller_nothing(
    owner: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(*args: object, **kwargs: object) -> None:
        raise RuntimeError("the secret cause")

    monkeypatch.setattr(jobs, "submit", explode)

    response = owner.post("job/", ORDER)

    assert "secret cause" not in str(problem(response, 500, "internal"))
    assert "the secret cause" in caplog.text


BAD_JOBS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "an unknown field": ({"colour": "red"}, {"colour"}),
    "a width that is a string": ({"width": "64"}, {"width"}),
    "a width that is true": ({"width": True}, {"width"}),
    "a width that is a fraction": ({"width": 64.5}, {"width"}),
    "a negative height": ({"height": -1}, {"height"}),
    "no height": ({"height": None}, {"height"}),
    "a kind that there is not": ({"kind": "animation"}, {"kind"}),
    "a name that is a number": ({"name": 5}, {"name"}),
    "no model": ({"params": None}, {"model"}),
    "two models": ({"model": "valley"}, {"model"}),
    "an unknown model": ({"params": None, "model": "nowhere"}, {"model"}),
    "an unknown resource": ({"resource": "nothing"}, {"resource"}),
    "an unknown output": ({"outputs": ["png", "tiff"]}, {"outputs"}),
    "an unknown priority": ({"priority": "highest"}, {"priority"}),
    "an unknown palette": ({"coloring": {"palette": "grey"}}, {"coloring.palette"}),
    "samples that are too many": ({"supersample": 5}, {"supersample"}),
    "samples of a histogram": ({"supersample": 2, "coloring": {"method": "histogram"}}, {"supersample"}),
    "nothing to adapt": ({"adaptive": True}, {"adaptive"}),
    "light without a relief": ({"coloring": {"light_angle": 5}}, {"coloring.light_angle"}),
    "a radius that is a list": ({"params": {**VIEW, "radius": [1]}}, {"params.radius"}),
    "an unknown parameter": ({"params": {**VIEW, "zoom": 2}}, {"params.zoom"}),
    "a site that the resource has not": ({"sites": {"policy": "only", "ids": ["mars"]}}, {"sites"}),
    "a deadline in the past": ({"deadline": "2001-01-01T00:00:00Z"}, {"deadline"}),
    "a deadline beyond the calendar in UTC": ({"deadline": "9999-12-31T23:59:59-14:00"}, {"deadline"}),
    "a site twice": ({"sites": {"policy": "only", "ids": ["here", "HERE"]}}, {"sites"}),
    "sites for a policy that takes any": ({"sites": {"policy": "any", "ids": ["here"]}}, {"sites"}),
    "a deadline without a zone": ({"deadline": "2099-01-01T00:00:00"}, {"deadline"}),
    "several at once": ({"width": 0, "priority": 1, "x": 2}, {"width", "priority", "x"}),
    "several in its parts": (
        {"width": 0, "coloring": {"scale": 0}, "params": {**VIEW, "radius": "x", "zoom": 2}},
        {"width", "coloring.scale", "params.radius", "params.zoom"},
    ),
}


@pytest.mark.parametrize(("changes", "fields"), BAD_JOBS.values(), ids=BAD_JOBS)
def test_a_job_with_bad_fields_is_refused_and_all_are_named(
    owner: Caller, changes: dict[str, Any], fields: set[str]
) -> None:
    body = problem(owner.post("job/", {**ORDER, **changes}), 422, "invalid")

    assert set(body["errors"]) == fields
    assert all(isinstance(message, str) for said in body["errors"].values() for message in said)
    assert not Job.objects.exists()


BAD_SITES: dict[str, tuple[Any, set[str]]] = {
    "an unknown field": ({"id": "x", "size": 1}, {"size"}),
    "a field that only the server sets": ({"id": "x", "created_at": "2030-01-01T00:00:00Z"}, {"created_at"}),
    "no id": ({}, {"id"}),
    "an id with a slash": ({"id": "a/b"}, {"id"}),
    "an id that is taken": ({"id": "HERE"}, {"id"}),
    "an id that is a number": ({"id": 7}, {"id"}),
    "a kind that there is not": ({"id": "x", "kind": "cloud"}, {"kind"}),
    "a colour that is a word": ({"id": "x", "color": "red"}, {"color"}),
    "nodes as a string": ({"id": "x", "max_nodes": "3"}, {"max_nodes"}),
    "nodes as true": ({"id": "x", "max_nodes": True}, {"max_nodes"}),
    "fewer nodes than none": ({"id": "x", "max_nodes": -1}, {"max_nodes"}),
    "more nodes than a database can count": ({"id": "x", "max_nodes": 2**31}, {"max_nodes"}),
    "enabled as a string": ({"id": "x", "enabled": "true"}, {"enabled"}),
    "enabled as one": ({"id": "x", "enabled": 1}, {"enabled"}),
    "a port out of range": ({"id": "x", "port": 70000}, {"port"}),
    "a cluster without a host": ({"id": "x", "kind": "slurm"}, {"host"}),
    "an identity that is a path": ({"id": "x", "identity": "../id_rsa"}, {"identity"}),
}


@pytest.mark.parametrize(("body", "fields"), BAD_SITES.values(), ids=BAD_SITES)
def test_a_site_with_bad_fields_is_refused(farm: Farm, operator: Caller, body: Any, fields: set[str]) -> None:
    assert set(problem(operator.post("site/", body), 422, "invalid")["errors"]) == fields
    assert Site.objects.count() == 1


BAD_RESOURCES: dict[str, tuple[Any, set[str]]] = {
    "an unknown field": ({"id": "x", "size": 1}, {"size"}),
    "a status": ({"id": "x", "status": "idle"}, {"status"}),
    "a site that there is not": ({"id": "x", "sites": ["mars"]}, {"sites"}),
    "a site named twice": ({"id": "x", "sites": ["here", "HERE"]}, {"sites"}),
    "a site that is a number": ({"id": "x", "sites": [1]}, {"sites.0"}),
    "sites that are a string": ({"id": "x", "sites": "here"}, {"sites"}),
    "more nodes at least than at most": ({"id": "x", "min_nodes": 3, "max_nodes": 2}, {"min_nodes"}),
    "an idle timeout of zero characters": ({"id": "x", "idle_timeout": ""}, {"idle_timeout"}),
    "a directive that is a number": ({"id": "x", "extra_directives": [1]}, {"extra_directives.0"}),
    "a command that is too long": ({"id": "x", "command_line": "x" * 1025}, {"command_line"}),
}


@pytest.mark.parametrize(("body", "fields"), BAD_RESOURCES.values(), ids=BAD_RESOURCES)
def test_a_resource_with_bad_fields_is_refused(farm: Farm, operator: Caller, body: Any, fields: set[str]) -> None:
    assert set(problem(operator.post("resource/", body), 422, "invalid")["errors"]) == fields
    assert Resource.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "params"),
        ({"params": []}, "params"),
        ({"params": {"max_iter": 5}}, "params.center"),
        ({"params": VIEW, "renderer": "povray"}, "renderer"),
        ({"params": VIEW, "name": "Not A Name"}, "name"),
        ({"params": VIEW, "pinned": True}, "pinned"),
    ],
)
def test_a_model_with_bad_fields_is_refused(operator: Caller, body: Any, field: str) -> None:
    assert field in problem(operator.post("model/", body), 422, "invalid")["errors"]
    assert not RenderModel.objects.exists()


def _cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("state=DONE", "state"),
        ("stat=RUNNING", "stat"),
        ("model=x", "model"),
        ("priority=1", "priority"),
        ("page_size=0", "page_size"),
        ("page_size=ten", "page_size"),
        ("page_size=-1", "page_size"),
        ("ordering=password", "ordering"),
        ("ordering=owner__password", "ordering"),
        ("state=", "state"),
        ("cursor=", "cursor"),
        ("cursor=x", "cursor"),
        ("cursor=W10", "cursor"),
        ("cursor=bnVsbA", "cursor"),
        ("name=%00", "name"),
        ("cursor=" + _cursor("[" * 3000), "cursor"),
        ("cursor=" + _cursor(f'[false, Infinity, "{uuid4()}"]'), "cursor"),
    ],
)
def test_a_list_refuses_filters_and_cursors_that_it_does_not_know(owner: Caller, query: str, field: str) -> None:
    assert field in problem(owner.get(f"job/?{query}"), 422, "invalid")["errors"]


def test_a_cursor_before_the_calendar_is_no_fault_of_the_server(owner: Caller) -> None:
    """PostgreSQL counts the years before the first too, and finds nothing there."""
    cursor = _cursor(f'[false, "0001-01-01T00:00:00+14:00", "{uuid4()}"]')

    response = owner.get(f"job/?cursor={cursor}")

    assert response.status_code == 422 or response.json()["results"] == []


@pytest.mark.parametrize("query", ["since=0001-01-01T00:00:00%2B14:00", "since=yesterday", "cursor=WzFlOTk5LCAxXQ"])
def test_a_list_of_events_refuses_times_that_there_are_not(owner: Caller, query: str) -> None:
    problem(owner.get(f"event/?{query}"), 422, "invalid")


def test_two_who_make_the_same_site_at_once_are_told_apart(operator: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def meanwhile(self: object, attrs: dict[str, Any]) -> dict[str, Any]:
        make.site("mars")
        return attrs

    monkeypatch.setattr(SiteSerializer, "validate", meanwhile)

    problem(operator.post("site/", {"id": "mars"}), 409, "state-conflict")


def test_two_changes_that_do_not_go_together_are_told_apart(
    farm: Farm, operator: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(self: object, attrs: dict[str, Any]) -> dict[str, Any]:
        Resource.objects.update(max_nodes=0)
        return attrs

    monkeypatch.setattr(ResourceSerializer, "validate", meanwhile)

    problem(operator.patch("resource/mandelbrot/", {"min_nodes": 1}), 409, "state-conflict")


def test_what_went_away_meanwhile_is_not_found(farm: Farm, owner: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*args: object, **kwargs: object) -> None:
        Job.objects.get(pk=uuid4())

    monkeypatch.setattr(jobs, "edit", gone)

    problem(owner.patch(f"job/{farm.submit().pk}/", {"name": "x"}), 404, "not-found")


ACTIONS = ["job/{job}/cancel", "job/{job}/pause", "job/{job}/resume", "job/{job}/retry"]
ACTIONS += ["node/{node}/drain", "node/{node}/stop", "site/here/check"]


@pytest.mark.parametrize("path", ACTIONS)
def test_an_action_takes_no_fields(farm: Farm, operator: Caller, path: str) -> None:
    job, node = farm.submit(), farm.node()
    where = path.format(job=job.pk, node=node.pk)

    assert set(problem(operator.post(where, {"force": True}), 422, "invalid")["errors"]) == {"force"}
    problem(operator.call("POST", where, b"a=1", **{"Content-Type": "text/plain"}), 415, "unsupported-media-type")
    assert "force" in problem(operator.post(f"{where}?force=1"), 422, "invalid")["errors"]
    for row in (job, node):
        state = row.state
        row.refresh_from_db()
        assert row.state == state


def test_an_action_takes_an_empty_object(farm: Farm, owner: Caller) -> None:
    assert owner.post(f"job/{farm.submit().pk}/pause", {}).status_code == 200


PLAIN = ["me/", "farm/", "palette/", "site/here/", "resource/mandelbrot/", "job/{job}/", "job/{job}/timeline"]
PLAIN += ["job/{job}/image.png", "job/{job}/tile/0/0.npy", "job/{job}/events", "node/{node}/", "node/{node}/log"]


@pytest.mark.parametrize("path", PLAIN)
def test_a_query_parameter_that_means_nothing_is_refused(farm: Farm, operator: Caller, path: str) -> None:
    where = path.format(job=farm.submit().pk, node=farm.node().pk)

    assert set(problem(operator.get(f"{where}?colour=red"), 422, "invalid")["errors"]) == {"colour"}


@pytest.mark.parametrize("key", ["x" * 256, "ключ".encode().decode("latin-1")])
def test_an_unusable_idempotency_key_is_refused(owner: Caller, key: str) -> None:
    problem(owner.post("job/", ORDER, Idempotency_Key=key), 422, "invalid")


@pytest.mark.parametrize("body", [{"state": "COMPLETED"}, {"priority": "top"}, {"name": None}, {"width": 5}])
def test_a_job_takes_no_other_changes_than_name_and_priority(farm: Farm, owner: Caller, body: Any) -> None:
    problem(owner.patch(f"job/{farm.submit().pk}/", body), 422, "invalid")


@pytest.mark.parametrize("query", ["stream=log", "tail=0", "tail=all", "tail=99999999999"])
def test_a_node_log_refuses_what_it_does_not_have(farm: Farm, operator: Caller, query: str) -> None:
    problem(operator.get(f"node/{farm.node().pk}/log?{query}"), 422, "invalid")


def test_a_page_outside_the_api_is_no_problem_document() -> None:
    response = Client().get("/nothing-here")

    assert response.status_code == 404
    assert response.headers["Content-Type"].startswith("text/html")


def test_an_empty_body_is_an_empty_object(owner: Caller) -> None:
    body = problem(Client().post(f"{API}job/", headers=owner.headers, content_type="application/json"), 422, "invalid")

    assert {"width", "height"} <= set(body["errors"])


def test_a_wrong_host_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    response = Client().get(f"{API}me/", headers={"Host": "elsewhere.example"})

    assert response.status_code == 400
    record = next(record for record in caplog.records if record.name == "django.security.DisallowedHost")
    assert (record.levelname, record.exc_info) == ("WARNING", None)
    assert "elsewhere.example" in record.getMessage()
    assert "Traceback" not in caplog.text
