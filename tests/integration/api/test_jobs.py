"""Jobs through the API: ordering, ordering twice, changing, and what the body says."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from rrm.domain.states import JobState
from rrm.farm import composing
from rrm.farm.models import Event, Job
from tests.factories import API, VIEW, Caller, problem
from tests.integration.farm.conftest import Farm

pytestmark = pytest.mark.django_db

ORDER: dict[str, Any] = {"name": "a view", "params": VIEW, "width": 64, "height": 48, "tile_size": 16}


def test_an_order_is_accepted_with_the_place_where_the_job_is(owner: Caller) -> None:
    made = owner.post("job/", ORDER)

    assert made.status_code == 202
    assert made.headers["Location"] == f"{API}job/{made.json()['id']}/"
    found = owner.get(made.headers["Location"])
    assert found.status_code == 200
    assert found.json() == made.json()


def test_a_new_job_says_what_was_ordered_and_why_it_waits(owner: Caller) -> None:
    job = owner.post("job/", ORDER).json()

    assert job["owner"] == "ada"
    assert (job["tile_cols"], job["tile_rows"]) == (4, 3)
    assert job["progress"] == {"tiles": 12, "done": 0, "percent": 0.0, "tiles_per_second": 0.0, "eta_seconds": None}
    assert job["state"] == "QUEUED"
    assert job["pending_reason"]
    assert job["sites"] == {"policy": "any", "ids": []}
    assert job["links"]["image"] == f"{API}job/{job['id']}/image.png"
    assert job["links"]["counts"] is None
    assert job["created_at"].endswith("Z")


def test_a_job_may_name_a_model_by_name_or_id(owner: Caller, operator: Caller) -> None:
    model = operator.post("model/", {"params": VIEW, "name": "valley"}).json()
    order = {key: value for key, value in ORDER.items() if key != "params"}

    for reference in ("valley", model["id"]):
        assert owner.post("job/", {**order, "model": reference}).json()["model"] == model["id"]


def test_a_deep_order_is_accepted_and_shows_its_view_in_decimals(owner: Caller) -> None:
    center = ["-1.7499576837060935036022145060706997072", "0"]
    made = owner.post("job/", {**ORDER, "params": {"center": center, "radius": "2.4e-30", "max_iter": 100}})

    assert made.status_code == 202
    assert made.json()["view"] == {"method": "perturbation", "center": center, "dx": "1e-31", "dy": "1e-31"}


def test_an_order_that_is_too_deep_is_refused_by_field(owner: Caller) -> None:
    refused = owner.post("job/", {**ORDER, "params": {"center": [0, 0], "radius": "1e-1200", "max_iter": 100}})

    problem(refused, 422, "invalid")
    assert "1e-1000" in refused.json()["errors"]["params.radius"][0]


def test_the_same_order_with_the_same_key_is_one_job(owner: Caller) -> None:
    first = owner.post("job/", ORDER, Idempotency_Key="k")
    second = owner.post("job/", ORDER, Idempotency_Key="k")

    assert second.status_code == 202
    assert second.json()["id"] == first.json()["id"]
    assert second.headers["Location"] == first.headers["Location"]
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert Job.objects.count() == 1


def test_another_order_with_the_same_key_is_refused(owner: Caller) -> None:
    owner.post("job/", ORDER, Idempotency_Key="k")

    problem(owner.post("job/", {**ORDER, "width": 65}, Idempotency_Key="k"), 422, "idempotency-mismatch")


def test_a_key_belongs_to_its_user(owner: Caller, stranger: Caller) -> None:
    mine = owner.post("job/", ORDER, Idempotency_Key="k").json()

    assert stranger.post("job/", ORDER, Idempotency_Key="k").json()["id"] != mine["id"]


def test_without_a_key_two_orders_are_two_jobs(owner: Caller) -> None:
    owner.post("job/", ORDER)
    owner.post("job/", ORDER)

    assert Job.objects.count() == 2


def test_a_job_is_paused_resumed_cancelled_and_retried(owner: Caller) -> None:
    id = owner.post("job/", ORDER).json()["id"]

    states = [owner.post(f"job/{id}/{action}").json()["state"] for action in ("pause", "resume", "cancel", "retry")]

    assert states == ["PAUSED", "QUEUED", "CANCELLED", "QUEUED"]


def test_what_the_state_does_not_allow_is_a_conflict(owner: Caller) -> None:
    id = owner.post("job/", ORDER).json()["id"]
    owner.post(f"job/{id}/cancel")

    for action in ("cancel", "pause", "resume"):
        problem(owner.post(f"job/{id}/{action}"), 409, "state-conflict")


def test_an_operator_acts_on_the_jobs_of_others_under_the_own_name(farm: Farm, operator: Caller) -> None:
    job = farm.submit()

    assert operator.post(f"job/{job.pk}/cancel").json()["reason"] == "Cancelled by olga"
    assert Event.objects.filter(job=job).latest("seq").actor == "olga"


def test_name_and_priority_can_be_changed(owner: Caller) -> None:
    id = owner.post("job/", ORDER).json()["id"]

    changed = owner.patch(f"job/{id}/", {"name": "other", "priority": "urgent"}).json()

    assert (changed["name"], changed["priority"]) == ("other", "urgent")
    assert owner.get(f"job/{id}/").json()["name"] == "other"


def test_a_finished_job_is_deleted_with_its_files(farm: Farm, owner: Caller, settings: Any) -> None:
    job = _completed(farm)
    folder = settings.RRM.data_dir / "jobs" / str(job.pk)
    assert folder.is_dir()

    assert owner.delete(f"job/{job.pk}/").status_code == 204

    problem(owner.get(f"job/{job.pk}/"), 404, "not-found")
    assert not Job.objects.exists()


def test_a_completed_job_tells_who_rendered_it(farm: Farm, owner: Caller) -> None:
    job = _completed(farm)

    body = owner.get(f"job/{job.pk}/").json()

    assert body["state"] == "COMPLETED"
    assert body["progress"]["percent"] == 100.0
    assert body["pending_reason"] == ""
    assert body["warm_hits"] + body["loads"] == job.leases.count()
    assert sum(site["tiles"] for site in body["by_site"]) == job.tiles
    assert [node["hostname"] for site in body["by_site"] for node in site["nodes"]] == ["host"]


def _completed(farm: Farm) -> Job:
    job = farm.submit()
    farm.work_off(farm.node())
    composing.compose_job(UUID(str(job.pk)))
    job.refresh_from_db()
    assert job.state == JobState.COMPLETED
    return job
