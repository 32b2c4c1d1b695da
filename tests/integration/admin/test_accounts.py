"""Accounts in the admin pages: quotas and tokens."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from rrm.farm import tokens
from rrm.farm.models import Quota, Token
from tests.integration.admin.forms import filled, listed
from tests.integration.farm.conftest import Farm


def test_a_quota_is_set_and_shown_with_what_is_used(operator: Client, farm: Farm) -> None:
    Quota.objects.update(charged_seconds=100)
    address = reverse("admin:farm_quota_change", args=[Quota.objects.get().pk])
    changed = {**filled(operator, address), "weight": "2", "max_queued_pixels": "8192"}
    assert operator.post(address, changed).status_code == 302
    quota = Quota.objects.get()
    assert (quota.weight, quota.max_queued_pixels, quota.max_nodes) == (2, 8192, None)
    assert quota.charged_seconds == 200, "another weight leaves a person in their round"
    assert "4,096 of 8,192" in operator.get(listed("quota")).text


def test_a_person_without_a_quota_is_given_one(operator: Client, farm: Farm) -> None:
    bob = User.objects.create_user("bob")
    answer = operator.post(reverse("admin:farm_quota_add"), {"owner": bob.pk, "weight": "1", "max_nodes": "3"})
    assert answer.status_code == 302
    assert Quota.objects.get(owner=bob).max_nodes == 3


def test_the_secret_of_a_token_is_shown_once(operator: Client, farm: Farm) -> None:
    form = {"user": farm.owner.pk, "name": "portal", "scopes": ["read", "render"]}

    response = operator.post(reverse("admin:farm_token_add"), form)

    found = re.search(r"rrm_[\w-]{43}", response.text)
    assert found
    token = tokens.authenticate(found[0])
    assert token
    assert (token.name, token.user, token.scopes) == ("portal", farm.owner, ["read", "render"])
    assert "no-store" in response["Cache-Control"]
    for address in (listed("token"), reverse("admin:farm_token_change", args=[token.pk]), "/admin/"):
        assert found[0] not in operator.get(address).text


def test_a_token_is_revoked_by_deleting_it(operator: Client, farm: Farm) -> None:
    token, secret = tokens.issue(farm.owner, "lost", ["read"])

    operator.post(reverse("admin:farm_token_delete", args=[token.pk]), {"post": "yes"})

    assert tokens.authenticate(secret) is None


def test_only_a_superuser_issues_tokens(client: Client, farm: Farm) -> None:
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(content_type__app_label="farm"))
    client.force_login(clerk)

    assert client.get(listed("token")).status_code == 200
    assert client.get(reverse("admin:farm_token_add")).status_code == 403
    assert not Token.objects.filter(user=clerk).exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [("weight", "1e300"), ("weight", "nan"), ("weight", "0"), ("max_nodes", "99999999999"), ("max_sessions", "-1")],
)
def test_a_quota_out_of_bounds_is_refused(operator: Client, farm: Farm, field: str, value: str) -> None:
    address = reverse("admin:farm_quota_change", args=[Quota.objects.get().pk])
    answer = operator.post(address, {**filled(operator, address), field: value})
    assert answer.status_code == 200
    assert field in answer.context["adminform"].form.errors
    assert Quota.objects.get().weight == 1
