"""The explorer against the real service: a renderer is booked, looked through, and given back."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from playwright.sync_api import CDPSession, Page, expect

from tests.acceptance.stack import Client
from tests.browser import watching
from tests.browser.conftest import OpenPage
from tests.browser.exploring import (
    BLANK,
    CANVAS,
    VALLEY,
    Between,
    book,
    expect_card,
    middle,
    picture,
    radius,
    seen,
    session_of,
    settled,
)
from tests.browser.test_look import CONTRASTS
from tests.browser.watching import painted, text, until


@pytest.fixture
def page(explorer: Page) -> Page:
    """The explorer with a renderer."""
    return explorer


def test_a_view_is_booked_zoomed_ordered_as_a_job_and_given_back(page: Page, client: Client) -> None:
    whole = picture(page)
    page.mouse.move(*middle(page))
    for _ in range(4):
        page.mouse.wheel(0, -400)
    zoomed = settled(page)
    assert radius(page) < 0.2
    assert not np.array_equal(whole, zoomed)

    page.click("#order-open")
    page.select_option("#o-size", "1")
    page.click("#order-submit")
    page.wait_for_selector("#order-link")
    job = client.finished((page.get_attribute("#order-link", "href") or "").removeprefix("/job/"))
    rendered = watching.picture(client.content(f"job/{job['id']}/image.png"))
    assert rendered.shape == zoomed.shape
    difference = np.abs(rendered.astype(int) - zoomed.astype(int)).mean()
    assert difference < 3.0, "the job does not show what the screen showed"
    page.click("#order-close")

    booked = session_of(client)
    page.click("#session-end")
    expect_card(page, "The session is over")
    expect(page.locator("#cover")).to_contain_text("Ended by operator")
    assert client.get(f"session/{booked['id']}/")["state"] == "ENDED"
    assert client.get(f"node/{booked['node']}/")["state"] == "IDLE"


def test_a_late_frame_never_takes_the_place_of_a_newer_one(explorer_at: OpenPage) -> None:
    page = explorer_at()
    between = Between(page)
    page.reload()
    page.wait_for_selector("#palettes .palette")
    book(page)
    between.to_keep = 1
    page.focus(CANVAS)
    page.keyboard.press("+")
    late = between.wait_for_kept()
    page.keyboard.press("ArrowLeft")
    newest = settled(page)
    before = seen(page)
    between.sockets[-1].send(late)
    page.wait_for_timeout(400)
    assert seen(page) == before
    assert np.array_equal(picture(page), newest)


def test_the_last_picture_moves_at_once_while_no_frame_comes(explorer_at: OpenPage) -> None:
    page = explorer_at()
    between = Between(page)
    page.reload()
    page.wait_for_selector("#palettes .palette")
    book(page)
    before = picture(page)
    frame = seen(page)["frame"]
    between.to_keep = 10**6
    x, y = middle(page)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 100, y + 40)
    page.mouse.up()
    painted(page)
    assert seen(page)["frame"] == frame
    assert np.array_equal(picture(page)[40:, 100:], before[:-40, :-100])


def test_a_link_restores_the_view_and_its_looks(explorer_at: OpenPage, client: Client) -> None:
    page = explorer_at(f"{VALLEY}&max_iter=3000&scale=2.5&offset=0.25&interior=%23204060&method=bands")
    book(page)
    booked = session_of(client)
    camera = client.get(f"session/{booked['id']}/proxy/camera")
    assert (camera["center"], camera["radius"]) == (["-0.7463", "0.1102"], "0.005")
    assert (camera["palette"], camera["method"], camera["max_iter"]) == ("ocean", "bands", 3000)
    assert (camera["scale"], camera["offset"], camera["interior"]) == (2.5, 0.25, "#204060")
    assert page.input_value("#l-limit") == "3000"
    shown = settled(page)

    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#copy-link")
    expect(page.locator("#notice")).to_contain_text("copied")
    link = page.evaluate("navigator.clipboard.readText()")
    assert booked["id"] not in link
    page.focus(CANVAS)
    page.keyboard.press("Home")
    settled(page)
    page.goto(link)  # into the same session, which shows something else
    page.wait_for_selector("#explorer[data-phase=ready]")
    assert np.array_equal(settled(page), shown), "the link shows something else"
    assert radius(page) == 0.005


def test_a_link_wins_over_what_the_session_shows_however_slowly_the_page_paints(explorer_at: OpenPage) -> None:
    book(explorer_at())
    slow = explorer_at(BLANK)
    slow.add_init_script("window.requestAnimationFrame = (draw) => setTimeout(draw, 400)")
    slow.goto(VALLEY)
    slow.wait_for_selector("#explorer[data-phase=ready]")
    settled(slow)
    assert radius(slow) == 0.005


def test_the_keyboard_does_everything(page: Page) -> None:
    page.focus(CANVAS)
    start = text(page, "#position")
    page.keyboard.press("ArrowRight")
    assert text(page, "#position") != start
    page.keyboard.press("ArrowLeft")
    assert text(page, "#position") == start
    page.keyboard.press("+")
    assert radius(page) == pytest.approx(1.25 / 1.5, rel=1e-3)
    settled(page)
    page.keyboard.press("PageUp")
    assert radius(page) == pytest.approx(0.125 / 1.5, rel=1e-3)
    settled(page)
    page.keyboard.press("b")
    assert radius(page) == pytest.approx(1.25 / 1.5, rel=1e-3)
    page.keyboard.press("f")
    assert radius(page) == pytest.approx(0.125 / 1.5, rel=1e-3)
    page.keyboard.press("Home")
    assert text(page, "#position") == start
    before = settled(page)
    page.keyboard.press("]")
    assert page.locator("#palettes input:checked").get_attribute("value") == "fire"
    assert not np.array_equal(settled(page), before)
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "scene-canvas"
    outline = f"getComputedStyle(document.querySelector('{CANVAS}')).outlineStyle"
    assert page.evaluate(outline) == "solid"


def test_a_box_and_a_double_click_zoom_where_they_are(page: Page) -> None:
    x, y = middle(page)
    page.keyboard.down("Shift")
    page.mouse.move(x - 50, y - 20)
    page.mouse.down()
    page.mouse.move(x + 50, y + 20, steps=3)
    expect(page.locator("#zoom-box")).to_be_visible()
    page.mouse.up()
    page.keyboard.up("Shift")
    expect(page.locator("#zoom-box")).to_be_hidden()
    box = page.locator(CANVAS).bounding_box()
    assert box is not None
    factor = min(box["width"] / 100, box["height"] / 40)
    assert radius(page) == pytest.approx(1.25 / factor, rel=1e-3)
    assert text(page, "#position") == "x -0.75   y 0"
    page.mouse.dblclick(x + 60, y)
    assert radius(page) == pytest.approx(1.25 / factor / 2, rel=1e-3)
    assert text(page, "#position") != "x -0.75   y 0"
    settled(page)


def _touch(session: CDPSession, kind: str, *points: tuple[float, float]) -> None:
    touches = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
    session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})


def test_one_finger_pans_and_two_zoom(explorer_at: OpenPage) -> None:
    page = explorer_at(viewport={"width": 390, "height": 800}, has_touch=True)
    book(page)
    page.evaluate("window.scrollTo(0, 0)")
    x, y = middle(page)
    session = page.context.new_cdp_session(page)
    _touch(session, "touchStart", (x, y))
    for step in range(1, 6):
        _touch(session, "touchMove", (x - 12 * step, y))
    _touch(session, "touchEnd")
    until(lambda: text(page, "#position"), lambda place: place.startswith("x -0.") and place != "x -0.75   y 0")
    assert radius(page) == 1.25
    _touch(session, "touchStart", (x - 30, y), (x + 30, y))
    for step in range(1, 7):
        _touch(session, "touchMove", (x - 30 - 10 * step, y), (x + 30 + 10 * step, y))
    _touch(session, "touchEnd")
    until(lambda: radius(page), lambda now: now == pytest.approx(1.25 / 3, rel=0.02))
    settled(page)


def test_the_picture_fills_a_window_of_another_size(page: Page) -> None:
    page.set_viewport_size({"width": 1000, "height": 900})
    shown = settled(page)
    box = page.locator(CANVAS).bounding_box()
    assert box is not None
    assert shown.shape[:2] == (round(box["height"]), round(box["width"]))
    assert radius(page) == 1.25
    page.select_option("#l-quality", "light")
    page.wait_for_timeout(300)
    assert not np.array_equal(settled(page), shown), "fewer pixels were to be drawn"
    page.select_option("#l-quality", "sharp")
    page.wait_for_timeout(300)
    lossless = settled(page).astype(int)
    assert 0 < np.abs(lossless - shown).mean() < 3


def test_a_deep_place_keeps_all_its_digits(page: Page, client: Client) -> None:
    page.select_option("#place", label="deep-1e100")
    assert text(page, "#d-precision") == "deep"
    settled(page)
    page.mouse.move(*middle(page))
    page.mouse.wheel(0, -600)
    page.mouse.wheel(0, -600)
    settled(page)
    camera = client.get(f"session/{session_of(client)['id']}/proxy/camera")
    assert len(camera["center"][0]) > 110
    assert camera["radius"].endswith("e-101")

    def place_in_address() -> list[str]:
        query = parse_qs(urlsplit(page.evaluate("location.href")).query)
        return [query["x"][0], query["y"][0]]

    until(place_in_address, lambda place: place == camera["center"])  # it follows once the view rests


def test_formulas_and_julia_sets_are_shown_as_deep_as_they_go(page: Page, client: Client) -> None:
    whole = picture(page)
    page.click("#julia")
    expect(page.locator("#julia")).to_have_attribute("aria-pressed", "true")
    assert text(page, "#julia-constant") == "c = -0.75, 0"
    assert not np.array_equal(settled(page), whole)
    page.click("#julia")
    page.select_option("#l-formula", "burning-ship")
    assert not np.array_equal(settled(page), whole)
    page.focus(CANVAS)
    for _ in range(16):
        page.keyboard.press("PageUp")
    assert text(page, "#d-radius") == "1.000e-12"
    settled(page)
    expect(page.locator("#notice")).to_be_hidden()


def test_what_is_on_the_screen_is_saved_as_it_is(page: Page) -> None:
    shown = settled(page)
    with page.expect_download() as download:
        page.click("#save-picture")
    assert download.value.suggested_filename == "mandelbrot-1e0.0.png"
    assert np.array_equal(watching.picture(download.value.path().read_bytes()), shown)


def test_a_jobs_page_leads_to_its_view(open_page: OpenPage, burst: dict[str, Any]) -> None:
    page = open_page(f"/job/{burst['id']}")
    page.wait_for_selector("#viewer:not([hidden])")
    until(lambda: "radius=" in (page.get_attribute("#explore-view", "href") or ""))
    page.click("#explore-view")
    page.wait_for_selector("#palettes .palette")
    assert page.locator("#palettes input:checked").get_attribute("value") == "fire"
    assert page.input_value("#l-limit") == "256"
    assert text(page, "#position").startswith("x -0.75")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 1000, 360])
def test_every_text_is_legible_and_nothing_is_cut(
    explorer_at: OpenPage, artefacts: Path, scheme: str, width: int
) -> None:
    page = explorer_at(VALLEY, color_scheme=scheme, viewport={"width": width, "height": 720})
    legible(page, width)
    book(page)
    legible(page, width)
    page.screenshot(path=artefacts / f"explorer-{scheme}-{width}.png")
    for button in ("#order-open", "#help-open"):
        page.click(button)
        legible(page, width)
        page.keyboard.press("Escape")


def legible(page: Page, width: int) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 30
    assert [found for found in contrasts if found[0] < 4.5] == []
    assert min(size for _, size, _ in contrasts) >= 11


def test_every_control_has_a_name(page: Page) -> None:
    """What a screen reader calls it: a label, text or an attribute."""
    nameless = """[...document.querySelectorAll('button, input, select, a, canvas[tabindex], [role=dialog], dialog')]
      .filter((node) => !(node.getAttribute('aria-label') || node.getAttribute('aria-labelledby')
        || node.labels?.length || node.textContent.trim() || node.type === 'hidden'))
      .map((node) => node.outerHTML)"""
    assert page.evaluate(nameless) == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((node) => node.id)")
    assert len(ids) == len(set(ids))
