"""The dashboard's panel of how well holding models works, and of the autoscaler's plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from tests.acceptance.stack import Client
from tests.browser.conftest import OpenPage
from tests.browser.watching import text, until


def test_the_panel_shows_what_the_farm_tells(
    open_page: OpenPage, client: Client, burst: dict[str, Any], artefacts: Path
) -> None:
    page = open_page("/")
    row = page.locator("#plans tbody tr")
    expect(row).to_have_count(1)

    def told() -> bool:
        plan = client.get("farm/")["resources"][0]["plan"]
        return row.locator("td.n").all_inner_texts() == [str(plan["want"]), str(plan["have"])]

    until(told)
    assert "%" in text(page, "#gauge-hits")
    assert "nobody held it" in text(page, "#reasons")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.locator(".scheduling").screenshot(path=artefacts / f"scheduling-{scheme}.png")


def test_a_resource_that_cannot_start_is_announced(page: Page) -> None:
    page.route(
        "**/v2/farm/",
        lambda route: route.fulfill(json=_inoperable(route.fetch().json())),
    )
    page.reload()
    alarm = page.locator("#alarms .notice")
    expect(alarm).to_have_text("mandelbrot is inoperable. 5 nodes in a row could not be started. No such partition")
    expect(page.locator("#plans tbody td").last).to_contain_text("next try at")


def _inoperable(farm: dict[str, Any]) -> dict[str, Any]:
    resource = farm["resources"][0]
    reason = "5 nodes in a row could not be started. No such partition"
    plan = {**resource["plan"], "blocked": "launches failed", "blocked_until": farm["time"]}
    return {**farm, "resources": [{**resource, "status": "inoperable", "reason": reason, "plan": plan}]}
