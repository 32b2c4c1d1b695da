"""The dashboard against the real service: a job from the form to the finished picture."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page, expect

from tests.acceptance.stack import Client
from tests.browser.conftest import OpenPage
from tests.browser.watching import canvas, completed, drawn, picture, render, text, until


@pytest.fixture(scope="module")
def split_job(client: Client) -> dict[str, Any]:
    order = {"width": 1024, "height": 1024, "tile_size": 128, "sites": {"policy": "split", "ids": ["local", "second"]}}
    return client.finished(client.submit(name="halves", model="burst", **order))


def test_a_burst_ordered_by_the_form_is_assembled_tile_by_tile_into_the_very_picture(
    page: Page, client: Client
) -> None:
    job = render(page)
    completed(page)
    until(lambda: drawn(page), lambda count: count == "64")
    live = canvas(page, "#tiles")
    assert live.shape == (2048, 2048, 4)
    assert np.array_equal(live[..., :3], picture(client.content(f"job/{job}/image.png")))
    assert text(page, "#gauge-tiles") == "64 / 64"
    assert page.get_attribute("#job-progress", "aria-valuenow") == "100"
    expect(page.locator("#throughput svg polygon").first).to_be_visible()


def test_a_page_opened_after_the_end_shows_the_same_picture_and_numbers(
    open_page: OpenPage, client: Client, split_job: dict[str, Any]
) -> None:
    late = open_page(f"/?job={split_job['id']}")
    until(lambda: drawn(late), lambda count: count == "all")
    image = picture(client.content(f"job/{split_job['id']}/image.png"))
    assert np.array_equal(canvas(late, "#tiles")[..., :3], image)
    until(lambda: text(late, "#gauge-tiles"), lambda tiles: tiles == "64 / 64")
    sites = {site["site"]: site["tiles"] for site in split_job["by_site"]}
    assert sites == {"local": 32, "second": 32}
    rows = late.locator("#shares tr.site")
    assert sorted(rows.locator("td:nth-child(2)").all_inner_texts()) == ["32", "32"]
    assert late.locator("#shares tr.node").count() == sum(len(site["nodes"]) for site in split_job["by_site"])


def test_a_page_opened_in_the_middle_catches_up(open_page: OpenPage, client: Client, page: Page) -> None:
    order = {"width": 4096, "height": 4096, "tile_size": 256, "coloring": {"palette": "ocean"}}
    job = client.submit(name="middle", model="valley", **order)
    until(lambda: client.job(job)["progress"]["done"] > 20)
    # Held up until the page is there, so that there is a middle however quick the nodes are.
    client.act(job, "pause")
    late = open_page(f"/?job={job}")
    client.act(job, "resume")
    completed(late)
    until(lambda: drawn(late), lambda count: count == "256")
    assert text(late, "#gauge-tiles") == "256 / 256"
    seen = canvas(late, "#tiles")
    assert seen.shape == (2048, 2048, 4)
    assert int(seen[..., 3].min()) == 255, "some tile was not drawn"
    # Half the size: each canvas pixel is the mean of four of the picture.
    image = picture(client.content(f"job/{job}/image.png")).astype(float)
    half = image.reshape(2048, 2, 2048, 2, 3).mean(axis=(1, 3))
    assert float(np.abs(seen[..., :3] - half).mean()) < 2.0


def test_borders_show_the_site_and_can_be_switched_off(open_page: OpenPage, split_job: dict[str, Any]) -> None:
    page = open_page(f"/?job={split_job['id']}")
    until(lambda: text(page, "#gauge-tiles"), lambda tiles: tiles == "64 / 64")
    page.check("#border-modes [value=keep]", force=True)
    colours = until(lambda: _colours(page), lambda found: len(found) == 2)
    assert colours == {(0x3B, 0x82, 0xF6), (0xF5, 0x9E, 0x0B)}
    page.check("#border-modes [value=off]", force=True)
    until(lambda: int(canvas(page, "#borders")[..., 3].max()), lambda alpha: alpha == 0)


def _colours(page: Page) -> set[tuple[int, ...]]:
    pixels = canvas(page, "#borders")
    solid = pixels[pixels[..., 3] == 255][:, :3]
    found, counts = np.unique(solid, axis=0, return_counts=True)
    return {tuple(int(value) for value in colour) for colour, count in zip(found, counts, strict=True) if count > 500}


def test_pointing_at_a_tile_says_who_rendered_it(open_page: OpenPage, split_job: dict[str, Any]) -> None:
    page = open_page(f"/?job={split_job['id']}")
    until(lambda: text(page, "#gauge-tiles"), lambda tiles: tiles == "64 / 64")
    page.hover("#borders", position={"x": 4, "y": 4})
    tip = text(page, "#tile-tip")
    assert "Tile 56" in tip  # the top left tile: row 7, column 0
    assert "row 7, column 0" in tip
    assert "rrm-" in tip
    assert " ms" in tip


def test_the_arrow_keys_choose_tiles(open_page: OpenPage, split_job: dict[str, Any]) -> None:
    page = open_page(f"/?job={split_job['id']}")
    until(lambda: text(page, "#gauge-tiles"), lambda tiles: tiles == "64 / 64")
    page.focus("#borders")
    page.keyboard.press("ArrowRight")
    assert "row 7, column 0" in text(page, "#tile-tip")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert "row 6, column 1" in text(page, "#tile-tip")
    page.keyboard.press("Escape")
    expect(page.locator("#tile-tip")).to_be_hidden()


def test_the_throughput_can_be_stacked_by_node(open_page: OpenPage, split_job: dict[str, Any]) -> None:
    page = open_page(f"/?job={split_job['id']}")
    until(lambda: page.locator("#throughput polygon").count(), lambda areas: areas == 2)
    page.check("#throughput-by [value=node]", force=True)
    nodes = sum(len(site["nodes"]) for site in split_job["by_site"])
    assert page.locator("#throughput polygon").count() == nodes
    assert "rrm-" in text(page, "#throughput .legend")


def test_refused_fields_are_explained_beside_their_inputs(page: Page) -> None:
    page.fill("#f-width", "0")
    page.fill("#f-height", "wide")
    page.click("#render")
    expect(page.locator("[data-fields=width] .error")).to_contain_text("whole number")
    expect(page.locator("[data-fields=height] .error")).to_contain_text("whole number")
    assert page.get_attribute("#f-height", "aria-invalid") == "true"
    assert page.evaluate("document.activeElement.id") == "f-width"
    assert page.input_value("#f-height") == "wide"
    page.watcher.forgive("422")  # type: ignore[attr-defined]  # the browser logs each refused request
    page.select_option("#f-grid", "4")
    render(page)
    expect(page.locator("#job-form .error")).to_have_count(0)
    completed(page)


def test_refusals_inside_the_custom_view_find_their_inputs(page: Page) -> None:
    page.select_option("#f-model", ":circle")
    page.fill("[name=radius]", "-1")
    page.fill("[name=max_iter]", "many")
    page.click("#render")
    expect(page.locator("#custom-circle .error")).to_contain_text("greater than 0")
    expect(page.locator("[data-fields='params.max_iter'] .error")).to_contain_text("whole number")
    page.watcher.forgive("422")  # type: ignore[attr-defined]


def test_a_custom_viewport_is_sent_as_it_was_typed(page: Page, client: Client) -> None:
    page.select_option("#f-model", ":viewport")
    for name, value in {"xmin": "-1.5", "xmax": "-1.00", "ymin": "-.125", "ymax": "0.125"}.items():
        page.fill(f"[name={name}]", value)
    page.select_option("#f-grid", "4")
    assert page.input_value("#f-height") == "512", "the height must follow the shape of the viewport"
    job = client.job(render(page))
    assert [float(edge) for edge in job["params"]["viewport"]] == [-1.5, -1.0, -0.125, 0.125]
    assert (job["width"], job["height"]) == (1024, 512)
    completed(page)


def test_the_form_counts_the_tiles_it_will_make(page: Page) -> None:
    page.select_option("#f-model", label="rows")
    page.select_option("#f-grid", "32")
    assert (page.input_value("#f-width"), page.input_value("#f-height")) == ("8192", "6144")
    assert "= 768 tiles" in text(page, "#size-sum")
    page.check("[name=tile_size][value='512']", force=True)
    assert page.input_value("#f-width") == "16384"
    page.fill("#f-width", "1000")
    assert page.input_value("#f-grid") == "custom"


def test_a_job_is_ordered_with_the_keyboard_alone(page: Page, client: Client) -> None:
    page.focus("#f-model")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.value") == "electric"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "f-grid"
    page.keyboard.press("Home")
    for _ in range(20):
        if page.evaluate("document.activeElement.id") == "render":
            break
        page.keyboard.press("Tab")
    with page.expect_response(lambda response: response.request.method == "POST") as answer:
        page.keyboard.press("Enter")
    job = client.job(answer.value.json()["id"])
    assert job["coloring"]["palette"] == "fire"
    assert job["width"] == 1024
    completed(page)


def test_a_running_job_is_paused_resumed_and_cancelled_from_the_page(page: Page, client: Client) -> None:
    page.select_option("#f-model", label="valley")
    page.select_option("#f-grid", "32")
    job = render(page)
    page.click("#job-actions [data-action=pause]")
    page.wait_for_selector("#job-state.paused")
    assert client.job(job)["state"] == "PAUSED"
    page.click("#job-actions [data-action=resume]")
    page.click("#job-actions [data-action=pause]")  # so that it is not over before it is cancelled
    page.wait_for_selector("#job-state.paused")
    cancel = page.locator("#job-actions [data-action=cancel]")
    cancel.click()
    assert client.job(job)["state"] == "PAUSED", "one press must not be enough"

    def is_cancelled() -> int:
        with contextlib.suppress(PlaywrightError):  # the button is gone
            cancel.click(timeout=1000)  # again and again: a press alone is forgotten after three seconds
        return page.locator("#job-state.cancelled").count()

    until(is_cancelled)
    until(lambda: client.job(job)["state"], lambda state: state == "CANCELLED")


def test_while_another_job_is_fetched_the_buttons_of_the_last_are_gone(
    open_page: OpenPage, client: Client, split_job: dict[str, Any]
) -> None:
    other = client.submit(name="the other", model="burst", width=256, height=256)
    page = open_page(f"/?job={split_job['id']}")
    expect(page.locator("#job-actions [data-action=delete]")).to_be_visible()
    page.route(f"**/job/{other}/", lambda route: None)  # never answered
    page.locator(f"#jobs tr[data-id='{other}'] button.link").click()
    expect(page.locator("#job-actions button")).to_have_count(0)


def test_nodes_and_jobs_of_others_appear_by_themselves(page: Page, client: Client) -> None:
    job = client.submit(name="from elsewhere", model="burst", width=512, height=512)
    row = page.locator(f"#jobs tr[data-id='{job}']")
    expect(row).to_contain_text("from elsewhere")
    expect(row.locator(".chip")).to_have_text("completed")
    expect(page.locator("#nodes tbody tr").first).to_contain_text("rrm-")
    row.locator("button.link").click()
    expect(page.locator("#job-title")).to_have_text("from elsewhere")


def test_the_whole_dashboard_is_read_from_the_stream_and_not_by_asking_again(
    open_page: OpenPage, client: Client
) -> None:
    client.until(lambda: [node["state"] for node in client.live_nodes()], lambda states: states == ["IDLE"] * 2)
    page = open_page()
    page.wait_for_selector("#nodes tbody tr")  # it has asked once
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(5000)
    assert [url for url in asked if "/farm/" in url] == []
