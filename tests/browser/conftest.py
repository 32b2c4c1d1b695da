"""One running copy of the service, a browser, and a signed-in page that must stay free of faults.

Screenshots go to the folder that BROWSER_ARTEFACTS names, else beside the other temporary files of the run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.acceptance.stack import Client, Stack, running_rrm
from tests.browser.exploring import BLANK, book, end_all
from tests.browser.watching import Watcher
from tests.services import CHROMIUM_FLAGS

OpenPage = Callable[..., Page]
PATIENCE = 90_000  # milliseconds
SECOND_SITE = {"id": "second", "name": "Second site", "kind": "local", "color": "#f59e0b", "max_nodes": 1}
_SIZE = {"width": 1440, "height": 900}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def live_rrm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The service with two sites on this machine, one node each, that stay up between the tests."""
    loops = {"RRM_AUTOSCALE_SECONDS": "1", "RRM_RECONCILE_SECONDS": "1"}
    with running_rrm(tmp_path_factory.mktemp("live"), **loops) as stack:
        with stack.client() as client:
            client.call("PATCH", "site/local/", json={"max_nodes": 1})
            client.call("POST", "site/", json=SECOND_SITE)
            client.call(
                "PATCH", "resource/mandelbrot/", json={"sites": ["local", "second"], "max_nodes": 2, "min_nodes": 2}
            )
        yield stack


@pytest.fixture(scope="session")
def client(live_rrm: Stack) -> Iterator[Client]:
    with live_rrm.client() as operator:
        yield operator


# Not for the whole session: while it is open its event loop makes Django refuse the database in this thread.
@pytest.fixture(scope="module")
def browser(chromium_path: str) -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        flags = [flag for flag in CHROMIUM_FLAGS if flag != "--headless"]
        chromium = playwright.chromium.launch(executable_path=chromium_path, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def signed_in(browser: Browser, live_rrm: Stack) -> Any:
    """The cookies of a login through the page."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(f"{live_rrm.url}/")
    page.fill("#id_username", "operator")
    page.fill("#id_password", live_rrm.secret("operator.password"))
    page.keyboard.press("Enter")
    page.wait_for_selector("#job-form")
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def open_page(browser: Browser, live_rrm: Stack, signed_in: Any) -> Iterator[OpenPage]:
    """Opens a path in a signed-in context of its own; afterwards no page may have complained."""
    watchers: dict[Page, Watcher] = {}

    def opened(path: str = "/", **options: Any) -> Page:
        context = browser.new_context(storage_state=signed_in, base_url=live_rrm.url, **{"viewport": _SIZE, **options})
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        watchers[page] = Watcher(page, live_rrm.url)
        page.watcher = watchers[page]  # type: ignore[attr-defined]
        page.goto(path)
        return page

    yield opened
    for page in watchers:
        page.context.close()
    assert [fault for watcher in watchers.values() for fault in watcher.faults] == []


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    """The dashboard, ready for use."""
    page = open_page()
    page.wait_for_selector("#palettes .palette")
    return page


@pytest.fixture
def explorer_at(open_page: OpenPage, client: Client) -> Iterator[OpenPage]:
    """Opens the explorer at a path; before and after nothing is booked."""

    def opened(path: str = "/explore/", **options: Any) -> Page:
        page = open_page(path, **{"viewport": {"width": 1280, "height": 720}, **options})
        if path != BLANK:
            page.wait_for_selector("#palettes .palette")
        return page

    end_all(client)
    yield opened
    end_all(client)


@pytest.fixture
def explorer(explorer_at: OpenPage) -> Page:
    """The explorer with a renderer."""
    page = explorer_at()
    book(page)
    return page


@pytest.fixture(scope="session")
def artefacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots are kept."""
    folder = Path(os.environ.get("BROWSER_ARTEFACTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def burst(client: Client, live_rrm: Stack) -> dict[str, Any]:
    """The body of a completed burst job, half of it from each site."""
    order = {"width": 1024, "height": 1024, "tile_size": 128, "outputs": ["png", "counts"]}
    order |= {"coloring": {"palette": "fire", "scale": 4}, "sites": {"policy": "split", "ids": ["local", "second"]}}
    return client.finished(client.submit(name="burst <b>in two</b>", model="burst", **order))
