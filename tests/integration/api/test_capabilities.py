"""Capabilities as operators give them to sites, and as orders of jobs require them."""

from __future__ import annotations

from typing import Any

import pytest

from rrm.farm import composing
from rrm.farm.models import Job, Site
from tests.factories import VIEW, Caller, caller, person, problem
from tests.integration.farm.conftest import Farm

pytestmark = pytest.mark.django_db

ORDER = {"params": VIEW, "width": 64, "height": 64, "tile_size": 16}
FORM = (
    "Must be a list of at most 20 tags, each of 1 to 40 lower-case letters, digits, '.', '_' and '-',"
    " beginning with a letter or digit."
)
BAD: list[Any] = [
    None,
    "gpu",
    {},
    1,
    ["GPU"],
    [""],
    ["a b"],
    [1],
    [["gpu"]],
    [None],
    ["x" * 41],
    list("abcdefghijklmnopqrstu"),
]


def test_an_operator_says_what_a_site_can_do(farm: Farm, operator: Caller, owner: Caller) -> None:
    assert owner.get("site/here/").json()["capabilities"] == []

    changed = operator.patch("site/here/", {"capabilities": ["v2.1", "gpu", "gpu"]})

    assert changed.json()["capabilities"] == ["gpu", "v2.1"]
    assert Site.objects.get().capabilities == ["gpu", "v2.1"]
    assert owner.get("site/here/").json()["capabilities"] == ["gpu", "v2.1"]
    assert owner.get("site/").json()["results"][0]["capabilities"] == ["gpu", "v2.1"]
    problem(owner.patch("site/here/", {"capabilities": []}), 403, "forbidden")


def test_a_site_is_added_with_what_it_can_do(operator: Caller) -> None:
    assert operator.post("site/", {"id": "a", "capabilities": ["mpi"]}).json()["capabilities"] == ["mpi"]
    assert operator.post("site/", {"id": "b"}).json()["capabilities"] == []
    operator.patch("site/a/", {"name": "A"})
    assert Site.objects.get(pk="a").capabilities == ["mpi"]


@pytest.mark.parametrize("value", BAD, ids=repr)
def test_a_site_refuses_what_is_no_list_of_tags(farm: Farm, operator: Caller, value: Any) -> None:
    refused = problem(operator.patch("site/here/", {"capabilities": value}), 422, "invalid")

    assert list(refused["errors"]) == ["capabilities"]
    assert refused["errors"]["capabilities"] == [FORM if value is not None else "This field may not be null."]
    assert Site.objects.get().capabilities == []


@pytest.mark.parametrize("value", [bad for bad in BAD if bad is not None], ids=repr)
def test_an_order_refuses_what_is_no_list_of_tags(owner: Caller, value: Any) -> None:
    refused = problem(owner.post("job/", {**ORDER, "requires": value}), 422, "invalid")

    assert refused["errors"] == {"requires": [FORM]}


def test_a_job_shows_what_it_requires(farm: Farm, operator: Caller, owner: Caller) -> None:
    operator.patch("site/here/", {"capabilities": ["gpu", "mpi"]})

    made = owner.post("job/", {**ORDER, "requires": ["mpi", "gpu", "mpi"]}).json()

    assert made["requires"] == ["gpu", "mpi"]
    assert owner.get(f"job/{made['id']}/").json()["requires"] == ["gpu", "mpi"]
    for order in (ORDER, {**ORDER, "requires": []}, {**ORDER, "requires": None}):
        assert owner.post("job/", order).json()["requires"] == []


def test_other_colours_of_a_job_show_what_it_required(farm: Farm, operator: Caller, owner: Caller) -> None:
    operator.patch("site/here/", {"capabilities": ["gpu"]})
    job = farm.submit(requires=["gpu"], outputs=["smooth"])
    farm.work_off(farm.node())
    composing.compose_job(job.pk)
    operator.patch("site/here/", {"capabilities": []})

    made = owner.post(f"job/{job.pk}/recolor", {"coloring": {"palette": "fire"}}).json()

    assert (made["requires"], made["state"]) == (["gpu"], "COMPOSING")


def test_an_order_that_nobody_can_carry_out_names_the_field_and_what_is_missing(farm: Farm, owner: Caller) -> None:
    refused = problem(owner.post("job/", {**ORDER, "requires": ["gpu"], "width": 0}), 422, "invalid")
    assert list(refused["errors"]) == ["width"]

    refused = problem(
        owner.post("job/", {**ORDER, "requires": ["gpu"], "model": "none", "params": None}), 422, "invalid"
    )
    assert refused["errors"]["requires"] == [
        "No enabled site of the resource 'mandelbrot' offers gpu. here lacks gpu; it offers nothing."
    ]
    assert list(refused["errors"]) == ["requires", "model"]
    assert not Job.objects.exists()


def test_a_site_that_is_named_and_cannot_is_told_under_sites(farm: Farm, owner: Caller) -> None:
    order = {**ORDER, "requires": ["gpu"], "sites": {"policy": "only", "ids": ["here"]}}
    refused = problem(owner.post("job/", order), 422, "invalid")

    assert refused["errors"] == {"sites": ["here lacks gpu; it offers nothing."]}


def test_what_a_job_requires_cannot_be_changed(farm: Farm, owner: Caller) -> None:
    problem(owner.patch(f"job/{farm.submit().pk}/", {"requires": []}), 422, "invalid")


def test_a_change_is_heard_at_once_by_nodes_that_found_nothing(shared_farm: Farm) -> None:
    operator = caller(person("olga", is_operator=True))
    operator.patch("site/here/", {"capabilities": ["gpu"]})
    job, node = shared_farm.submit(requires=["gpu"]), shared_farm.node()
    operator.patch("site/here/", {"capabilities": []})
    assert shared_farm.ask(node)["lease"] is None

    operator.patch("site/here/", {"capabilities": ["gpu"]})

    assert shared_farm.lease(node)["job"] == str(job.pk)
