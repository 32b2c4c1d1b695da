"""Quotas over the API: operators set them, everybody sees their own, refusals name them."""

from __future__ import annotations

import math

import pytest

from rrm.farm.models import Event, Job, Quota
from tests.factories import VIEW, Caller, problem
from tests.integration.farm.conftest import Farm

ORDER = {"params": VIEW, "width": 64, "height": 64, "tile_size": 16}


def test_an_operator_sets_what_a_person_may_have(farm: Farm, owner: Caller, operator: Caller) -> None:
    limits = {"weight": 2.5, "max_nodes": 3, "max_queued_pixels": 2**40, "max_sessions": 0}
    answer = operator.patch("quota/user/ada", limits)
    assert answer.status_code == 200, answer.content
    assert answer.json() == {
        "owner": "ada",
        "charged_seconds": 0.0,
        "used": {"nodes": 0, "queued_pixels": 0, "sessions": 0},
        **limits,
    }
    assert operator.get("quota/user/ada").json() == answer.json()
    assert operator.get("quota/").json()["results"] == [answer.json()]
    assert Event.objects.get(subject_type="quota").data["message"] == (
        "Quota of ada: max_nodes 3, max_queued_pixels 1099511627776, max_sessions 0, weight 2.5"
    )
    back = operator.patch("quota/user/ada", {"max_nodes": None}).json()
    assert (back["max_nodes"], back["weight"]) == (None, 2.5)


def test_people_see_what_they_may_have_and_have(farm: Farm, owner: Caller, operator: Caller) -> None:
    assert owner.post("job/", ORDER).status_code == 202
    farm.lease(farm.node())
    body = owner.get("quota/me").json()
    assert body["used"] == {"nodes": 1, "queued_pixels": 4096, "sessions": 0}
    assert (body["max_sessions"], body["max_open_jobs"], body["max_nodes"]) == (4, 1000, None)
    assert owner.get("quota/user/ada").status_code == owner.get("quota/").status_code == 403
    assert operator.get("quota/user/nobody").status_code == 404


def test_what_was_charged_is_told_to_the_millisecond(farm: Farm, owner: Caller, operator: Caller) -> None:
    Quota.objects.create(owner=farm.owner, charged_seconds=0.1 + 0.2)
    assert owner.get("quota/me").json()["charged_seconds"] == 0.3
    assert operator.get("quota/?ordering=-charged_seconds").json()["results"][0]["charged_seconds"] == 0.3
    problem(operator.patch("quota/user/ada", {"charged_seconds": 0}), 422, "invalid")


def test_a_refusal_names_the_limit_and_what_is_used(farm: Farm, owner: Caller, operator: Caller) -> None:
    operator.patch("quota/user/ada", {"max_queued_pixels": 5000})
    assert owner.post("job/", ORDER).status_code == 202
    body = problem(owner.post("job/", ORDER), 429, "too-many")
    assert (body["limit"], body["allowed"], body["used"], body["asked"]) == ("max_queued_pixels", 5000, 4096, 4096)
    assert "wait until some are done, or cancel them" in body["detail"]


@pytest.mark.parametrize(
    "body",
    [
        *({"weight": 0}, {"weight": "2"}, {"weight": None}, {"weight": 1e308}, {"weight": 10**400}, {"weight": 1000.1}),
        *({"max_nodes": -1}, {"max_nodes": 1.5}, {"max_nodes": 2**31}, {"max_sessions": 2**31}),
        *({"max_queued_pixels": 2**53 + 1}, {"charged_seconds": 0}),
    ],
)
def test_what_is_no_limit_is_refused(farm: Farm, operator: Caller, body: dict[str, object]) -> None:
    refused = problem(operator.patch("quota/user/ada", body), 422, "invalid")
    assert set(refused["errors"]) == set(body)
    assert not Quota.objects.exists()


def test_a_weight_out_of_bounds_is_told_which_they_are(farm: Farm, operator: Caller) -> None:
    refused = problem(operator.patch("quota/user/ada", {"weight": 1e308}), 422, "invalid")
    assert refused["errors"] == {"weight": ["Must be a number between 0.01 and 1000."]}
    assert operator.patch("quota/user/ada", {"weight": 1000, "max_nodes": 2**31 - 1}).status_code == 200


@pytest.mark.parametrize("charged", [math.inf, -math.inf, 1e300])
def test_a_stored_charge_that_is_no_number_of_seconds_counts_as_none(
    farm: Farm, owner: Caller, operator: Caller, stranger: Caller, charged: float
) -> None:
    assert owner.post("job/", ORDER).status_code == 202
    Quota.objects.filter(owner=farm.owner).update(charged_seconds=charged, weight=1e308)
    assert stranger.post("job/", ORDER).status_code == 202
    for noun in ("job/", "farm/", "quota/"):
        assert operator.get(noun).status_code == 200
    assert owner.get("quota/me").json()["charged_seconds"] == 0
    operator.patch("quota/user/ada", {"weight": 1})
    assert Quota.objects.get(owner=farm.owner).charged_seconds == 0


def test_somebody_who_may_order_no_pixels_is_told_so(farm: Farm, owner: Caller, operator: Caller) -> None:
    operator.patch("quota/user/ada", {"max_queued_pixels": 0})
    body = problem(owner.post("job/", ORDER), 429, "too-many")
    assert body["detail"] == "You may order no picture at present; ask an operator for some pixels."


def test_an_order_that_is_stored_is_answered_whatever_cannot_be_told_of_it(
    farm: Farm, owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OverflowError("cannot convert float infinity to integer")

    told = owner.post("job/", ORDER).json()
    monkeypatch.setattr("rrm.api.v2.job_body.pending_reasons", fail)
    answer = owner.post("job/", ORDER)
    assert answer.status_code == 202, answer.content
    assert str(Job.objects.latest("created_at").pk) == answer.json()["id"]
    assert answer.json().keys() == told.keys()
