"""Exploring as a person does: book, wait until the picture is drawn, move, and read what is shown."""

from __future__ import annotations

from typing import Any

import numpy as np
from playwright.sync_api import Page, WebSocketRoute, expect

from tests.acceptance.stack import Client
from tests.browser.watching import Pixels, canvas, painted, text, until

CANVAS = "#scene-canvas"
BLANK = "about:blank"
VALLEY = "/explore/?x=-0.7463&y=0.1102&radius=0.005&palette=ocean"


def seen(page: Page) -> dict[str, str]:
    """What the canvas says of itself: the camera last asked for, the camera, step and number of the frame shown."""
    return dict(page.evaluate(f"({{...document.querySelector('{CANVAS}').dataset}})"))


def settled(page: Page) -> Pixels:
    """The picture, once the newest camera is drawn to the end."""

    def is_final(now: dict[str, str]) -> bool:
        return now.get("step") == "1" and now.get("camera") == now.get("asked")

    # A view comes to rest, and may ask for more pixels then: after a time that the page takes, however slow it is.
    page.evaluate("() => new Promise((done) => setTimeout(done, 300))")
    painted(page)
    until(lambda: seen(page), is_final)
    painted(page)
    return picture(page)


def picture(page: Page) -> Pixels:
    return canvas(page, CANVAS)[..., :3]


def book(page: Page) -> None:
    """Press the button, and wait until the first picture is whole."""
    page.click("#book button")
    page.wait_for_selector("#explorer[data-phase=ready]")
    assert len(np.unique(settled(page).reshape(-1, 3), axis=0)) > 50, "the picture is blank"


def middle(page: Page) -> tuple[float, float]:
    box = page.locator(CANVAS).bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def phase(page: Page) -> str | None:
    return page.get_attribute("#explorer", "data-phase")


def radius(page: Page) -> float:
    return float(text(page, "#d-radius"))


def session_of(client: Client) -> dict[str, Any]:
    """The one session that is open."""
    sessions: list[dict[str, Any]] = client.get("session/?state=READY")["results"]
    assert len(sessions) == 1
    return sessions[0]


def end_all(client: Client) -> None:
    """End every session, and wait until the nodes can be booked again."""
    for state in ("READY", "PENDING"):
        for session in client.get(f"session/?state={state}")["results"]:
            client.call("DELETE", f"session/{session['id']}/")
    client.until(lambda: [node["state"] for node in client.live_nodes()], lambda states: states.count("IDLE") == 2)


def expect_card(page: Page, title: str) -> None:
    expect(page.locator("#cover .card h2")).to_have_text(title)


class Between:
    """Stands between the page and the service on the WebSocket, and may keep messages of the node back."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.sockets: list[WebSocketRoute] = []
        self.kept: list[bytes] = []
        self.to_keep = 0
        page.route_web_socket("**/proxy/ws", self._route)

    def _route(self, socket: WebSocketRoute) -> None:
        self.sockets.append(socket)
        socket.connect_to_server().on_message(lambda message: self._pass(socket, message))

    def _pass(self, socket: WebSocketRoute, message: str | bytes) -> None:
        if isinstance(message, bytes) and len(self.kept) < self.to_keep:
            self.kept.append(message)
        else:
            socket.send(message)

    def wait_for_kept(self) -> bytes:
        until(lambda: (self.page.title(), len(self.kept))[1])  # asking the page lets messages pass
        return self.kept[0]
