"""Looking at a page as a person does: wait for what must come, and read what is there.

The pages forbid `eval`, which Playwright's own `wait_for_function` needs; plain evaluation is not affected.
"""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import ConsoleMessage, Page, Request

from tests.acceptance.stack import pause

WAIT_SECONDS = 120.0

Pixels = NDArray[np.uint8]


_LEFT = "WebSocket is closed before the connection is established"  # says the browser when a page is left that connects


class Watcher:
    """What a page must not do: complain, or talk to another host."""

    def __init__(self, page: Page, home: str) -> None:
        self.home = home
        self.faults: list[str] = []
        self._forgiven: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.faults.append(f"exception: {error}"))
        page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        fault = f"console: {message.text} {message.location['url']}"
        if message.type in ("error", "warning") and not any(part in fault for part in (_LEFT, *self._forgiven)):
            self.faults.append(fault)

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self.home, "blob:", "data:")):
            self.faults.append(f"request to another host: {request.url}")

    def forgive(self, part: str) -> None:
        """Drop the faults with this text, those that are still to come too: the test caused them."""
        self._forgiven.append(part)
        self.faults = [fault for fault in self.faults if part not in fault]


def until(look: Callable[[], Any], holds: Callable[[Any], bool] = bool, seconds: float = WAIT_SECONDS) -> Any:
    """What `look` sees once `holds` accepts it; fails with the last sight."""
    began = time.monotonic()
    while not holds(seen := look()):
        waited = time.monotonic() - began
        assert waited < seconds, f"still {str(seen)[:1000]!r} after {seconds:.0f} s"
        time.sleep(pause(waited))
    return seen


def text(page: Page, selector: str) -> str:
    return (page.text_content(selector) or "").strip()


def painted(page: Page) -> None:
    """Wait until the page has painted what it was about to paint."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def drawn(page: Page) -> str:
    """How many tiles the live picture has drawn; `all` when it came from the pyramid."""
    return str(page.evaluate("document.querySelector('#tiles').dataset.drawn ?? '0'"))


def canvas(page: Page, selector: str) -> Pixels:
    """The canvas as (height, width, 4) bytes."""
    address = page.evaluate("selector => document.querySelector(selector).toDataURL('image/png')", selector)
    return picture(base64.b64decode(address.split(",", 1)[1]), "RGBA")


def picture(content: bytes, mode: str = "RGB") -> Pixels:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert(mode))


def render(page: Page) -> str:
    """Press Render; the id of the accepted job."""
    with page.expect_response(lambda response: response.request.method == "POST") as answer:
        page.click("#render")
    assert answer.value.status == 202, answer.value.text()
    return str(answer.value.json()["id"])


def completed(page: Page) -> None:
    page.wait_for_selector("#job-state.completed", timeout=1000 * WAIT_SECONDS)
