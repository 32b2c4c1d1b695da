"""Other colours for a finished job: a job of its own, painted from kept values, without a node."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rrm.domain.states import JobState
from rrm.farm import composing, jobs
from rrm.farm.models import Event, Job
from tests.factories import Caller, problem
from tests.integration.api.conftest import picture_of, whole
from tests.integration.farm.conftest import Farm

pytestmark = pytest.mark.django_db

EVERYTHING = ["png", "counts", "smooth"]
LOOKS: list[dict[str, Any]] = [
    {"palette": "fire"},
    {"palette": "Vivid", "scale": 4, "offset": 0.3, "interior": "#203040"},
    {"palette": "viridis", "scale": -8},
    {"stops": [[0.2, "#ff0000"], [0.7, "#00ff80"]], "interpolation": "cosine", "scale": 9},
    {"palette": "fire", "method": "bands", "scale": 16},
]


def recolored(owner: Caller, job: Job, coloring: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The body of the new job after it was composed."""
    answer = owner.post(f"job/{job.pk}/recolor", {"coloring": coloring, **more})
    assert answer.status_code == 202, answer.content
    body = answer.json()
    assert answer.headers["Location"] == body["links"]["self"]
    assert body["state"] == "COMPOSING"
    composing.compose_job(body["id"])
    done: dict[str, Any] = owner.get(f"job/{body['id']}/").json()
    assert done["state"] == "COMPLETED", done["reason"]
    return done


def ordered(farm: Farm, **order: Any) -> Job:
    job = farm.submit(outputs=EVERYTHING, **order)
    farm.work_off(farm.node())
    composing.compose_job(job.pk)
    job.refresh_from_db()
    assert job.state == JobState.COMPLETED
    return job


@pytest.mark.parametrize("coloring", LOOKS)
def test_a_recoloured_job_is_what_ordering_it_so_would_have_given(
    farm: Farm, job: Job, owner: Caller, coloring: dict[str, Any]
) -> None:
    new = recolored(owner, job, coloring)

    afresh = ordered(farm, coloring=coloring)
    for name in ("image.png", "tile/0/0.png", "tile/3/2.png", "pyramid_files/6/0_0.png", "pyramid_files/2/0_0.png"):
        painted, rendered = (picture_of(owner, f"job/{id}/{name}") for id in (new["id"], afresh.pk))
        assert np.array_equal(painted, rendered)


def test_its_values_stay_with_the_job_that_they_were_rendered_for(job: Job, owner: Caller) -> None:
    new = recolored(owner, job, {"palette": "ocean"}, name="blue")

    assert (new["kind"], new["recolor_of"], new["name"]) == ("recolor", str(job.pk), "blue")
    assert (new["outputs"], new["model"], new["coloring"]) == (["png"], str(job.model_id), {"palette": "ocean"})
    assert (new["links"]["counts"], new["by_site"]) == (None, [])
    assert owner.get(f"job/{new['id']}/timeline").json() == {"leases": []}
    problem(owner.get(f"job/{new['id']}/counts.npy"), 404, "not-found")
    assert [event.data["state"] for event in Event.objects.filter(job=new["id"]).order_by("seq")] == [
        *("QUEUED", "COMPOSING", "COMPLETED")
    ]


def test_a_recolouring_can_be_recoloured_from_the_same_values(job: Job, owner: Caller) -> None:
    first = Job.objects.get(pk=recolored(owner, job, {"palette": "ocean"})["id"])

    second = recolored(owner, first, {"palette": "fire"})

    assert second["recolor_of"] == str(job.pk)


def test_it_outlives_its_source_and_is_then_the_last_of_its_kind(job: Job, owner: Caller) -> None:
    new = recolored(owner, job, {"palette": "ocean"})
    before = whole(owner, f"job/{new['id']}/tile/1/1.png")

    assert owner.delete(f"job/{job.pk}/").status_code == 204

    assert owner.get(f"job/{new['id']}/").json()["recolor_of"] is None
    assert whole(owner, f"job/{new['id']}/tile/1/1.png") == before
    body = problem(owner.post(f"job/{new['id']}/recolor", {"coloring": {}}), 409, "state-conflict")
    assert "deleted" in body["detail"]


@pytest.mark.parametrize("is_deleted", [True, False])
def test_it_fails_with_a_reason_when_its_values_are_gone(job: Job, owner: Caller, is_deleted: bool) -> None:
    new = owner.post(f"job/{job.pk}/recolor", {"coloring": {}}).json()
    if is_deleted:
        jobs.delete(job, "test")
    else:
        next(jobs.files(job).ranges.iterdir()).write_bytes(b"not a bundle")

    composing.compose_job(new["id"])

    body = owner.get(f"job/{new['id']}/").json()
    assert body["state"] == "FAILED"
    assert ("was deleted" if is_deleted else "lost or damaged") in body["reason"]
    assert list(jobs.files(Job(pk=new["id"])).folder.glob("*/*.rrmb")) == []


@pytest.mark.parametrize(
    ("outputs", "coloring", "needed"),
    [
        (["png"], {}, "'smooth' among its outputs"),
        (["png", "counts"], {"method": "histogram"}, "'smooth' among its outputs"),
        (["png", "smooth"], {"method": "bands"}, "'counts' among its outputs"),
        (EVERYTHING, {"method": "distance"}, "order the view with this method"),
        (EVERYTHING, {"method": "normal"}, "order the view with this method"),
    ],
)
def test_a_job_without_the_values_says_what_to_order_instead(
    farm: Farm, owner: Caller, outputs: list[str], coloring: dict[str, Any], needed: str
) -> None:
    job = farm.submit(outputs=outputs)
    farm.work_off(farm.node())
    composing.compose_job(job.pk)

    body = problem(owner.post(f"job/{job.pk}/recolor", {"coloring": coloring}), 422, "invalid")

    assert needed in body["errors"]["coloring.method"][0]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"coloring"}),
        ({"coloring": "fire"}, {"coloring"}),
        ({"coloring": {"palette": "grey"}}, {"coloring.palette"}),
        ({"coloring": {"scale": 0, "offset": "x"}}, {"coloring.scale", "coloring.offset"}),
        ({"coloring": {}, "width": 5}, {"width"}),
        ({"coloring": {}, "name": 5}, {"name"}),
        ({"coloring": {"palette": "grey"}, "name": 5, "width": 5}, {"coloring.palette", "name", "width"}),
    ],
)
def test_bad_fields_are_named(job: Job, owner: Caller, body: dict[str, Any], fields: set[str]) -> None:
    assert set(problem(owner.post(f"job/{job.pk}/recolor", body), 422, "invalid")["errors"]) == fields
    assert Job.objects.count() == 1


def test_a_job_that_is_not_completed_cannot_be_recoloured(farm: Farm, owner: Caller) -> None:
    job = farm.submit(outputs=EVERYTHING)

    problem(owner.post(f"job/{job.pk}/recolor", {"coloring": {}}), 409, "state-conflict")


def test_sent_twice_with_a_key_it_is_one_job(job: Job, owner: Caller) -> None:
    body = {"coloring": {"palette": "fire"}}
    first = owner.post(f"job/{job.pk}/recolor", body, Idempotency_Key="k")
    second = owner.post(f"job/{job.pk}/recolor", body, Idempotency_Key="k")

    assert first.json()["id"] == second.json()["id"]
    assert second.headers["Idempotency-Replayed"] == "true"
    problem(owner.post(f"job/{job.pk}/recolor", {"coloring": {}}, Idempotency_Key="k"), 422, "idempotency-mismatch")


def test_it_belongs_to_whoever_asked_for_it(job: Job, operator: Caller, stranger: Caller) -> None:
    body = {"coloring": {"palette": "fire"}}
    problem(stranger.post(f"job/{job.pk}/recolor", body), 404, "not-found")

    assert operator.post(f"job/{job.pk}/recolor", body).json()["owner"] == "olga"


def test_a_histogram_shows_every_colour_equally_often(farm: Farm, owner: Caller) -> None:
    grey = {"stops": [[0, "#000000"], [1, "#ffffff"]], "method": "histogram", "interior": "#ff0000"}
    job = ordered(farm, coloring=grey)

    pixels = picture_of(owner, f"job/{job.pk}/image.png").reshape(-1, 3)
    outside = pixels[(pixels != (255, 0, 0)).any(axis=1)][:, 0].astype(int)
    shares = np.histogram(outside, bins=8, range=(0, 256))[0] / len(outside)
    assert abs(shares - 1 / 8).max() < 0.03
    assert np.array_equal(
        picture_of(owner, f"job/{recolored(owner, job, grey)['id']}/image.png").reshape(-1, 3), pixels
    )


def test_a_histogram_needs_no_smooth_values_among_the_outputs_and_its_tiles_wait_for_all(
    farm: Farm, owner: Caller
) -> None:
    job = farm.submit(outputs=["png"], coloring={"method": "histogram"})
    node = farm.node()
    lease = farm.lease(node)
    assert (lease["coloring"]["method"], lease["outputs"]) == ("smooth", ["png", "smooth"])
    farm.deliver(node, lease)
    problem(owner.get(f"job/{job.pk}/tile/0/0.png"), 409, "not-ready")
    farm.work_off(node)
    composing.compose_job(job.pk)

    tile = picture_of(owner, f"job/{job.pk}/tile/0/0.png")

    assert np.array_equal(tile, picture_of(owner, f"job/{job.pk}/image.png")[-16:, :16])
    problem(owner.get(f"job/{job.pk}/smooth.npy"), 404, "not-found")


@pytest.mark.parametrize("order", [{"supersample": 3}, {"supersample": 2, "adaptive": True}])
@pytest.mark.parametrize("method", ["smooth", "normal", "distance"])
def test_samples_within_pixels_change_the_picture_and_not_the_values(
    farm: Farm, owner: Caller, job: Job, order: dict[str, Any], method: str
) -> None:
    several = ordered(farm, coloring={"method": method, "scale": 8}, **order)
    single = ordered(farm, coloring={"method": method, "scale": 8})

    body = owner.get(f"job/{several.pk}/").json()
    assert (body["supersample"], body["adaptive"]) == (order["supersample"], order.get("adaptive", False))
    for name in ("counts.npy", "smooth.npy"):
        assert whole(owner, f"job/{several.pk}/{name}") == whole(owner, f"job/{job.pk}/{name}")
    fine, coarse = (picture_of(owner, f"job/{row.pk}/image.png") for row in (several, single))
    assert (fine != coarse).any()
