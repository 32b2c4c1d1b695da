"""What the pages may load, as the server says it."""

from __future__ import annotations

import pytest
from django.test import Client

from rrm.dashboard.security import PAGES, TOOLS, policy_for


@pytest.fixture
def browserless() -> Client:
    return Client()


@pytest.mark.parametrize("path", ["/", "/login/", "/explore/", "/job/x", "/rendering-resource-manager/v2/farm/"])
def test_pages_run_nothing_inline(path: str) -> None:
    assert policy_for(path) == PAGES
    assert "unsafe" not in PAGES


@pytest.mark.parametrize("policy", [PAGES, TOOLS])
def test_no_policy_names_another_host_or_allows_framing(policy: str) -> None:
    assert "http" not in policy
    assert "*" not in policy
    assert "frame-ancestors 'none'" in policy


@pytest.mark.django_db
def test_a_stranger_is_sent_to_the_login_page_under_the_policy(browserless: Client) -> None:
    for path, place in {"/": "/", "/explore/?radius=1": "/explore/%3Fradius%3D1"}.items():
        answer = browserless.get(path)
        assert answer.status_code == 302
        assert answer["Location"] == f"/login/?next={place}"
    assert browserless.get("/login/")["Content-Security-Policy"] == PAGES


@pytest.mark.django_db
@pytest.mark.parametrize(("path", "script"), [("/", "home"), ("/explore/", "explore")])
def test_pages_are_never_cached_and_hold_no_inline_code(admin_client: Client, path: str, script: str) -> None:
    answer = admin_client.get(path)
    content = answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    assert "style=" not in content
    assert "onclick" not in content
    assert f'<script type="module" src="/static/dashboard/{script}.js"></script>' in content


@pytest.mark.django_db
def test_nobody_is_signed_out_by_a_link(admin_client: Client) -> None:
    assert admin_client.get("/logout/").status_code == 405
    assert admin_client.post("/logout/").status_code == 302
    assert admin_client.get("/").status_code == 302
