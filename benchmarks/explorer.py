"""What a person sees who looks through the explorer in Chromium: the wait after a change, and frames while panning.

python -m benchmarks explorer [--json FILE] [--quick]

The whole service, one node and the browser share this machine. Times are taken in the page, from the key or mouse event
until the frame is on the canvas: whatever is between, the page's own work too, is in them. The canvas is 1280 x 720.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from benchmarks import _command
from tests.acceptance.stack import Stack, running_rrm
from tests.browser.exploring import CANVAS, VALLEY, book, middle, settled
from tests.services import CHROMIUM_FLAGS, chromium

Figures = dict[str, float]
Event = tuple[str, float, str]
"""("input" | "asked" | "shown", milliseconds, id of the camera or name of the event)"""

_CANVAS_IS_WINDOW = f"{CANVAS} {{ position: fixed; inset: 0; width: 1280px; height: 720px; z-index: 9 }}"
_CHANGES = ("PageUp", "ArrowLeft", "-", "ArrowDown", "PageDown", "ArrowRight", "+", "ArrowUp", "-", "-", "+", "+")
_STEP_SECONDS = 1 / 60
_REACH = 150  # CSS pixels from the middle, in which the mouse goes round

_WATCH = """selector => {
  const canvas = document.querySelector(selector), log = window.seenByBenchmark = [];
  const note = event => log.push(["input", performance.now(), event.type]);
  for (const name of ["keydown", "pointermove"]) canvas.addEventListener(name, note, { capture: true });
  new MutationObserver(changes => {
    for (const { attributeName } of changes) {
      if (attributeName === "data-asked") log.push(["asked", performance.now(), canvas.dataset.asked]);
      if (attributeName !== "data-frame") continue;
      const camera = canvas.dataset.camera;
      requestAnimationFrame(() => log.push(["shown", performance.now(), camera]));
    }
  }).observe(canvas, { attributes: true });
}"""
_TAKE = "() => window.seenByBenchmark.splice(0)"


def number(camera: str) -> int:
    """Cameras of a page are numbered: "PAGE-N"."""
    return int(camera.rpartition("-")[2])


def waits(seen: list[Event]) -> Iterator[float]:
    """Milliseconds from each change that was asked for to the first frame of it, or of a later one."""
    pending: list[tuple[float, int]] = []
    changed: float | None = None
    for kind, when, name in seen:
        if kind == "input":
            changed = when if changed is None else changed
        elif kind == "asked" and changed is not None:
            pending.append((changed, number(name)))
            changed = None
        elif kind == "shown":
            yield from (when - begun for begun, asked in pending if asked <= number(name))
            pending = [(begun, asked) for begun, asked in pending if asked > number(name)]


def changes(page: Page, rounds: int) -> Figures:
    """One change at a time, each after the picture before it was whole."""
    found: list[float] = []
    for key in _CHANGES * rounds:
        page.evaluate(_TAKE)
        page.keyboard.press(key)
        settled(page)
        found += list(waits(page.evaluate(_TAKE)))[:1]
    return {"change_ms": _rounded(statistics.median(found)), "change_p95_ms": _rounded(_percent95(found))}


def panning(page: Page, seconds: float) -> Figures:
    """The mouse goes round with its button down, sixty times a second."""
    x, y = middle(page)
    page.mouse.move(x + _REACH, y)
    page.mouse.down()
    page.evaluate(_TAKE)
    began = time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        page.mouse.move(x + _REACH * math.cos(passed), y + _REACH * math.sin(passed))
        time.sleep(max(0.0, _STEP_SECONDS - (time.perf_counter() - began - passed)))
    seen: list[Event] = page.evaluate(_TAKE)
    page.mouse.up()
    shown = [when for kind, when, _ in seen if kind == "shown"]
    pauses = [later - earlier for earlier, later in pairwise(shown)]
    found = list(waits(seen))
    return {
        "moves_per_second": _rounded(sum(kind == "asked" for kind, *_ in seen) / seconds),
        "frames_per_second": _rounded(len(shown) / seconds),
        "pause_p95_ms": _rounded(_percent95(pauses)),
        "panning_ms": _rounded(statistics.median(found)),
        "panning_p95_ms": _rounded(_percent95(found)),
    }


def _percent95(values: list[float]) -> float:
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def _rounded(value: float) -> float:
    return round(value, 1)


@contextmanager
def explorer(stack: Stack) -> Iterator[Page]:
    """The page, signed in, with a renderer and a canvas of the whole window."""
    with sync_playwright() as playwright:
        flags = [flag for flag in CHROMIUM_FLAGS if flag != "--headless"]
        browser = playwright.chromium.launch(executable_path=chromium(), args=flags)
        page = browser.new_page(base_url=stack.url, viewport={"width": 1280, "height": 720}, bypass_csp=True)
        page.goto("/")
        page.fill("#id_username", "operator")
        page.fill("#id_password", stack.secret("operator.password"))
        page.keyboard.press("Enter")
        page.wait_for_selector("#job-form")
        page.goto(VALLEY)
        page.wait_for_selector("#palettes .palette")
        book(page)
        page.add_style_tag(content=_CANVAS_IS_WINDOW)
        settled(page)
        page.focus(CANVAS)
        page.evaluate(_WATCH, CANVAS)
        yield page
        browser.close()


def measure(*, quick: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, running_rrm(Path(folder)) as stack:
        with stack.client() as client:
            client.call("PATCH", "resource/mandelbrot/", json={"min_nodes": 1, "max_nodes": 1})
            client.until(lambda: [node["state"] for node in client.live_nodes()], lambda found: found == ["IDLE"], 60)
        with explorer(stack) as page:
            return {**changes(page, 1 if quick else 5), **panning(page, 3 if quick else 10)}


def main() -> None:
    parser = _command.parser(__doc__, quick="a few seconds")
    options = parser.parse_args()
    results = measure(quick=options.quick)
    for name, value in results.items():
        print(f"{name:20}{value:8}")
    _command.keep(results, options)


if __name__ == "__main__":
    main()
