"""Sessions over REST: what each answer holds, and what is refused with which words."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from rrm.farm.models import Event, Resource
from tests import factories as make
from tests.factories import Caller, problem
from tests.integration.farm.conftest import VIEW, Farm

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada(farm: Farm) -> Caller:
    return make.caller(farm.owner, "render")


def booked(caller: Caller, **order: Any) -> dict[str, Any]:
    response = caller.post("session/", {"resource": "mandelbrot", **order})
    assert response.status_code == 201, response.json()
    body: dict[str, Any] = response.json()
    return body


def test_a_booking_tells_where_to_go_and_until_when(farm: Farm, ada: Caller) -> None:
    node = farm.node(answers=True)
    response = ada.post("session/", {"resource": "mandelbrot", "params": VIEW, "idle_timeout": 120, "label": "demo"})
    body = response.json()
    assert response.status_code == 201
    assert response.headers["Location"] == f"/rendering-resource-manager/v2/session/{body['id']}/"
    assert (body["state"], body["node"], body["warm"], body["label"]) == ("READY", str(node.pk), False, "demo")
    assert body["url"] == f"http://testserver/rendering-resource-manager/v2/session/{body['id']}/proxy/"
    assert body["ws_url"] == f"ws://testserver/rendering-resource-manager/v2/session/{body['id']}/proxy/ws"
    assert body["idle_timeout"] == 120
    assert body["expires_at"] < body["hard_expires_at"]
    assert ada.get(f"session/{body['id']}/").json() == body
    assert ada.get(f"node/{node.pk}/").json()["session"] == body["id"]
    assert ada.get("farm/").json()["sessions"] == {"ready": 1, "pending": 0, "suspended": False, "reason": ""}


def test_who_has_to_wait_gets_202_and_is_told_when_to_look_again(farm: Farm, ada: Caller) -> None:
    response = ada.post("session/", {"max_wait": 60})
    assert response.status_code == 202
    assert response.headers["Retry-After"] == "1"
    assert (response.json()["state"], response.json()["node"]) == ("PENDING", None)
    assert response.json()["position"] == 1
    problem(ada.get(f"session/{response.json()['id']}/log"), 409, "state-conflict")


def test_who_waits_sees_the_queue_become_shorter(farm: Farm, ada: Caller) -> None:
    Resource.objects.update(max_nodes=3)
    first, second = (ada.post("session/", {"max_wait": 600}).json() for _ in range(2))
    assert (first["position"], second["position"]) == (1, 2)
    ada.delete(f"session/{first['id']}/")
    assert ada.get(f"session/{second['id']}/").json()["position"] == 1
    assert ada.get(f"session/{first['id']}/").json()["position"] is None


def test_places_in_the_queue_take_the_same_number_of_queries_however_many_wait(farm: Farm, ada: Caller) -> None:
    Resource.objects.update(max_nodes=5)
    ada.post("session/", {"max_wait": 600})
    with CaptureQueriesContext(connection) as few:
        ada.get("session/")
    for _ in range(3):
        ada.post("session/", {"max_wait": 600})
    with CaptureQueriesContext(connection) as many:
        listed = ada.get("session/").json()["results"]
    assert sorted(row["position"] for row in listed) == [1, 2, 3, 4]
    assert len(many) == len(few)


def test_a_refusal_says_why_which_place_and_when(farm: Farm, ada: Caller) -> None:
    Resource.objects.update(max_nodes=0)
    response = ada.post("session/", {"resource": "mandelbrot", "max_wait": 60})
    body = problem(response, 503, "no-capacity")
    limit = "mandelbrot may have no node, as its max_nodes is 0"
    assert body["detail"] == f"No renderer is free, and {limit}; an operator can raise max_nodes."
    assert (body["position"], body["eta_seconds"]) == (1, None)
    assert 1 <= int(response.headers["Retry-After"]) <= 300
    assert ada.get("session/").json()["results"] == []


@pytest.mark.parametrize(
    ("order", "field", "words"),
    [
        ({"resource": "nowhere"}, "resource", "no resource 'nowhere'"),
        ({"model": "nothing"}, "model", "no model 'nothing'"),
        ({"params": {"center": [0, 0]}}, "params.radius", ""),
        ({"params": VIEW, "model": "x"}, "params", "not both"),
        ({"max_wait": -1}, "max_wait", ""),
        ({"max_wait": "soon"}, "max_wait", ""),
        ({"idle_timeout": 0}, "idle_timeout", ""),
        ({"label": "x" * 201}, "label", ""),
        ({"nodes": 2}, "nodes", ""),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_field_by_field(
    farm: Farm, ada: Caller, order: dict[str, Any], field: str, words: str
) -> None:
    body = problem(ada.post("session/", {"resource": "mandelbrot", **order}), 422, "invalid")
    assert field in body["errors"], body
    assert words in " ".join(body["errors"][field])


def test_others_see_neither_the_session_nor_its_events_nor_whom_a_node_serves(
    farm: Farm, ada: Caller, stranger: Caller
) -> None:
    node = farm.node(answers=True)
    session = booked(ada, label="secret")
    assert stranger.get("session/").json()["results"] == []
    assert stranger.get(f"node/{node.pk}/").json()["session"] is None
    assert stranger.get(f"node/{node.pk}/").json()["address"] == ""
    problem(stranger.get(f"session/{session['id']}/"), 404, "not-found")
    assert Event.objects.filter(subject_type="session").count() == 2
    assert [each for each in stranger.get("event/").json()["results"] if each["kind"] == "session"] == []
    assert len([each for each in ada.get("event/").json()["results"] if each["kind"] == "session"]) == 2


def test_an_end_is_an_end(farm: Farm, ada: Caller) -> None:
    farm.node(answers=True)
    path = f"session/{booked(ada)['id']}/"
    assert ada.call("DELETE", path).status_code == 204
    assert (ada.get(path).json()["state"], ada.get(path).json()["reason"]) == ("ENDED", "Ended by ada.")
    assert ada.call("DELETE", path).status_code == 204
    problem(ada.post(f"{path}keepalive"), 409, "state-conflict")
    problem(ada.post(f"{path}extend", {"seconds": 60}), 409, "state-conflict")


def test_suspended_means_that_no_session_begins(farm: Farm, ada: Caller, operator: Caller) -> None:
    farm.node(answers=True)
    assert operator.post("farm/suspend", {"reason": "Back at noon."}).json()["suspended"] is True
    assert problem(ada.post("session/", {}), 503, "suspended")["detail"] == "Back at noon."
    assert operator.post("farm/resume").json()["suspended"] is False
    booked(ada)


def test_where_no_resource_is_enabled_nobody_is_asked_to_name_one(farm: Farm, ada: Caller) -> None:
    Resource.objects.update(enabled=False)
    body = problem(ada.post("session/", {}), 422, "invalid")
    assert body["errors"]["resource"] == ["No resource that renders this is enabled."]
