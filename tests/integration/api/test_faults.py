"""Blocks, quarantines, limited loads and copies as the API shows them, and what operators may do about them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from rrm.farm.models import Block, Lease, Node, RenderModel, Site
from tests import factories as make
from tests.factories import Caller, problem
from tests.integration.farm.conftest import Farm

pytestmark = pytest.mark.django_db


@pytest.fixture
def block(farm: Farm) -> Block:
    until = timezone.now() + timedelta(hours=5)
    return Block.objects.create(
        site=farm.site, hostname="n1", node="rrm-1", renderer="mandelbrot", reason="it failed", until=until
    )


def test_operators_see_blocks_and_forgive_them(operator: Caller, block: Block) -> None:
    (listed,) = operator.get("block/?in_force=true&site=here").json()["results"]
    assert (listed["node"], listed["hostname"], listed["reason"]) == ("rrm-1", "n1", "it failed")
    assert (listed["in_force"], listed["lifted_by"]) == (True, "")

    answers = [operator.delete(f"block/{block.pk}/").status_code for _ in range(2)]

    assert answers == [204, 204]
    assert operator.get("block/?in_force=true").json()["results"] == []
    assert operator.get("block/?in_force=false").json()["results"][0]["lifted_by"] == "olga"
    assert operator.get(f"block/{block.pk}/").json()["in_force"] is False


def test_nobody_else_may(owner: Caller, block: Block) -> None:
    problem(owner.get("block/"), 403, "forbidden")
    problem(owner.get(f"block/{block.pk}/"), 403, "forbidden")
    problem(owner.delete(f"block/{block.pk}/"), 403, "forbidden")
    assert Block.objects.get().until > timezone.now()


def test_a_block_that_is_not_there_is_not_found(operator: Caller, farm: Farm) -> None:
    problem(operator.delete("block/9999/"), 404, "not-found")


def test_a_node_tells_its_blames_and_why_it_was_sent_away(operator: Caller, farm: Farm) -> None:
    node = farm.node()
    Node.objects.filter(pk=node.pk).update(blames=2)

    assert operator.get(f"node/{node.pk}/").json()["blames"] == 2
    assert operator.get("farm/").json()["nodes"][0]["blames"] == 2


def test_a_quarantine_is_shown_and_lifted(operator: Caller, owner: Caller, farm: Farm) -> None:
    model = farm.submit().model
    until = timezone.now() + timedelta(minutes=10)
    RenderModel.objects.update(quarantined_until=until, load_failures=[["rrm-1", until.timestamp()]])

    body = operator.get(f"model/{model.pk}/").json()
    assert (body["load_failures"], body["quarantined_until"] is not None) == (1, True)
    assert body["could_not_load"] == ["rrm-1"]
    problem(owner.patch(f"model/{model.pk}/", {"quarantined": False}), 403, "forbidden")
    problem(operator.patch(f"model/{model.pk}/", {"quarantined": True}), 422, "invalid")
    lifted = operator.patch(f"model/{model.pk}/", {"quarantined": False, "pinned": True}).json()

    assert (lifted["load_failures"], lifted["quarantined_until"], lifted["pinned"]) == (0, None, True)


def test_a_quarantine_that_is_over_is_not_shown(operator: Caller, farm: Farm) -> None:
    model = farm.submit().model
    RenderModel.objects.update(quarantined_until=timezone.now() - timedelta(seconds=1))

    assert operator.get(f"model/{model.pk}/").json()["quarantined_until"] is None


def test_the_loads_of_a_site_are_limited(operator: Caller, farm: Farm) -> None:
    assert operator.get("site/here/").json()["max_parallel_loads"] is None
    assert operator.patch("site/here/", {"max_parallel_loads": 2}).json()["max_parallel_loads"] == 2
    problem(operator.patch("site/here/", {"max_parallel_loads": 0}), 422, "invalid")
    assert Site.objects.get().max_parallel_loads == 2
    assert operator.patch("site/here/", {"max_parallel_loads": None}).json()["max_parallel_loads"] is None


@pytest.mark.parametrize(("stage", "counted"), [("load", 1), ("render", 0)])
def test_a_node_says_whether_the_model_or_a_tile_failed(farm: Farm, stage: str, counted: int) -> None:
    farm.submit()
    node = make.registered_node(farm.resource, farm.site)[1]
    lease = node.post("node-agent/lease", {}).json()["lease"]

    answer = node.post(f"node-agent/lease/{lease['id']}/fail", {"error": "no room", "stage": stage})

    assert answer.json() == {"command": "run"}
    assert len(RenderModel.objects.get().load_failures) == counted
    assert Lease.objects.get().fault == ("" if counted else "suspect")


@pytest.mark.parametrize("stage", ["", "unload", 1, None])
def test_an_unknown_stage_is_refused(farm: Farm, stage: Any) -> None:
    farm.submit()
    node = make.registered_node(farm.resource, farm.site)[1]
    lease = node.post("node-agent/lease", {}).json()["lease"]

    problem(node.post(f"node-agent/lease/{lease['id']}/fail", {"error": "x", "stage": stage}), 422, "invalid")


def test_the_timeline_marks_copies(operator: Caller, farm: Farm) -> None:
    job = farm.submit(width=16, height=16)
    farm.lease(farm.node())
    Lease.objects.update(created_at=timezone.now() - timedelta(minutes=1))
    farm.lease(farm.node())

    leases = operator.get(f"job/{job.pk}/timeline").json()["leases"]

    assert [(lease["copy"], lease["decision"]) for lease in leases] == [(False, "no-holder"), (True, "copy")]


def test_metrics_count_blocks_quarantines_and_copies(operator: Caller, block: Block, farm: Farm) -> None:
    farm.submit()
    RenderModel.objects.update(quarantined_until=timezone.now() + timedelta(minutes=10))

    text = operator.get("/metrics").content.decode()

    assert 'rrm_blocks{site="here"} 1.0' in text
    assert "rrm_models_quarantined 1.0" in text
    assert "rrm_copies_active 0.0" in text
