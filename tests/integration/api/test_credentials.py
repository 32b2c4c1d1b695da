"""Credentials: bearer tokens and login sessions, how they are made, what they open, and how they end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from rrm.farm import tokens
from rrm.farm.models import Token
from tests import factories as make
from tests.factories import API, Caller, problem
from tests.integration.farm.conftest import Farm

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("scheme", ["Basic", "Token", ""])
def test_other_schemes_than_bearer_are_no_credentials(scheme: str, farm: Farm, owner: Caller) -> None:
    problem(Caller(owner.secret, scheme).get("me/"), 401, "unauthorised")


def test_an_expired_token_is_refused(farm: Farm, owner: Caller) -> None:
    Token.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    problem(owner.get("me/"), 401, "unauthorised")


def test_a_token_of_a_deactivated_user_is_refused(farm: Farm, owner: Caller) -> None:
    farm.owner.is_active = False
    farm.owner.save()

    problem(owner.get("me/"), 401, "unauthorised")


def test_an_operators_token_loses_its_power_with_the_operators_office(operator: Caller) -> None:
    User.objects.filter(username="olga").update(is_staff=False)

    assert operator.get("me/").json()["scopes"] == ["read", "render"]


def test_a_revoked_token_is_refused_at_once(farm: Farm, owner: Caller) -> None:
    id = owner.get("me/").json()["token"]["id"]

    assert owner.delete(f"token/{id}/").status_code == 204

    problem(owner.get("me/"), 401, "unauthorised")


def test_tokens_of_others_do_not_exist_even_for_operators(farm: Farm, owner: Caller, operator: Caller) -> None:
    id = owner.get("me/").json()["token"]["id"]

    problem(operator.get(f"token/{id}/"), 404, "not-found")
    problem(operator.delete(f"token/{id}/"), 404, "not-found")


def test_a_new_token_works_and_its_secret_is_shown_once(operator: Caller) -> None:
    made = operator.post("token/", {"name": "laptop", "scopes": ["read"]})

    assert made.status_code == 201
    assert made.headers["Cache-Control"] == "no-store"
    secret = made.json()["token"]
    assert Caller(secret).get("me/").json()["scopes"] == ["read"]
    shown = operator.get("token/").content.decode() + operator.get(made.headers["Location"]).content.decode()
    assert secret not in shown


def test_a_login_session_makes_tokens_and_sees_all_of_ones_own(farm: Farm, owner: Caller) -> None:
    browser = Client()
    browser.force_login(farm.owner)

    made = browser.post(f"{API}token/", {"name": "t", "scopes": ["render"]}, content_type="application/json")

    assert made.status_code == 201
    assert Caller(made.json()["token"]).get("me/").json()["scopes"] == ["read", "render"]
    assert len(browser.get(f"{API}token/").json()["results"]) == 2
    beyond = browser.post(f"{API}token/", {"name": "t", "scopes": ["operate"]}, content_type="application/json")
    problem(beyond, 403, "forbidden")


def test_a_token_without_the_scope_operate_makes_no_successor(owner: Caller) -> None:
    problem(owner.post("token/", {"name": "next", "scopes": ["read"]}), 403, "forbidden")


def test_a_token_sees_and_revokes_none_that_is_stronger(farm: Farm, owner: Caller) -> None:
    weak = make.caller(farm.owner, "read")
    stronger = owner.get("me/").json()["token"]["id"]
    itself = weak.get("me/").json()["token"]["id"]

    problem(weak.delete(f"token/{stronger}/"), 404, "not-found")
    problem(weak.get(f"token/{stronger}/"), 404, "not-found")
    assert [token["id"] for token in weak.get("token/").json()["results"]] == [itself]
    assert {token["id"] for token in owner.get("token/").json()["results"]} == {itself, stronger}
    assert owner.delete(f"token/{itself}/").status_code == 204
    assert owner.get("me/").status_code == 200


def test_a_token_can_always_be_revoked_with_itself(operator: Caller) -> None:
    User.objects.filter(username="olga").update(is_staff=False)
    id = operator.get("me/").json()["token"]["id"]

    assert operator.delete(f"token/{id}/").status_code == 204


def test_a_token_cannot_make_one_that_outlives_it(operator: Caller) -> None:
    soon = timezone.now() + timedelta(hours=1)
    short = Caller(tokens.issue(User.objects.get(username="olga"), "short", ["operate"], soon)[1])

    problem(short.post("token/", {"name": "long", "scopes": ["read"]}), 403, "forbidden")
    brief = {"name": "brief", "scopes": ["read"], "expires_at": soon.isoformat()}
    assert short.post("token/", brief).status_code == 201


@pytest.mark.parametrize("scopes", [["node"], [], ["read", "all"], "read", [1], None])
def test_unknown_scopes_cannot_be_asked_for(operator: Caller, scopes: Any) -> None:
    body = problem(operator.post("token/", {"name": "x", "scopes": scopes}), 422, "invalid")

    assert any(field.startswith("scopes") for field in body["errors"])


def test_a_login_session_may_read_and_write_with_the_csrf_token(farm: Farm) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(farm.owner)
    browser.get("/")
    csrf = browser.cookies[_csrf_cookie()].value
    order = {"params": make.VIEW, "width": 9, "height": 9}

    assert browser.get(f"{API}me/").json() == {
        "user": "ada",
        "operator": False,
        "scopes": ["read", "render"],
        "token": None,
    }
    made = browser.post(f"{API}job/", order, content_type="application/json", headers={"X-CSRFToken": csrf})
    assert made.status_code == 202


def test_a_login_session_without_the_csrf_token_changes_nothing(farm: Farm) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(farm.owner)

    refused = browser.post(f"{API}job/", {}, content_type="application/json")

    assert "CSRF" in problem(refused, 403, "forbidden")["detail"]
    assert not farm.owner.jobs.exists()


def test_a_logged_in_operator_may_operate(operator: Caller) -> None:
    browser = Client()
    browser.force_login(User.objects.get(username="olga"))

    assert browser.get(f"{API}me/").json()["operator"] is True


def _csrf_cookie() -> str:
    return settings.CSRF_COOKIE_NAME
