"""What a person waits for who books a renderer: the whole service, through the gateway and straight from the node.

python -m benchmarks sessions [--json FILE] [--quick]

A node that holds nothing else is booked again and again; then the views of `benchmarks streaming` are looked at through
the gateway and, in the same run, from a session side that stands alone. Frames are 1280 x 720.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import _command
from benchmarks.streaming import measure, own_side
from tests.acceptance.stack import Client, running_rrm

Figures = dict[str, Any]


def bookings(client: Client, repeats: int) -> Figures:
    """From the request for a session to its answer, to its first picture; and a refusal where nothing is free."""
    booked, shown, refused = [], [], []
    for _ in range(repeats):
        began = time.perf_counter()
        session = _book(client)
        booked.append(time.perf_counter() - began)
        client.call("PUT", f"session/{session['id']}/proxy/camera", json={"width": 1280, "height": 720})
        client.content(f"session/{session['id']}/proxy/frame.jpg")
        shown.append(time.perf_counter() - began)
        began = time.perf_counter()
        answer = client.http.post("session/", json={"resource": "mandelbrot", "max_wait": 0})
        refused.append(time.perf_counter() - began)
        if answer.status_code != 503:
            raise SystemExit(f"booked twice: {answer.text}")
        client.call("DELETE", f"session/{session['id']}/")
    return {
        "booking_ms": _median(booked),
        "booking_to_frame_ms": _median(shown),
        "booking_to_frame_worst_ms": round(1e3 * max(shown), 1),
        "refusal_ms": _median(refused),
    }


def _book(client: Client) -> Figures:
    """A READY session; its node may still be on its way back from the last one."""
    while True:
        response = client.http.post("session/", json={"resource": "mandelbrot", "max_wait": 0})
        if response.status_code == 201:
            return dict(response.json())
        time.sleep(0.01)


def looking(client: Client, token: str, *, quick: bool) -> Figures:
    """The same views through the gateway and from a node that stands alone, by turns."""
    session = _book(client)
    url = session["ws_url"].replace("localhost", "127.0.0.1")
    through = asyncio.run(measure(url, {"Authorization": f"Bearer {token}"}, quick=quick))
    client.call("DELETE", f"session/{session['id']}/")
    with own_side() as alone:
        straight = asyncio.run(measure(alone, {}, quick=quick))
    return {"gateway": through, "node": straight}


def _median(seconds: list[float]) -> float:
    return round(1e3 * statistics.median(seconds), 1)


def main() -> None:
    parser = _command.parser(__doc__, quick="a few seconds")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_rrm(Path(folder)) as stack, stack.client() as client:
        client.call("PATCH", "resource/mandelbrot/", json={"min_nodes": 1, "max_nodes": 1})
        client.until(lambda: [node["state"] for node in client.live_nodes()], lambda states: states == ["IDLE"], 60)
        results = bookings(client, 3 if options.quick else 30)
        results |= looking(client, stack.secret("operator.token"), quick=options.quick)
    for name, value in results.items():
        if not isinstance(value, dict):
            print(f"{name:28}{value:10}")
    print(f"\n{'':28}{'gateway':>10}{'node':>10}")
    for name, value in results["gateway"].items():
        print(f"{name:28}{value:10}{results['node'][name]:10}")
    _command.keep(results, options)


if __name__ == "__main__":
    main()
