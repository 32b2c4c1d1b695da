"""Logging in: after a few wrong passwords further attempts have to wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client

from rrm.dashboard import throttle

pytestmark = pytest.mark.django_db

PAGES = ["/login/", "/admin/login/"]


@pytest.fixture(autouse=True)
def ada() -> Iterator[User]:
    cache.clear()
    yield User.objects.create_user("ada", password="right", is_staff=True)
    cache.clear()


def attempt(page: str, password: str, *, account: str = "ada", address: str = "10.0.0.1") -> Any:
    return Client(REMOTE_ADDR=address).post(page, {"username": account, "password": password, "next": "/"})


def fail(page: str, times: int) -> None:
    for _ in range(times):
        assert attempt(page, "wrong").status_code == 200


@pytest.mark.parametrize("page", PAGES)
def test_too_many_wrong_passwords_make_everybody_at_that_address_wait(page: str) -> None:
    fail(page, 5)

    refused = attempt(page, "right")

    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 300
    assert "Too many attempts" in refused.content.decode()
    assert 'value="ada"' in refused.content.decode()
    assert attempt(page, "right", account="ADA").status_code == 429


@pytest.mark.parametrize("page", PAGES)
def test_a_few_wrong_passwords_are_forgiven(page: str) -> None:
    fail(page, 4)

    assert attempt(page, "right").status_code == 302
    fail(page, 4)


def test_other_accounts_and_addresses_do_not_wait() -> None:
    User.objects.create_user("eve", password="right")
    fail("/login/", 5)

    assert attempt("/login/", "right", address="10.0.0.2").status_code == 302
    assert attempt("/login/", "right", account="eve").status_code == 302


def test_the_wait_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    fail("/login/", 5)
    later = time.time() + throttle.WINDOW_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: later)

    assert attempt("/login/", "right").status_code == 302
