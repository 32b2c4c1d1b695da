"""What becomes of an explorer's session: booked or refused, shared, kept, lost, ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.stack import ROOT, Client
from tests.browser.conftest import OpenPage
from tests.browser.exploring import (
    CANVAS,
    VALLEY,
    Between,
    book,
    end_all,
    expect_card,
    phase,
    picture,
    radius,
    seen,
    session_of,
    settled,
)
from tests.browser.watching import text, until


@pytest.fixture
def page(explorer: Page) -> Page:
    """The explorer with a renderer."""
    return explorer


def test_without_a_link_a_second_window_begins_with_what_the_first_shows_and_follows_it(
    explorer_at: OpenPage, client: Client
) -> None:
    first = explorer_at(VALLEY)
    book(first)
    second = explorer_at()
    second.wait_for_selector("#explorer[data-phase=ready]")
    settled(second)
    assert radius(second) == 0.005
    assert len(client.get("session/?state=READY")["results"]) == 1
    first.focus(CANVAS)
    first.keyboard.press("PageUp")
    settled(first)
    until(lambda: radius(second), lambda seen: seen == 0.0005)
    second.focus(CANVAS)
    second.keyboard.press("Home")
    settled(second)
    until(lambda: radius(first), lambda seen: seen == 1.25)


def test_a_renderer_that_is_lost_is_told_and_booked_again_with_the_same_view(
    explorer_at: OpenPage, client: Client
) -> None:
    page = explorer_at(VALLEY)
    book(page)
    shown = picture(page)
    client.call("POST", f"node/{session_of(client)['node']}/stop")
    expect_card(page, "The session was lost")
    expect(page.locator("#cover [role=alert]")).to_contain_text("Its node is")
    page.watcher.forgive("WebSocket connection")  # type: ignore[attr-defined]  # the browser tells of each that is refused
    book(page)
    assert np.abs(settled(page).astype(int) - shown).mean() < 0.5


def test_a_broken_connection_is_made_again(explorer_at: OpenPage) -> None:
    page = explorer_at()
    between = Between(page)
    page.reload()
    page.wait_for_selector("#palettes .palette")
    book(page)
    between.sockets[-1].close(code=1012)
    page.focus(CANVAS)
    page.keyboard.press("+")
    until(lambda: (page.title(), len(between.sockets))[1], lambda count: count == 2)
    settled(page)
    assert phase(page) == "ready"
    assert text(page, "#session-state") == "connected"


def test_a_hidden_page_streams_nothing_and_goes_on_when_shown(explorer_at: OpenPage) -> None:
    page = explorer_at()
    between = Between(page)
    page.reload()
    page.wait_for_selector("#palettes .palette")
    book(page)
    hide = """hidden => {
      Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    }"""
    page.evaluate(hide, True)
    asked = seen(page)["asked"]
    page.focus(CANVAS)
    page.keyboard.press("+")
    page.wait_for_timeout(400)
    assert seen(page)["asked"] == asked
    page.evaluate(hide, False)
    until(lambda: (page.title(), len(between.sockets))[1], lambda count: count == 2)
    settled(page)
    assert seen(page)["asked"] != asked


def test_a_session_that_somebody_else_ends_is_told_at_once(page: Page, client: Client) -> None:
    client.call("DELETE", f"session/{session_of(client)['id']}/")
    expect_card(page, "The session is over")
    expect(page.locator("#cover")).to_contain_text("Ended by operator")
    page.watcher.forgive("WebSocket connection")  # type: ignore[attr-defined]  # one more try may be refused


def test_a_warning_of_the_session_is_shown(explorer_at: OpenPage) -> None:
    page = explorer_at()
    event = {"message": "The session ends in 2 minutes at the latest.", "seconds": 100_000}
    body = f"id: 1\nevent: warning\ndata: {json.dumps(event)}\n\n"
    page.route("**/session/*/events", lambda route: route.fulfill(body=body, content_type="text/event-stream"))
    page.click("#book button")
    expect(page.locator("#notice")).to_contain_text("ends in 2 minutes")


def test_using_the_page_keeps_the_session_and_a_page_that_is_left_alone_does_not(explorer_at: OpenPage) -> None:
    page = explorer_at()
    page.clock.install()
    page.reload()
    page.wait_for_selector("#palettes .palette")
    book(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "keepalive" in request.url else None)
    page.clock.fast_forward("03:00")
    page.wait_for_timeout(300)
    assert asked == []
    with page.expect_response("**/keepalive") as answer:
        page.hover("#looks-title")
    assert answer.value.ok


def test_a_session_is_extended_or_says_why_not(page: Page) -> None:
    page.click("#session-extend")
    expect(page.locator("#notice")).to_contain_text("session")
    page.watcher.forgive("409")  # type: ignore[attr-defined]
    expect(page.locator("#session-node")).to_contain_text("rrm-")
    assert "h" in text(page, "#session-hard")


def test_when_nothing_is_free_the_reason_and_the_time_to_come_back_are_told(
    explorer_at: OpenPage, client: Client
) -> None:
    for _ in range(2):
        client.call("POST", "session/", json={"max_wait": 0})
    page = explorer_at()
    page.select_option("#book-wait", "0")
    page.click("#book button")
    expect_card(page, "No renderer")
    expect(page.locator("#cover [role=alert]")).to_contain_text("No renderer is free")
    expect(page.locator("[data-count]")).to_contain_text("worth asking again in")
    page.watcher.forgive("503")  # type: ignore[attr-defined]
    end_all(client)
    book(page)


@pytest.fixture
def held_back(client: Client, tmp_path: Path) -> Iterator[Path]:
    """Nodes that are started do not begin before this file is there."""
    go_on, resource = tmp_path / "go-on", "resource/mandelbrot/"
    wait = f"import os, time\nwhile not os.path.exists({str(go_on)!r}): time.sleep(0.05)\n"
    (tmp_path / "sitecustomize.py").write_text(wait)
    before = client.get(resource)["environment_variables"]
    client.call("PATCH", resource, json={"environment_variables": f"PYTHONPATH={tmp_path}:{ROOT}"})
    yield go_on
    go_on.touch()
    client.call("PATCH", resource, json={"environment_variables": before})


def test_who_waits_sees_why_and_may_give_up(explorer_at: OpenPage, client: Client, held_back: Path) -> None:
    for node in client.live_nodes():
        client.call("POST", f"node/{node['id']}/stop")
    page = explorer_at()
    page.click("#book button")
    expect_card(page, "Waiting for a renderer")
    expect(page.locator("#cover [role=status]")).to_contain_text("Waits for")
    expect(page.locator("[data-count]")).to_contain_text("Gives up in")
    page.click("#cancel")
    expect_card(page, "The session is over")
    assert client.get("session/?state=PENDING")["results"] == []
    held_back.touch()
    book(page)
