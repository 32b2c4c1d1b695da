"""The description of the API is complete, valid, and what the routes really answer."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from django.core.management import call_command
from django.test import Client

from rrm.api.v2.urls import urlpatterns
from rrm.farm import composing
from tests import factories as make
from tests.factories import API, VIEW, Caller, problem
from tests.integration.farm.conftest import Farm

UNDESCRIBED = {"openapi.json", "api-docs/", r"^(?P<rest>[\s\S]*)$"}


@cache
def description() -> dict[str, Any]:
    from rrm.api.v2.docs import _description

    return dict(_description())


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, methods in description()["paths"].items()
        for method, operation in methods.items()
    ]


def test_the_description_is_valid_and_without_a_warning(tmp_path: Any) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "openapi.yaml"))


def test_every_route_is_described() -> None:
    routes = {str(entry.pattern) for entry in urlpatterns} - UNDESCRIBED

    assert {API + re.sub(r"<\w+:(\w+)>", r"{\1}", route) for route in routes} == set(description()["paths"])


def test_every_operation_says_what_it_does_and_how_it_is_refused() -> None:
    for method, path, operation in operations():
        where = f"{method} {path}"
        assert operation.get("summary"), where
        assert {"401", "403"} <= operation["responses"].keys(), where
        assert any(status < "400" for status in operation["responses"]), where
        for status, response in operation["responses"].items():
            if status >= "400":
                assert list(response["content"]) == ["application/problem+json"], where
        if "{" in path:
            assert "404" in operation["responses"], where
        if "requestBody" in operation:
            assert {"400", "413", "415", "422"} <= operation["responses"].keys(), where


def test_operation_ids_are_names() -> None:
    ids = [operation["operationId"] for _, _, operation in operations()]

    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z_]+", id) for id in ids)


def _schema(path: str, method: str, status: str) -> dict[str, Any]:
    answer = description()["paths"][API + path][method]["responses"][status]["content"]
    return {**next(iter(answer.values()))["schema"], "components": description()["components"]}


def _validate(body: Any, path: str, method: str = "get", status: str = "200") -> None:
    jsonschema.Draft202012Validator(_schema(path, method, status)).validate(body)


@pytest.mark.django_db
def test_answers_are_what_the_description_says(farm: Farm, owner: Caller, operator: Caller) -> None:
    job = farm.submit(outputs=["png", "counts"])
    node = farm.node()
    farm.work_off(node)
    composing.compose_job(job.pk)
    running = farm.submit()
    lease = farm.lease(node)
    names = {"id": job.pk, "ref": job.model_id}

    for path in ("site/", "resource/", "node/", "model/", "job/", "event/", "token/", "farm/", "palette/", "me/"):
        body = operator.get(path).json()
        assert body
        _validate(body, path)
        _no_more_than_described(body, _schema(path, "get", "200"), path)
    for path, id in {
        "site/{id}/": "here",
        "resource/{id}/": "mandelbrot",
        "resource/{id}/script": "mandelbrot",
        "node/{id}/": node.pk,
        "model/{ref}/": job.model_id,
        "job/{id}/": running.pk,
        "job/{id}/timeline": job.pk,
    }.items():
        _validate(operator.get(path.format(id=id, ref=names["ref"])).json(), path)
    _validate(operator.post(f"job/{running.pk}/pause").json(), "job/{id}/pause", "post")
    order = {"params": VIEW, "width": 9, "height": 9}
    _validate(owner.post("job/", order).json(), "job/", "post", "202")
    _validate(operator.post("node/", {"resource": "mandelbrot"}).json(), "node/", "post", "202")
    _validate(operator.post("token/", {"name": "t", "scopes": ["read"]}).json(), "token/", "post", "201")
    assert lease


@pytest.mark.django_db
def test_answers_to_nodes_are_what_the_description_says(farm: Farm) -> None:
    _, node = make.registered_node(farm.resource, farm.site)
    farm.submit()

    _validate(node.post("node-agent/heartbeat", {}).json(), "node-agent/heartbeat", "post")
    _validate(node.post("node-agent/lease", {}).json(), "node-agent/lease", "post")
    _validate(node.post("node-agent/goodbye", {}).json(), "node-agent/goodbye", "post")


@pytest.mark.django_db
def test_problems_are_what_the_description_says(owner: Caller) -> None:
    _validate(owner.post("job/", {}).json(), "job/", "post", "422")
    _validate(Caller().get("me/").json(), "me/", "get", "401")


def _no_more_than_described(body: Any, schema: Any, where: str) -> None:
    """Every field of the body has a place in the schema."""
    components = schema.get("components") or description()["components"]
    while "$ref" in schema:
        schema = components["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
    if isinstance(body, list):
        for item in body:
            _no_more_than_described(item, schema.get("items", {}), where)
    elif isinstance(body, dict) and "properties" in schema:
        assert body.keys() <= schema["properties"].keys(), where
        for name, value in body.items():
            _no_more_than_described(value, schema["properties"][name], f"{where}.{name}")


@pytest.mark.django_db
def test_the_description_is_served_as_json(owner: Caller) -> None:
    response = owner.get("openapi.json")

    assert response.headers["Content-Type"].startswith("application/json")
    assert response.json()["openapi"].startswith("3.1")
    problem(Caller().get("openapi.json"), 401, "unauthorised")


@pytest.mark.django_db
def test_the_documentation_page_runs_no_inline_script_and_loads_nothing_from_elsewhere() -> None:
    browser = Client()
    browser.force_login(make.person())

    page = browser.get(f"{API}api-docs/")

    html = page.content.decode()
    assert page.status_code == 200
    assert "swagger-ui" in html
    assert re.findall(r"<script(?![^>]*\bsrc=)", html) == []
    assert re.findall(r"(?:src|href)=\"(?!/)[^\"]*", html) == []
    policy = page.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "unsafe-eval" not in policy
    script = browser.get(f"{API}api-docs/?script=")
    assert script.headers["Content-Type"] == "application/javascript"
    assert "openapi.json" in script.content.decode()


@pytest.mark.django_db
def test_the_documentation_page_sends_strangers_to_the_login() -> None:
    response = Client().get(f"{API}api-docs/")

    assert response.status_code == 302
    assert response.headers["Location"].startswith("/login/?next=")
