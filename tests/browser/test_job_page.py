"""The page of one job: zoom, timeline, events, and what happens while it runs."""

from __future__ import annotations

from typing import Any

import numpy as np
from playwright.sync_api import Page, expect

from tests.acceptance.stack import Client
from tests.browser.conftest import OpenPage
from tests.browser.watching import canvas, completed, drawn, painted, picture, text, until


def zoomable(page: Page) -> None:
    page.wait_for_selector("#viewer:not([hidden])")
    painted(page)
    until(lambda: page.get_attribute("#viewer", "data-loading"), lambda loading: loading == "0")
    painted(page)


def level(page: Page) -> int:
    return int(page.get_attribute("#viewer", "data-level") or -1)


def test_a_finished_picture_can_be_zoomed_to_its_pixels(
    open_page: OpenPage, client: Client, burst: dict[str, Any]
) -> None:
    page = open_page(f"/job/{burst['id']}")
    zoomable(page)
    page.click("[data-zoom=one]")
    zoomable(page)
    assert level(page) == 10  # 2**10 = 1024 pixels: the finest level
    seen = canvas(page, "#viewer")[..., :3]
    image = picture(client.content(f"job/{burst['id']}/image.png"))
    top, left = (seen.shape[0] - 1024) // 2, (seen.shape[1] - 1024) // 2
    middle = seen[seen.shape[0] // 2 - 50 : seen.shape[0] // 2 + 50, left + 462 : left + 562]
    found = [
        np.array_equal(middle, image[512 - 50 + dy : 512 + 50 + dy, 462 + dx : 562 + dx])
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
    ]
    assert any(found), f"the middle of the screen is not the middle of the picture (offset {top})"


def test_wheel_drag_and_keys_move_the_view(open_page: OpenPage, burst: dict[str, Any]) -> None:
    page = open_page(f"/job/{burst['id']}")
    zoomable(page)
    whole = text(page, "#plane")
    page.hover("#viewer")
    page.mouse.wheel(0, -1500)
    until(lambda: text(page, "#plane"), lambda now: now != whole)
    page.focus("#viewer")
    before = text(page, "#plane")
    page.keyboard.press("ArrowLeft")
    until(lambda: text(page, "#plane") != before)
    box = page.locator("#viewer").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 120, y + 40, steps=4)
    page.mouse.up()
    page.keyboard.press("0")
    page.mouse.move(0, 0)
    until(lambda: text(page, "#plane"), lambda now: now.endswith(whole.split()[-2] + " %"))


def test_the_view_can_be_ordered_as_a_job_of_its_own(open_page: OpenPage, burst: dict[str, Any]) -> None:
    page = open_page(f"/job/{burst['id']}")
    zoomable(page)
    for _ in range(3):
        page.click("[data-zoom=in]")
    page.click("#render-view")
    page.wait_for_selector("#palettes .palette")
    assert page.input_value("#f-model") == ":circle"
    assert float(page.input_value("[name=center_x]")) == -0.75
    assert 0.1 < float(page.input_value("[name=radius]")) < 1.0
    assert page.input_value("[name=max_iter]") == "256"


def test_timeline_parameters_and_events_are_there_long_after(
    open_page: OpenPage, client: Client, burst: dict[str, Any]
) -> None:
    page = open_page(f"/job/{burst['id']}")
    leases = client.get(f"job/{burst['id']}/timeline")["leases"]
    until(lambda: page.locator("#timeline .bar").count(), lambda bars: bars == len(leases))
    fills = page.locator("#timeline .bar rect").evaluate_all("all => all.map(rect => rect.getAttribute('fill'))")
    assert set(fills) == {"#3b82f6", "#f59e0b"}
    expect(page.locator("#facts")).to_contain_text("64 tiles of 128 px")
    expect(page.locator("#facts")).to_contain_text("split, local, second")
    until(lambda: page.locator("#log .state").all_inner_texts(), lambda states: "COMPLETED" in str(states))


def test_names_are_text_and_never_markup(open_page: OpenPage, burst: dict[str, Any]) -> None:
    page = open_page(f"/job/{burst['id']}")
    expect(page.locator("#job-title")).to_have_text("burst <b>in two</b>")
    assert page.locator("#job-title b").count() == 0


def test_results_can_be_fetched_from_the_page(open_page: OpenPage, client: Client, burst: dict[str, Any]) -> None:
    page = open_page(f"/job/{burst['id']}")
    page.wait_for_selector("#job-downloads a")
    assert page.locator("#job-downloads a").all_inner_texts() == ["Picture (PNG)", "Counts (.npy)"]
    with page.expect_download() as download:
        page.click("#job-downloads a >> nth=0")
    assert download.value.path().read_bytes() == client.content(f"job/{burst['id']}/image.png")


def test_the_page_of_a_running_job_becomes_zoomable_at_the_end(open_page: OpenPage, client: Client) -> None:
    job = client.submit(name="live", model="valley", width=2048, height=2048, tile_size=128)
    client.act(job, "pause")  # so that it is not over before the page is there
    page = open_page(f"/job/{job}")
    client.act(job, "resume")
    until(lambda: drawn(page), lambda count: count != "0")
    completed(page)
    zoomable(page)
    assert canvas(page, "#viewer")[..., 3].max() == 255
    assert text(page, "#gauge-tiles") == "256 / 256"


def test_a_failed_job_says_why_a_cancelled_one_can_be_taken_up_again(open_page: OpenPage, client: Client) -> None:
    job = client.submit(name="again", model="valley", width=4096, height=4096, tile_size=256)
    client.act(job, "cancel")
    page = open_page(f"/job/{job}")
    page.wait_for_selector("#job-state.cancelled")
    page.click("[data-action=retry]")
    completed(page)
    assert text(page, "#gauge-tiles") == "256 / 256"


def test_a_job_that_does_not_exist_is_said_to_be_missing(open_page: OpenPage) -> None:
    page = open_page("/job/00000000-0000-4000-8000-000000000000")
    expect(page.locator("#job-waiting")).to_contain_text("no such job")
    page.watcher.forgive("404")  # type: ignore[attr-defined]


def test_a_deleted_job_leads_back_to_the_dashboard(open_page: OpenPage, client: Client) -> None:
    job = client.submit(name="short-lived", model="burst", width=256, height=256)
    client.finished(job)
    page = open_page(f"/job/{job}")
    # A question that is still under way when its job goes is answered with 404, which is no fault of the page.
    expect(page.locator("#log")).to_contain_text("COMPLETED")
    page.wait_for_load_state("networkidle")
    page.click("[data-action=delete]")
    page.click("[data-action=delete]")
    page.wait_for_selector("#job-form")
    expect(page.locator("#jobs")).not_to_contain_text("short-lived")


def test_a_finished_job_is_shown_in_other_colours(open_page: OpenPage, client: Client) -> None:
    order = {"width": 256, "height": 256, "outputs": ["png", "smooth"], "coloring": {"palette": "fire", "scale": 4}}
    job = client.finished(client.submit(name="to be blue", model="burst", **order))["id"]
    page = open_page(f"/job/{job}")
    zoomable(page)
    assert page.input_value("#r-palette") == "fire"
    assert page.locator("#r-method option").all_inner_texts() == ["Smooth", "Histogram"]
    page.fill("#r-scale", "0")
    page.click("#recolor-button")
    expect(page.locator("#recolor .error")).to_contain_text("Must not be 0")
    page.watcher.forgive("422")  # type: ignore[attr-defined]
    page.fill("#r-scale", "2")
    page.select_option("#r-palette", "viridis")
    page.click("#recolor-button")
    page.wait_for_url(lambda url: "/job/" in url and job not in url)
    expect(page.locator("#job-state")).to_have_text("completed")
    zoomable(page)
    new = client.job(page.url.rsplit("/", 1)[1].split("?")[0])
    assert (new["recolor_of"], new["coloring"]["palette"], new["coloring"]["scale"]) == (job, "viridis", 2)
    expect(page.locator("#facts")).to_contain_text(job)
