"""Who may do what: nobody without credentials, owners with their own, operators with everything, nodes with leases."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction
from django.utils import timezone

from rrm.api.v2.urls import urlpatterns
from rrm.farm import booking
from rrm.farm.models import Block, Node, Session
from tests import factories as make
from tests.factories import Caller, problem
from tests.integration.farm.conftest import Farm

pytestmark = pytest.mark.django_db

# method, path, body; then what four callers get: the owner of the job with scope read alone, a stranger, the owner, an
# operator.
Row = tuple[str, str, Any, int, int, int, int]
ROUTES: list[Row] = [
    ("GET", "me/", None, 200, 200, 200, 200),
    ("GET", "farm/", None, 200, 200, 200, 200),
    ("GET", "palette/", None, 200, 200, 200, 200),
    ("GET", "event/", None, 200, 200, 200, 200),
    ("GET", "openapi.json", None, 200, 200, 200, 200),
    ("GET", "site/", None, 200, 200, 200, 200),
    ("GET", "site/here/", None, 200, 200, 200, 200),
    ("POST", "site/", {"id": "there"}, 403, 403, 403, 201),
    ("PATCH", "site/here/", {"name": "Here"}, 403, 403, 403, 200),
    ("DELETE", "site/here/", None, 403, 403, 403, 409),
    ("GET", "resource/", None, 200, 200, 200, 200),
    ("GET", "resource/mandelbrot/", None, 200, 200, 200, 200),
    ("GET", "resource/mandelbrot/script", None, 200, 200, 200, 200),
    ("POST", "resource/", {"id": "more"}, 403, 403, 403, 201),
    ("PATCH", "resource/mandelbrot/", {"name": "M"}, 403, 403, 403, 200),
    ("DELETE", "resource/mandelbrot/", None, 403, 403, 403, 409),
    ("GET", "node/", None, 200, 200, 200, 200),
    ("GET", "node/{node}/", None, 200, 200, 200, 200),
    ("POST", "node/", {"resource": "mandelbrot"}, 403, 403, 403, 202),
    ("POST", "node/{node}/drain", None, 403, 403, 403, 200),
    ("POST", "node/{node}/stop", None, 403, 403, 403, 200),
    ("GET", "node/{node}/log", None, 403, 403, 403, 200),
    ("GET", "block/", None, 403, 403, 403, 200),
    ("GET", "block/{block}/", None, 403, 403, 403, 200),
    ("DELETE", "block/{block}/", None, 403, 403, 403, 204),
    ("GET", "model/", None, 200, 200, 200, 200),
    ("GET", "model/{model}/", None, 200, 404, 200, 200),
    ("POST", "model/", {"params": make.VIEW}, 403, 200, 200, 200),
    ("PATCH", "model/{model}/", {"pinned": True}, 403, 403, 403, 200),
    ("GET", "model/{model}/preload", None, 200, 404, 200, 200),
    ("POST", "model/{model}/preload", {"resource": "mandelbrot"}, 403, 404, 202, 202),
    ("DELETE", "model/{model}/preload?resource=mandelbrot", None, 403, 404, 404, 404),
    ("GET", "job/", None, 200, 200, 200, 200),
    ("POST", "job/", {"params": make.VIEW, "width": 9, "height": 9}, 403, 202, 202, 202),
    ("GET", "job/{job}/", None, 200, 404, 200, 200),
    ("PATCH", "job/{job}/", {"name": "x"}, 403, 404, 200, 200),
    ("DELETE", "job/{job}/", None, 403, 404, 409, 409),
    ("POST", "job/{job}/cancel", None, 403, 404, 200, 200),
    ("POST", "job/{job}/pause", None, 403, 404, 200, 200),
    ("POST", "job/{job}/resume", None, 403, 404, 409, 409),
    ("POST", "job/{job}/retry", None, 403, 404, 409, 409),
    ("POST", "job/{job}/recolor", {"coloring": {}}, 403, 404, 409, 409),
    ("GET", "job/{job}/image.png", None, 409, 404, 409, 409),
    ("GET", "job/{job}/counts.npy", None, 409, 404, 409, 409),
    ("GET", "job/{job}/smooth.npy", None, 404, 404, 404, 404),
    ("GET", "job/{job}/smooth.tiff", None, 404, 404, 404, 404),
    ("GET", "job/{job}/smooth.exr", None, 404, 404, 404, 404),
    ("GET", "job/{job}/image16.png", None, 404, 404, 404, 404),
    ("GET", "job/{job}/image.webp", None, 409, 404, 409, 409),
    ("GET", "job/{job}/pyramid.dzi", None, 409, 404, 409, 409),
    ("GET", "job/{job}/pyramid_files/0/0_0.png", None, 409, 404, 409, 409),
    ("GET", "job/{job}/tile/0/0.png", None, 200, 404, 200, 200),
    ("GET", "job/{job}/tile/0/0.npy", None, 200, 404, 200, 200),
    ("GET", "job/{job}/range/{lease}", None, 200, 404, 200, 200),
    ("GET", "job/{job}/timeline", None, 200, 404, 200, 200),
    ("GET", "job/{job}/events", None, 200, 404, 200, 200),
    ("GET", "farm/events", None, 200, 200, 200, 200),
    ("POST", "farm/suspend", {}, 403, 403, 403, 200),
    ("POST", "farm/resume", None, 403, 403, 403, 200),
    ("GET", "session/", None, 200, 200, 200, 200),
    ("POST", "session/", {"resource": "mandelbrot", "max_wait": 30}, 403, 202, 202, 202),
    ("GET", "session/{session}/", None, 200, 404, 200, 200),
    ("DELETE", "session/{session}/", None, 403, 404, 204, 204),
    ("POST", "session/{session}/keepalive", None, 403, 404, 200, 200),
    ("POST", "session/{session}/extend", {"seconds": 60}, 403, 404, 200, 200),
    ("GET", "session/{session}/log", None, 403, 404, 200, 200),
    ("GET", "session/{session}/job", None, 403, 404, 200, 200),
    *((method, "session/{session}/proxy/id", None, 403, 501, 501, 501) for method in ("GET", "POST", "PUT", "DELETE")),
    ("GET", "session/{session}/events", None, 200, 404, 200, 200),
    ("GET", "quota/", None, 403, 403, 403, 200),
    ("GET", "quota/me", None, 200, 200, 200, 200),
    ("GET", "quota/user/ada", None, 403, 403, 403, 200),
    ("PATCH", "quota/user/ada", {"max_nodes": 3}, 403, 403, 403, 200),
    ("GET", "token/", None, 200, 200, 200, 200),
    ("POST", "token/", {"name": "t", "scopes": ["read"]}, 403, 403, 403, 201),
    ("POST", "token/", {"name": "t", "scopes": ["render"]}, 403, 403, 403, 201),
    ("POST", "token/", {"name": "t", "scopes": ["operate"]}, 403, 403, 403, 201),
]
DIGEST = "0" * 64
AGENT_ROUTES: list[tuple[str, str, Any]] = [
    ("POST", "node-agent/heartbeat", {}),
    ("POST", "node-agent/lease", {}),
    ("PUT", "node-agent/lease/{lease}", None),
    ("POST", "node-agent/lease/{lease}/fail", {"error": "x"}),
    ("POST", "node-agent/goodbye", {}),
    ("GET", f"node-agent/model/{DIGEST}", None),
    ("GET", f"node-agent/model/{DIGEST}/data", None),
    ("PUT", f"node-agent/model/{DIGEST}/data", None),
]

EVERY_ROUTE: list[Any] = [*ROUTES, *AGENT_ROUTES]


@pytest.fixture
def names(farm: Farm) -> dict[str, str]:
    """Ids for the paths: a running job with one finished range, its node and its model."""
    job = farm.submit()
    node = farm.node()
    lease = farm.lease(node)
    farm.deliver(node, lease)
    other = farm.node()
    booked = farm.node(answers=True)
    session = booking.book(farm.owner, booking.Wish(farm.resource), timezone.now())
    assert session.node == booked
    Session.objects.update(hard_expires_at=timezone.now() + timedelta(hours=1))
    until = timezone.now() + timedelta(hours=1)
    block = Block.objects.create(site=farm.site, hostname="h", renderer="mandelbrot", reason="x", until=until)
    return {
        "block": str(block.pk),
        "job": str(job.pk),
        "node": str(other.pk),
        "model": str(job.model_id),
        "lease": lease["id"],
        "session": str(session.pk),
    }


def _name(row: Any) -> str:
    return f"{row[0]} {row[1]}" + (f" {row[2]}" if row[1] == "token/" and row[2] else "")


def test_each_caller_gets_what_the_table_says(
    names: dict[str, str], farm: Farm, stranger: Caller, owner: Caller, operator: Caller
) -> None:
    callers = (make.caller(farm.owner, "read"), stranger, owner, operator)

    got = {_name(row): [_status(caller, row, names) for caller in callers] for row in ROUTES}

    assert got == {_name(row): list(row[3:]) for row in ROUTES}


def _status(caller: Caller, row: tuple[Any, ...], names: dict[str, str]) -> int:
    """What the caller gets, in a world where nobody has changed anything yet."""
    before = transaction.savepoint()
    response = caller.call(row[0], row[1].format(**names), row[2])
    make.content(response)
    transaction.savepoint_rollback(before)
    return int(response.status_code)


def test_nobody_gets_in_without_credentials(names: dict[str, str]) -> None:
    for row in EVERY_ROUTE:
        response = Caller().call(row[0], row[1].format(**names), row[2])

        problem(response, 401, "unauthorised")
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_node_token_opens_no_route_of_people(names: dict[str, str], farm: Farm) -> None:
    _, node = make.registered_node(farm.resource, farm.site)

    for row in ROUTES:
        problem(node.call(row[0], row[1].format(**names), row[2]), 401, "unauthorised")


def test_a_token_of_an_operator_opens_no_route_of_nodes(names: dict[str, str], operator: Caller) -> None:
    for row in AGENT_ROUTES:
        problem(operator.call(row[0], row[1].format(**names), row[2]), 401, "unauthorised")


def test_every_route_stands_in_these_tables() -> None:
    tested = {row[1].replace("{lease}", "id").replace(DIGEST, "id") for row in EVERY_ROUTE}
    known = {_shape(path) for path in tested}
    exempt = {
        "node-agent/register",
        "api-docs/",
        "token/*/",
        "quota/user/*",
        "site/*/check",
        "site/*/accept-host-key",
        "*",
    }

    declared = {_shape(str(entry.pattern)) for entry in urlpatterns}

    assert declared - known - exempt == set()


def _shape(path: str) -> str:
    """A path with its variable parts blanked out."""
    path = "*" if "rest" in path else path
    return re.sub(r"<[^>]*>|\{[^}]*\}|(?<=/)(here|mandelbrot|id)(?=/|$)|(?<=/)\d+(?=[/._])|(?<=_)\d+(?=\.)", "*", path)


def test_people_see_the_events_of_their_own_jobs_alone(farm: Farm, owner: Caller, stranger: Caller) -> None:
    farm.submit()
    farm.node()

    assert {event["subject_type"] for event in owner.get("event/").json()["results"]} == {"job"}
    assert stranger.get("event/").json()["results"] == []


def test_operators_see_all_events(farm: Farm, operator: Caller) -> None:
    farm.submit()
    farm.node()

    assert {event["subject_type"] for event in operator.get("event/").json()["results"]} == {"job", "node"}


def test_the_snapshot_shows_people_their_own_jobs_alone(
    farm: Farm, owner: Caller, stranger: Caller, operator: Caller
) -> None:
    job = farm.submit()

    assert [found["id"] for found in owner.get("farm/").json()["jobs"]] == [str(job.pk)]
    assert stranger.get("farm/").json()["jobs"] == []
    assert len(operator.get("farm/").json()["jobs"]) == 1


def test_a_job_that_does_not_exist_and_one_of_somebody_else_look_alike(farm: Farm, stranger: Caller) -> None:
    job = farm.submit()

    theirs = problem(stranger.get(f"job/{job.pk}/"), 404, "not-found")
    nobodys = problem(stranger.get(f"job/{uuid4()}/"), 404, "not-found")

    assert theirs["detail"].replace(str(job.pk), "") == nobodys["detail"].replace(
        nobodys["detail"].split()[-1][:-1], ""
    )


def test_ways_into_a_site_are_for_operators(
    farm: Farm, owner: Caller, operator: Caller, settings: Any, tmp_path: Path
) -> None:
    settings.RRM = replace(settings.RRM, keys_dir=tmp_path)
    (tmp_path / "key_1").touch(0o600)
    secrets = {"username": "render", "identity": "key_1", "host_key": "ssh-ed25519 AAAA"}
    operator.patch("site/here/", secrets)

    assert secrets.items() <= operator.get("site/here/").json().items()
    for body in (owner.get("site/here/").json(), owner.get("site/").json()["results"][0]):
        assert dict.fromkeys(secrets, "").items() <= body.items()


def test_what_operators_write_for_scheduler_and_shell_is_theirs(farm: Farm, owner: Caller, operator: Caller) -> None:
    written = {"prologue": "export KEY=s3cret", "extra_directives": ["--comment=s3cret"]}
    operator.patch("resource/mandelbrot/", written)

    assert written.items() <= operator.get("resource/mandelbrot/").json().items()
    for body in (owner.get("resource/mandelbrot/").json(), owner.get("resource/").json()["results"][0]):
        assert (body["prologue"], body["extra_directives"]) == ("", [])


def test_a_node_does_not_show_what_others_render(farm: Farm, owner: Caller, stranger: Caller, operator: Caller) -> None:
    job, node = farm.submit(), farm.node()
    farm.lease(node)
    Node.objects.update(handle={"pid": 7})

    def seen(caller: Caller) -> list[tuple[Any, ...]]:
        bodies = [
            caller.get(f"node/{node.pk}/").json(),
            caller.get("node/").json()["results"][0],
            caller.get("farm/").json()["nodes"][0],
        ]
        return [(body["job"], body["models"], body["handle"]) for body in bodies]

    assert seen(stranger) == [(None, [], {})] * 3
    assert seen(owner) == [(str(job.pk), [str(job.model_id)], {})] * 3
    assert seen(operator) == [(str(job.pk), [str(job.model_id)], {"pid": 7})] * 3


def test_the_queue_counts_what_others_render_without_naming_it(
    farm: Farm, owner: Caller, stranger: Caller, operator: Caller
) -> None:
    job = farm.submit()

    def seen(caller: Caller) -> Any:
        return caller.get("farm/").json()["queue"]

    assert seen(stranger) == [{"model": None, "name": None, "jobs": 1, "tiles": 16}]
    assert seen(owner)[0]["model"] == seen(operator)[0]["model"] == str(job.model_id)
    operator.patch(f"model/{job.model_id}/", {"name": "valley"})
    assert seen(stranger) == [{"model": str(job.model_id), "name": "valley", "jobs": 1, "tiles": 16}]


def test_models_without_a_name_belong_to_those_who_render_them(
    farm: Farm, owner: Caller, stranger: Caller, operator: Caller
) -> None:
    model = str(farm.submit().model_id)

    def seen(caller: Caller) -> list[str]:
        return [row["id"] for row in caller.get("model/").json()["results"]]

    assert (seen(stranger), seen(owner), seen(operator)) == ([], [model], [model])
    problem(stranger.get(f"model/{model}/"), 404, "not-found")
    assert owner.get(f"model/{model}/").status_code == 200
    operator.patch(f"model/{model}/", {"name": "valley"})
    assert seen(stranger) == [model]
    assert stranger.get("model/valley/").status_code == 200
