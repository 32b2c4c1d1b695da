"""How the pages look: both themes, a narrow screen, contrast, and what they load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.acceptance.stack import Stack
from tests.browser.conftest import OpenPage
from tests.browser.watching import text, until
from tests.thoroughness import THOROUGH

# Contrast of each visible text with what lies behind it (WCAG 2.2, 1.4.3), as [ratio, size in px, text].
CONTRASTS = """() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (color) => {
    const [r, g, b] = color.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const color = rgba(getComputedStyle(at).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    const style = getComputedStyle(node);
    const skipped = node.closest('.unseen, script, svg, :disabled, noscript');
    if (skipped || !walker.currentNode.data.trim() || !node.checkVisibility()) continue;
    const [a, b] = [light(rgba(style.color)), light(behind(node))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), parseFloat(style.fontSize), walker.currentNode.data.trim().slice(0, 40)]);
  }
  return found;
}"""


def settled(page: Page) -> None:
    until(lambda: text(page, "#gauge-tiles"), lambda tiles: tiles == "64 / 64")
    page.wait_for_timeout(300)


SCREENS = [(width, scheme) for width in (1440, 1000, 360) for scheme in ("light", "dark")]
# Each width and each theme once: colours do not depend on the width.
LOOKS = SCREENS if THOROUGH else [(1440, "light"), (1000, "dark"), (360, "light")]


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
@pytest.mark.parametrize("kind", ["dashboard", "job"])
def test_every_text_is_legible_and_nothing_is_cut(
    open_page: OpenPage, burst: dict[str, Any], artefacts: Path, scheme: str, width: int, kind: str
) -> None:
    path = f"/job/{burst['id']}" if kind == "job" else f"/?job={burst['id']}"
    page = open_page(path, color_scheme=scheme, viewport={"width": width, "height": 800})
    settled(page)
    page.screenshot(path=artefacts / f"{kind}-{scheme}-{width}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 40
    assert [found for found in contrasts if found[0] < 4.5] == []
    assert min(size for _, size, _ in contrasts) >= 11


def test_the_theme_is_chosen_and_remembered(open_page: OpenPage) -> None:
    page = open_page("/", color_scheme="light")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)
    page.click("#theme")
    page.click("#theme")
    assert text(page, "#theme") == "Theme: dark"
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == dark


def test_a_stranger_meets_the_login_page_and_a_wrong_password_is_refused(
    browser: Browser, live_rrm: Stack, artefacts: Path
) -> None:
    page = browser.new_page(base_url=live_rrm.url, viewport={"width": 360, "height": 700})
    page.goto("/job/00000000-0000-4000-8000-000000000000")
    assert "/login/" in page.url
    page.fill("#id_username", "operator")
    page.fill("#id_password", "wrong")
    page.click("form button")
    expect(page.get_by_role("alert")).to_contain_text("correct")
    page.screenshot(path=artefacts / "login-360.png")
    page.context.close()


def test_signing_out_closes_the_door(open_page: OpenPage, browser: Browser, live_rrm: Stack) -> None:
    page = browser.new_page(base_url=live_rrm.url)
    page.goto("/")
    page.fill("#id_username", "operator")
    page.fill("#id_password", live_rrm.secret("operator.password"))
    page.click("form button")
    page.click("text=Sign out")
    page.wait_for_selector("#id_password")
    page.goto("/")
    assert "/login/" in page.url
    page.context.close()


@pytest.mark.parametrize("path", ["/admin/", "/rendering-resource-manager/v2/api-docs/"])
def test_the_tools_load_under_their_policy(open_page: OpenPage, path: str) -> None:
    page = open_page(path)
    page.wait_for_load_state("networkidle")
    assert len(text(page, "body")) > 50


def test_with_reduced_motion_borders_stay_and_nothing_moves(open_page: OpenPage, burst: dict[str, Any]) -> None:
    page = open_page(f"/?job={burst['id']}", reduced_motion="reduce")
    settled(page)
    assert page.is_checked("#border-modes [value=keep]")
    moving = (
        "[...document.querySelectorAll('*')].filter(e => parseFloat(getComputedStyle(e).transitionDuration) > 0).length"
    )
    assert page.evaluate(moving) == 0
