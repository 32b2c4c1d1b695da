"""The node routes: check-in, work that is waited for, delivery that counts once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connection

from rrm.api.v2 import lobby, waiting
from rrm.domain.states import JobState, LeaseState, NodeState
from rrm.farm import leases, nodes
from rrm.farm.models import HeldModel, Job, Lease, Node, RenderModel
from tests import factories as make
from tests.factories import Caller, problem
from tests.integration.api.asgi import asked
from tests.integration.farm.conftest import Farm, bundle_of

BUNDLE = {"Content-Type": "application/vnd.rrm.bundle"}
JSON = {"Content_Type": "application/json"}


@pytest.fixture
def node(farm: Farm) -> Caller:
    return make.registered_node(farm.resource, farm.site)[1]


def _registration(farm: Farm) -> tuple[Node, Caller, dict[str, Any]]:
    row = nodes.request_node(farm.resource, farm.site, "test")
    report = {"node": row.name, "hostname": "h", "address": None, "version": "1", "cores": 4, "pid": 7}
    return row, Caller(nodes.launch_token(row.name)), report


@pytest.mark.django_db
def test_a_node_checks_in_with_its_launch_token_and_gets_its_own(farm: Farm) -> None:
    row, launcher, report = _registration(farm)

    answer = launcher.post("node-agent/register", report)

    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json()["node_id"] == str(row.pk)
    assert {"heartbeat_seconds", "lease_wait_seconds", "give_up_seconds", "max_upload_bytes"} < answer.json().keys()
    assert Caller(answer.json()["token"]).post("node-agent/heartbeat", {}).json() == {
        "command": "run",
        "revoked": [],
        "pinned": [],
    }


@pytest.mark.django_db
def test_a_launch_token_is_of_no_use_after_the_node_has_spoken(farm: Farm) -> None:
    _, launcher, report = _registration(farm)
    again = [launcher.post("node-agent/register", report) for _ in range(2)][-1]
    Caller(again.json()["token"]).post("node-agent/heartbeat", {})

    problem(launcher.post("node-agent/register", report), 401, "unauthorised")


@pytest.mark.django_db
def test_an_unknown_launch_token_registers_nobody(farm: Farm) -> None:
    _, _, report = _registration(farm)

    problem(Caller("x").post("node-agent/register", report), 401, "unauthorised")
    problem(Caller().post("node-agent/register", report), 401, "unauthorised")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("register", {"cores": 4}),
        ("register", {"node": "x", "cores": "4"}),
        ("heartbeat", {"leases": ["x"]}),
        ("heartbeat", {"leases": "x"}),
        ("heartbeat", {"models": [{}]}),
        ("heartbeat", {"cores": 0}),
        ("lease", {"wait": "yes"}),
        ("lease", {"models": ["x"]}),
        ("lease", {"models": [{"load_seconds": 1}]}),
        ("lease", {"models": [{"digest": "x", "load_seconds": -1}]}),
        ("lease", {"models": None}),
        ("goodbye", {"reason": 5}),
        ("goodbye", {"why": "x"}),
    ],
)
def test_a_node_that_talks_nonsense_is_told_so(node: Caller, route: str, body: Any) -> None:
    problem(node.post(f"node-agent/{route}", body), 422, "invalid")


@pytest.mark.django_db
def test_a_node_gets_work_delivers_it_and_the_job_is_done(farm: Farm, node: Caller) -> None:
    job = farm.submit()

    while lease := node.post("node-agent/lease", {"cores": 2}).json()["lease"]:
        delivered = node.call("PUT", f"node-agent/lease/{lease['id']}", bundle_of(lease), **BUNDLE)
        assert delivered.json() == {"command": "run"}

    job.refresh_from_db()
    assert job.state == JobState.COMPOSING


@pytest.mark.django_db
def test_a_delivery_may_be_repeated(farm: Farm, node: Caller) -> None:
    farm.submit()
    lease = node.post("node-agent/lease", {}).json()["lease"]
    bundle = bundle_of(lease)

    answers = [node.call("PUT", f"node-agent/lease/{lease['id']}", bundle, **BUNDLE) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert Job.objects.get().tiles_done == lease["stop"] - lease["start"]


@pytest.mark.django_db
def test_results_of_a_range_that_was_taken_back_change_nothing(farm: Farm, node: Caller) -> None:
    job = farm.submit()
    lease = node.post("node-agent/lease", {}).json()["lease"]
    make.caller(farm.owner).post(f"job/{job.pk}/cancel")

    problem(node.call("PUT", f"node-agent/lease/{lease['id']}", bundle_of(lease), **BUNDLE), 409, "stale-lease")
    assert node.post("node-agent/heartbeat", {"leases": [lease["id"]]}).json()["revoked"] == [lease["id"]]


@pytest.mark.django_db
def test_unusable_results_are_refused_and_the_range_stays(farm: Farm, node: Caller) -> None:
    farm.submit()
    lease = node.post("node-agent/lease", {}).json()["lease"]

    for body in (b"R", b"RRMB", bundle_of(lease)[:-1]):
        problem(node.call("PUT", f"node-agent/lease/{lease['id']}", body, **BUNDLE), 422, "bad-bundle")
    assert Lease.objects.get().state == LeaseState.ACTIVE


@pytest.mark.django_db
def test_results_are_taken_as_bundles_alone(farm: Farm, node: Caller) -> None:
    farm.submit()
    lease = node.post("node-agent/lease", {}).json()["lease"]

    problem(node.call("PUT", f"node-agent/lease/{lease['id']}", b"{}"), 415, "unsupported-media-type")


@pytest.mark.django_db
def test_a_node_reaches_no_lease_of_another(farm: Farm, node: Caller) -> None:
    farm.submit()
    lease = node.post("node-agent/lease", {}).json()["lease"]
    other = make.registered_node(farm.resource, farm.site)[1]

    for id in (lease["id"], uuid4()):
        problem(other.call("PUT", f"node-agent/lease/{id}", bundle_of(lease), **BUNDLE), 404, "not-found")
        problem(other.post(f"node-agent/lease/{id}/fail", {"error": "x"}), 404, "not-found")


@pytest.mark.django_db
def test_a_range_that_cannot_be_rendered_is_given_back(farm: Farm, node: Caller) -> None:
    farm.submit()
    lease = node.post("node-agent/lease", {}).json()["lease"]

    answer = node.post(f"node-agent/lease/{lease['id']}/fail", {"tile": lease["start"], "error": "out of memory"})

    assert answer.json() == {"command": "run"}
    assert "out of memory" in Lease.objects.get(pk=lease["id"]).reason


@pytest.mark.django_db
def test_a_node_that_leaves_is_let_go(farm: Farm, node: Caller) -> None:
    assert node.post("node-agent/goodbye", {"reason": "SIGTERM"}).status_code == 200
    assert Node.objects.get().state == NodeState.STOPPING


@pytest.mark.django_db
def test_a_node_fetches_a_model_by_its_digest(farm: Farm, node: Caller) -> None:
    model = farm.submit().model

    assert node.get(f"node-agent/model/{model.digest}").json()["params"] == model.params
    problem(node.get("node-agent/model/" + "0" * 64), 404, "not-found")


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 60))


@sync_to_async(thread_sensitive=False)
def later(work: Callable[..., Any], *args: Any) -> Any:
    try:
        return work(*args)
    finally:
        connection.close()


@pytest.fixture
def waiting_node(shared_farm: Farm, settings: Any) -> tuple[Node, Caller]:
    return make.registered_node(shared_farm.resource, shared_farm.site)


WAIT = [b'{"wait": true, "cores": 2}']


@pytest.mark.django_db(transaction=True)
def test_a_node_that_waits_gets_work_as_soon_as_there_is_some(
    shared_farm: Farm, waiting_node: tuple[Node, Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_KEEP_ALIVE_SECONDS", 0.05)
    monkeypatch.setattr(lobby, "_LOOK_SECONDS", 0.1)

    async def story() -> None:
        async with asked(waiting_node[1], "POST", "node-agent/lease", WAIT, Content_Type="application/json") as call:
            assert call.status == 200
            assert call.headers["content-type"] == "application/json"
            assert await call.chunk() == b" "
            job = await later(shared_farm.submit)
            answer = await call.json()
        assert answer["lease"]["job"] == str(job.pk)

    run(story)


@pytest.mark.django_db(transaction=True)
def test_new_work_rings_the_bell_of_waiting_nodes(
    shared_farm: Farm, waiting_node: tuple[Node, Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lobby, "_LOOK_SECONDS", 60.0)

    async def story() -> None:
        async with asked(waiting_node[1], "POST", "node-agent/lease", WAIT, Content_Type="application/json") as call:
            await asyncio.sleep(0.3)
            began = time.monotonic()
            await later(shared_farm.submit)
            assert (await call.json())["lease"]
        assert time.monotonic() - began < 40

    run(story)


@pytest.mark.django_db(transaction=True)
def test_a_node_that_waits_in_vain_is_told_to_ask_again(
    shared_farm: Farm, waiting_node: tuple[Node, Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_patience", lambda: 0.2)

    async def story() -> None:
        async with asked(waiting_node[1], "POST", "node-agent/lease", WAIT, Content_Type="application/json") as call:
            answer = await call.json()
        assert answer == {"command": "run", "lease": None, "retry_after": 1, "session": None, "preload": None}

    run(story)


@pytest.mark.django_db(transaction=True)
def test_a_waiting_node_that_is_drained_hears_it_at_once(shared_farm: Farm, waiting_node: tuple[Node, Caller]) -> None:
    row, caller = waiting_node

    async def story() -> None:
        async with asked(caller, "POST", "node-agent/lease", WAIT, Content_Type="application/json") as call:
            await later(_drain, row)
            assert (await call.json())["command"] == "drain"

    run(story)


def _drain(node: Node) -> None:
    nodes.drain(Node.objects.select_related("site").get(pk=node.pk), "olga")


@pytest.mark.django_db(transaction=True)
def test_an_error_while_a_node_waits_becomes_an_answer(
    shared_farm: Farm, waiting_node: tuple[Node, Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    look = leases.next_lease
    looks: list[int] = []

    def sometimes(*args: Any) -> Any:
        looks.append(1)
        if len(looks) > 1:
            raise OperationalError("the database is away")
        return look(*args)

    monkeypatch.setattr(leases, "next_lease", sometimes)

    async def story() -> None:
        async with asked(waiting_node[1], "POST", "node-agent/lease", WAIT, Content_Type="application/json") as call:
            assert await call.json() == {"command": "run", "lease": None, "retry_after": 1}

    run(story)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("body", [b'{"wait": false}', b"{}"])
def test_a_node_that_does_not_want_to_wait_is_answered_at_once(
    shared_farm: Farm, waiting_node: tuple[Node, Caller], body: bytes
) -> None:
    async def story() -> None:
        began = time.monotonic()
        async with asked(waiting_node[1], "POST", "node-agent/lease", [body], Content_Type="application/json") as call:
            assert (await call.json())["lease"] is None
        assert time.monotonic() - began < 20

    run(story)


@pytest.mark.django_db(transaction=True)
def test_a_body_sent_in_chunks_is_a_body(shared_farm: Farm, waiting_node: tuple[Node, Caller]) -> None:
    headers = {"Content_Type": "application/json", "Transfer_Encoding": "chunked"}

    async def story() -> None:
        async with asked(waiting_node[1], "POST", "node-agent/goodbye", [b'{"rea', b'son": 5}'], **headers) as call:
            assert call.status == 422

    run(story)


@pytest.mark.django_db(transaction=True)
def test_results_may_be_sent_in_chunks(shared_farm: Farm, waiting_node: tuple[Node, Caller]) -> None:
    shared_farm.submit()
    lease = waiting_node[1].post("node-agent/lease", {}).json()["lease"]
    bundle = bundle_of(lease)
    headers = {"Content_Type": BUNDLE["Content-Type"], "Transfer_Encoding": "chunked"}
    pieces = [bundle[start : start + 1000] for start in range(0, len(bundle), 1000)]

    async def story() -> None:
        async with asked(waiting_node[1], "PUT", f"node-agent/lease/{lease['id']}", pieces, **headers) as call:
            assert await call.json() == {"command": "run"}

    run(story)


@pytest.mark.django_db
@pytest.mark.parametrize("call", ["heartbeat", "lease"])
def test_a_load_in_advance_that_failed_is_told_with_whatever_call_comes_first(farm: Farm, call: str) -> None:
    row, node = make.registered_node(farm.resource, farm.site)
    model = make.render_model()
    HeldModel.objects.create(node=row, model=model, loading=True)

    answer = node.post(f"node-agent/{call}", {"unloaded": [model.digest]})

    assert answer.status_code == 200, answer.content
    assert not HeldModel.objects.exists()
    assert [name for name, _ in RenderModel.objects.get().load_failures] == [row.name]
