"""A session from its reservation to its end, in the first RRM's numbers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, cast

import pytest
from django.utils import timezone

from rrm.domain.states import NodeState
from rrm.errors import LauncherError
from rrm.farm import nodes, reports, sessions, sites
from rrm.farm.models import Node, Resource, ResourceSite, Session, Site
from rrm.launchers.base import Handle, NodeSpec
from tests import factories as make
from tests.integration.api.v1.conftest import Program, body_of, checked_in
from tests.integration.farm.conftest import Farm

pytestmark = pytest.mark.django_db


class Refusing:
    """Where a site refuses a node, or takes it; what it was asked for."""

    def __init__(self) -> None:
        self.words: dict[str, str] = {}
        self.asked: list[tuple[str, NodeSpec]] = []

    def at(self, site: Site) -> Any:
        return _AtSite(self, site)


class _AtSite:
    def __init__(self, farm: Refusing, site: Site) -> None:
        self._farm, self._site = farm, site

    def launch(self, spec: NodeSpec) -> Handle:
        self._farm.asked.append((self._site.pk, spec))
        if words := self._farm.words.get(self._site.pk):
            raise LauncherError(words)
        return {"name": spec.name, "pid": 4711}

    def account(self, handle: Handle) -> str:
        return f"JobId=12 {handle['name']}"

    def logs(self, handle: Handle, stream: str, tail: int) -> str:
        return f"{stream} of it\n"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Refusing:
    """Sites that are asked at once, and answer as the test says."""
    far = Refusing()
    monkeypatch.setattr(sites, "launcher_for", far.at)

    def at_once(node: Node, deed: str) -> None:
        if deed == "launch_node":
            nodes.launch(node.pk)

    monkeypatch.setattr(nodes, "ask_site", at_once)
    return far


@pytest.fixture
def clusters(viewer: Resource) -> None:
    """Two clusters that the viewer prefers to this machine."""
    for position, name in enumerate(("big", "small"), start=1):
        site = Site.objects.create(id=name, kind="slurm", host=name, max_nodes=9)
        ResourceSite.objects.create(resource=viewer, site=site, position=position)


def put(program: Program, command: str, id: str, body: Mapping[str, Any] | None = None) -> Any:
    return program.call("PUT", f"session/{command}?session_id={id}", body if body is not None else {})


def told(program: Program, id: str) -> Any:
    return body_of(program.call("GET", f"session/status?session_id={id}"))


def test_open_starts_a_process_which_is_starting_then_running(program: Program, asked: Refusing) -> None:
    id = program.reserve()
    assert told(program, id) == {
        "session": id,
        "code": 0,
        "description": "viewer is not active",
        "hostname": "",
        "port": "0",
    }
    answer = put(program, "open", id, {"params": "--volume 'a  b'", "environment": "COLOUR=blue,LIST=a,b"})
    assert body_of(answer) == {"message": "Process started", "processId": "4711"}
    where, spec = asked.asked[0]
    assert where == "here"
    assert spec.environment == {"COLOUR": "blue", "LIST": "a,b"}
    assert program.status(id) == (200, 4)
    assert told(program, id)["description"].startswith("viewer is starting")
    checked_in(id)
    body = told(program, id)
    assert (body["code"], body["hostname"], body["port"]) == (5, "127.0.0.1", "5000")
    assert body["description"] == "viewer is up and running"
    for command, words in (("log", "out of it\n"), ("err", "err of it\n"), ("job", "JobId=12 ")):
        assert body_of(program.call("GET", f"session/{command}?session_id={id}"))["contents"].startswith(words)


def test_it_is_started_once(program: Program, asked: Refusing) -> None:
    id = program.reserve()
    put(program, "open", id)
    answer = put(program, "open", id)
    assert (answer.status_code, body_of(answer)) == (401, {"contents": "process is already started"})
    assert put(program, "schedule", id).status_code == 401
    assert len(asked.asked) == 1


def test_schedule_passes_on_the_requests_values_over_the_configurations(
    program: Program, asked: Refusing, clusters: None, viewer: Resource
) -> None:
    Resource.objects.filter(pk="viewer").update(project="proj3", queue="interactive", nb_cpus=2, memory=100)
    wish = {
        "params": "--a 'b c'",
        "environment": "A=1,B=2 C=3",
        "reservation": "course",
        "queue": "prod",
        "nb_cpus": 8,
        "nb_gpus": "1",
        "nb_nodes": 2,
        "memory": 0,
        "exclusive": True,
        "allocation_time": "1-02:00:00",
    }
    id = program.reserve("Viewer")
    assert body_of(put(program, "schedule", id, wish)) == {"message": "viewer successfully started"}
    where, spec = asked.asked[0]
    batch = spec.batch
    assert where == "big"
    assert (batch.account, batch.partition, batch.cpus, batch.gpus, batch.nodes) == ("proj3", "prod", 8, 1, 2)
    assert (batch.memory, batch.exclusive, batch.time_limit) == (100, True, timedelta(hours=26))
    assert "--reservation=course" in batch.extra_directives
    assert spec.environment == {"A": "1", "B": "2", "C": "3"}
    assert any("--a 'b c'" in word for word in spec.arguments)


def test_an_empty_schedule_starts_with_the_configurations_defaults(program: Program, asked: Refusing) -> None:
    id = program.reserve()
    assert put(program, "schedule", id, {}).status_code == 200
    assert program.status(id) == (200, 4)
    other = program.reserve()
    assert program.call("PUT", f"session/schedule?session_id={other}").status_code == 200


def test_a_refusal_everywhere_is_400_with_the_schedulers_words_and_may_be_tried_again(
    program: Program, asked: Refusing, clusters: None
) -> None:
    asked.words = {"big": "salloc: error: invalid account", "small": "salloc: error: no such queue"}
    id = program.reserve()
    answer = put(program, "schedule", id)
    assert (answer.status_code, body_of(answer)) == (400, {"contents": "salloc: error: no such queue"})
    assert [where for where, _ in asked.asked] == ["big", "small"]
    assert told(program, id)["code"] == 7
    assert told(program, id)["description"] == "Job allocation failed for viewer"
    assert body_of(program.call("GET", f"session/err?session_id={id}"))["contents"]
    asked.words = {"big": "salloc: error: invalid account"}
    assert put(program, "schedule", id).status_code == 200
    assert [where for where, _ in asked.asked[2:]] == ["big", "small"]
    assert Resource.objects.get(pk="viewer").launch_failures == 0
    checked_in(id)
    assert program.status(id) == (200, 5)


def test_where_the_limits_allow_no_node_it_is_400_with_the_reason(program: Program, asked: Refusing) -> None:
    Resource.objects.filter(pk="viewer").update(max_nodes=0)
    id = program.reserve()
    answer = put(program, "schedule", id)
    assert answer.status_code == 400
    assert "has 0 of at most 0 nodes" in body_of(answer)["contents"]
    assert program.status(id) == (200, 7)
    Resource.objects.filter(pk="viewer").update(max_nodes=1)
    assert put(program, "schedule", id).status_code == 200


def test_a_job_that_waits_in_a_queue_is_scheduled(program: Program, asked: Refusing, clusters: None) -> None:
    id = program.reserve()
    put(program, "schedule", id)
    Node.objects.update(reason="Waits at the site: Priority")
    assert program.status(id) == (200, 2)
    Node.objects.update(reason="")
    assert program.status(id) == (200, 4)


def test_a_job_cancelled_outside_is_told_once(program: Program, asked: Refusing) -> None:
    id = program.reserve()
    put(program, "open", id)
    node = checked_in(id)
    nodes.gone(node, NodeState.FAILED, "CANCELLED by 1000")
    answer = program.call("GET", f"session/status?session_id={id}")
    assert answer.status_code == 404
    assert body_of(answer) == {
        "session": id,
        "code": 0,
        "description": "Job has been cancelled",
        "hostname": "",
        "port": "0",
    }
    answer = program.call("GET", f"session/status?session_id={id}")
    assert (answer.status_code, body_of(answer)) == (404, {"contents": "Session does not exist"})
    row = Session.objects.get()
    assert (row.state, row.reason) == ("FAILED", "Its node is FAILED: CANCELLED by 1000")


def test_the_same_when_the_loop_has_seen_it_first(program: Program, asked: Refusing) -> None:
    id = program.reserve()
    put(program, "open", id)
    nodes.gone(checked_in(id), NodeState.FAILED, "CANCELLED by 1000")
    sessions.turn(timezone.now())
    assert Session.objects.get().state == "FAILED"
    assert program.status(id) == (404, 0)
    assert program.status(id)[0] == 404
    assert body_of(program.call("GET", "session/")) == []


def test_a_job_cancelled_while_it_starts_is_told_in_bare_words(
    program: Program, asked: Refusing, clusters: None
) -> None:
    id = program.reserve()
    put(program, "schedule", id)
    nodes.launch_failed(Node.objects.get(), "Ended before it checked in. CANCELLED by 1000")
    assert program.status(id) == (404, "Job has been cancelled")
    assert body_of(program.call("GET", f"session/status?session_id={id}")) == {"contents": "Session does not exist"}


def test_a_process_that_ends_before_it_answers_is_a_failure_that_may_be_tried_again(
    program: Program, asked: Refusing
) -> None:
    id = program.reserve()
    put(program, "open", id)
    nodes.launch_failed(Node.objects.get(), "Ended before it checked in. Its last line: no display")
    assert program.status(id) == (200, 7)
    assert put(program, "open", id).status_code == 200
    assert program.status(id) == (200, 4)


def test_one_that_does_not_answer_is_busy_until_it_does(program: Program, asked: Refusing) -> None:
    id = program.reserve()
    put(program, "open", id)
    node = checked_in(id)
    reports.heartbeat(node, {"problem": "timed out"})
    assert told(program, id)["code"] == 8
    assert told(program, id)["description"] == "viewer is busy"
    node.refresh_from_db()
    reports.heartbeat(node, {"problem": ""})
    assert program.status(id) == (200, 5)
    reports.heartbeat(Node.objects.get(), {"problem": "timed out"})
    Resource.objects.filter(pk="viewer").update(wait_until_running=False)
    assert program.status(id) == (200, 5)


def test_ending_a_session_stops_what_was_started_for_it(program: Program, asked: Refusing) -> None:
    id = program.reserve()
    put(program, "open", id)
    node = checked_in(id)
    program.call("DELETE", f"session/?session_id={id}")
    node.refresh_from_db()
    assert node.state == NodeState.STOPPING
    assert program.status(id)[0] == 404


def test_asking_for_its_status_keeps_a_session(program: Program, asked: Refusing) -> None:
    id = program.reserve()
    put(program, "open", id)
    checked_in(id)
    Session.objects.update(expires_at=timezone.now() + timedelta(seconds=1))
    program.status(id)
    sessions.turn(timezone.now() + timedelta(seconds=60))
    assert program.status(id) == (200, 5)


def test_a_failed_session_lapses_if_nobody_tries_again(program: Program, asked: Refusing) -> None:
    asked.words = {"here": "no"}
    id = program.reserve()
    put(program, "open", id)
    Session.objects.update(created_at=timezone.now() - timedelta(hours=1))
    sessions.turn(timezone.now() + timedelta(seconds=299))
    assert program.status(id) == (200, 7)
    sessions.turn(timezone.now() + timedelta(seconds=301))
    assert program.status(id)[0] == 404


def test_a_renderer_of_ours_that_is_warm_will_do_where_nothing_else_is_asked_for(
    program: Program, farm: Farm, asked: Refusing
) -> None:
    node = farm.node(answers=True)
    id = program.reserve("mandelbrot")
    put(program, "schedule", id)
    assert Session.objects.get().node == node
    assert program.status(id) == (200, 5)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"nb_cpus": "four"}, "nb_cpus"),
        ({"nb_nodes": -1}, "nb_nodes"),
        ({"params": ["a"]}, "params"),
        ({"params": "a\0"}, ""),
        ({"queue": "q; touch x"}, "queue"),
        ({"reservation": "r\n#SBATCH --wrap=x"}, "reservation"),
        ({"allocation_time": "soon"}, "allocation_time"),
        ({"exclusive": "maybe"}, "exclusive"),
    ],
)
def test_options_that_make_no_sense_are_named_and_start_nothing(
    program: Program, asked: Refusing, body: dict[str, Any], words: str
) -> None:
    id = program.reserve()
    answer = put(program, "schedule", id, body)
    assert answer.status_code == 400
    assert words in answer.content.decode()
    assert asked.asked == []


def test_both_versions_show_the_same_sessions(program: Program, farm: Farm, asked: Refusing) -> None:
    olga = make.caller(make.person("olga", is_operator=True))
    id = program.reserve()
    row = olga.get(f"session/{id}/").json()
    assert (row["owner"], row["label"], row["state"], row["resource"]) == ("v1", "bbpvizuser", "PENDING", "viewer")
    farm.node(answers=True)
    ada = make.caller(farm.owner)
    booked = ada.post("session/", {"resource": "mandelbrot"}).json()["id"]
    as_ada = Program({"Authorization": f"Bearer {ada.secret}"})
    assert as_ada.status(booked) == (200, 5)
    assert [each["id"] for each in body_of(as_ada.call("GET", "session/"))] == [booked]
    assert as_ada.call("DELETE", f"session/?session_id={booked}").status_code == 200
    assert ada.get(f"session/{booked}/").json()["state"] == "ENDED"


def test_null_options_are_none(program: Program, asked: Refusing) -> None:
    id = program.reserve()
    body = cast("dict[str, Any]", {"params": None, "environment": None})
    assert put(program, "open", id, body).status_code == 200
