"""A small manager: a real HTTP server in a thread that speaks the node's half of the wire contract."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PREFIX = "/rendering-resource-manager/v2/node-agent/"
LAUNCH_TOKEN, NODE_TOKEN = "launch-secret", "node-secret"

Answer = tuple[int, dict[str, Any]]


def lease_document(lease_id: str = "lease-1", **changes: Any) -> dict[str, Any]:
    """A lease of four 32-pixel tiles of a small picture of the whole set."""
    document = {
        "id": lease_id,
        "deadline_seconds": 15.0,
        "job": "job-1",
        "start": 0,
        "stop": 4,
        "width": 64,
        "height": 64,
        "tile_size": 32,
        "tile_cols": 2,
        "tile_rows": 2,
        "model": {
            "digest": "digest-1",
            "renderer": "mandelbrot",
            "params": {
                "formula": "mandelbrot",
                "viewport": [-2.5, 1, -1.25, 1.25],
                "max_iter": 100,
                "escape_radius": 2.0,
            },
        },
        "view": {"x0": -2.5, "y0": -1.25, "dx": 3.5 / 64, "dy": 2.5 / 64},
        "outputs": ["png", "counts", "smooth"],
        "preview_scale": 1,
        "coloring": {
            "stops": [[0.0, "#000000"], [0.5, "#ff8000"], [1.0, "#000000"]],
            "interpolation": "linear",
            "method": "smooth",
            "cycle": 32.0,
            "offset": 0.0,
            "scale": 1.0,
            "interior": "#102030",
        },
    }
    return document | changes


def endless_lease(lease_id: str = "endless") -> dict[str, Any]:
    """A lease that no node finishes: ten million steps for pixels in a component that the kernel has to iterate."""
    model = {"digest": "deep", "renderer": "mandelbrot", "params": {"max_iter": 10_000_000, "escape_radius": 2.0}}
    view = {"x0": -0.1225611, "y0": 0.7448617, "dx": 1e-6, "dy": 1e-6}
    return lease_document(lease_id, model=model, view=view, width=4096, height=4096, tile_size=2048, outputs=["png"])


def deep_lease(lease_id: str = "deep", **changes: Any) -> dict[str, Any]:
    """A lease of four tiles beyond double precision."""
    center = ["0.0000000000000000000000000000000000000000000001", "1"]
    params = {"formula": "mandelbrot", "center": center, "radius": "1e-30", "max_iter": 5000, "escape_radius": 2.0}
    model = {"digest": "deep", "renderer": "mandelbrot", "params": params}
    view = {"method": "perturbation", "center": center, "dx": "3.125e-32", "dy": "3.125e-32"}
    return lease_document(lease_id, **({"model": model, "view": view} | changes))


@dataclass
class Manager:
    """What the server answers and what it saw."""

    leases: list[dict[str, Any]] = field(default_factory=list)
    commands: dict[str, str] = field(default_factory=dict)  # by route
    revoked: list[str] = field(default_factory=list)
    lease_wait: float = 0.3
    heartbeat: float = 0.1
    give_up: float = 5.0
    retry_after: float = 0.05
    max_upload: int = 1 << 26
    known_token: bool = True
    session: dict[str, Any] | None = None
    preloads: list[dict[str, Any]] = field(default_factory=list)
    pinned: list[str] = field(default_factory=list)
    faults: Callable[[str], Answer | str | None] = lambda route: None  # "cut" closes the connection unanswered
    calls: list[tuple[str, Any]] = field(default_factory=list)
    offered: list[dict[str, Any]] = field(default_factory=list)
    uploads: dict[str, bytes] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)
    url: str = ""

    def bodies(self, route: str) -> list[Any]:
        """What was sent to a route so far."""
        with self.changed:
            return [body for seen, body in self.calls if seen == route]

    def wait_for(self, claim: Callable[[], Any], timeout: float = 60.0) -> None:
        """Wait until the claim holds; it is checked after every call."""
        with self.changed:
            assert self.changed.wait_for(claim, timeout), [route for route, _ in self.calls]

    def saw(self, route: str) -> Callable[[], bool]:
        """The claim that a route was called."""
        return lambda: any(seen == route for seen, _ in self.calls)

    def answer(self, method: str, route: str, token: str, body: Any) -> Answer:
        if token != (LAUNCH_TOKEN if route == "register" else NODE_TOKEN) or not self.known_token:
            return 401, {"code": "not-authenticated", "detail": "unknown token"}
        command = {"command": self.commands.get(route, "run")}
        if route == "register":
            return 201, self._registration()
        if route == "lease":
            return 200, command | self._next_lease(body["leases"], wait=body["wait"])
        if route == "heartbeat":
            self.settle("")
            return 200, command | {"revoked": self.revoked, "pinned": self.pinned}
        self.settle(route)
        if method == "PUT":
            self.uploads[route.removeprefix("lease/")] = body
        return 200, command

    def _registration(self) -> dict[str, Any]:
        return {
            "node_id": "node-1",
            "token": NODE_TOKEN,
            "heartbeat_seconds": self.heartbeat,
            "lease_wait_seconds": self.lease_wait,
            "give_up_seconds": self.give_up,
            "max_upload_bytes": self.max_upload,
        }

    def _next_lease(self, in_hand: list[str], *, wait: bool) -> dict[str, Any]:
        """A lease that was handed out and is not in the node's hands again, else the next one."""
        lost = next((lease for lease in self.offered if lease["id"] not in in_hand), None)
        deadline = time.monotonic() + (self.lease_wait if wait else 0.0)
        while not lost and not self.leases and not self.preloads and time.monotonic() < deadline:
            time.sleep(0.01)
        if not lost and self.leases:
            self.offered.append(self.leases.pop(0))
            lost = self.offered[-1]
        preload = self.preloads.pop(0) if self.preloads and not lost else None
        return {"lease": lost, "retry_after": self.retry_after, "session": self.session, "preload": preload}

    def settle(self, route: str) -> None:
        """A lease that was delivered or failed is not offered again; nor is one that was taken back."""
        lease_id = route.removeprefix("lease/").removesuffix("/fail")
        self.offered = [lease for lease in self.offered if lease["id"] not in (lease_id, *self.revoked)]


class Handler(BaseHTTPRequestHandler):
    """Reads a request, lets the manager answer, writes problem+json for refusals."""

    protocol_version = "HTTP/1.1"
    manager: Manager

    def do_POST(self) -> None:
        self._handle("POST")

    def do_PUT(self) -> None:
        self._handle("PUT")

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read `calls` instead."""

    def _handle(self, method: str) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.loads(content) if self.headers.get("Content-Type") == "application/json" else content
        route = self.path.removeprefix(PREFIX)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        fault = self.manager.faults(route)
        if isinstance(fault, tuple):
            self.manager.settle(route if fault[0] < 500 else "")
            status, document = fault
        else:
            status, document = self.manager.answer(method, route, token, body)
        with self.manager.changed:
            self.manager.calls.append((route, body))
            self.manager.changed.notify_all()
        if fault == "cut":
            self.close_connection = True
            return
        self._send(status, document)

    def _send(self, status: int, document: dict[str, Any]) -> None:
        content = b"   " + json.dumps(document).encode()  # blanks before the body keep a waiting connection alive
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if status < 400 else "application/problem+json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nodes that leave at once cut their connections."""


@contextmanager
def serving(manager: Manager, port: int = 0) -> Iterator[Manager]:
    """Serve until the block ends."""
    server = Server(("127.0.0.1", port), type("BoundHandler", (Handler,), {"manager": manager}))
    manager.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield manager
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
