"""What the gateway costs: latency it adds to a request and a message, and the share of a plain connection's throughput.

python -m benchmarks gateway [--json FILE] [--quick] [--requests 2000]

The application as it is served, with a database, a booked session and a token, in a process of its own; the node is a
small server in another. Each pair of figures is taken in turns, so that what else the machine does meets both.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn
from websockets.sync.client import ClientConnection, connect

from benchmarks import _command

BIG = 256 * 2**20
_PIECE = bytes(2**18)
_START_SECONDS = 30.0
Figures = dict[str, float]


async def node(scope: Any, receive: Any, send: Any) -> None:
    """A renderer that costs nothing: `/small`, `/big`, whatever is uploaded, and messages that come back."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "bytes": message["bytes"]})
        return
    while (await receive()).get("more_body"):
        pass
    pieces = BIG // len(_PIECE) if scope["path"].endswith("/big") else 0
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"image/jpeg")]})
    for _ in range(pieces):
        await send({"type": "http.response.body", "body": _PIECE, "more_body": True})
    await send({"type": "http.response.body", "body": bytes(2000)})


def serve(descriptor: int) -> None:
    """The node, on a socket that listens."""
    config = uvicorn.Config(node, ws="websockets-sansio", lifespan="off", access_log=False, log_level="critical")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


def book(node_port: int) -> None:
    """Print a token and the id of a session of which the node listens on that port."""
    import django

    django.setup(set_prefix=False)
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.utils import timezone

    from rrm.farm import booking, nodes, reports, tokens
    from rrm.farm.booking import Wish
    from rrm.farm.models import Resource, ResourceSite, Site

    call_command("migrate", verbosity=0)
    user = User.objects.create_user("bench")
    resource = Resource.objects.create(id="bench", max_nodes=1)
    site = Site.objects.create(id="here", kind="local", max_nodes=1)
    ResourceSite.objects.create(resource=resource, site=site)
    row = nodes.request_node(resource, site, "bench")
    report = {"node": row.name, "hostname": "here", "cores": 1, "address": f"127.0.0.1:{node_port}"}
    reports.register(nodes.launch_token(row.name), report)
    session = booking.book(user, Wish(resource), timezone.now())
    print(tokens.issue(user, "bench", ["render"])[1], session.pk)


@dataclass(frozen=True)
class Place:
    """Where the same node is asked: by itself, or through the gateway."""

    port: int
    path: str
    headers: dict[str, str]

    def client(self) -> httpx.Client:
        base = f"http://127.0.0.1:{self.port}{self.path}"
        return httpx.Client(base_url=base, headers=self.headers, timeout=60, trust_env=False)

    def socket(self) -> ClientConnection:
        url = f"ws://127.0.0.1:{self.port}{self.path}/ws"
        return connect(url, additional_headers=self.headers, proxy=None, compression=None, max_size=2**24)


@contextmanager
def places() -> Iterator[tuple[Place, Place]]:
    """(direct, through the gateway)."""
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="rrm-bench-") as folder:
        environment = {**os.environ, "RRM_DATA": folder, "DJANGO_SETTINGS_MODULE": "rrm.settings"}
        program = (sys.executable, "-c", "import sys; from benchmarks.gateway import serve; serve(int(sys.argv[1]))")
        node_port = stack.enter_context(_server(lambda number: (*program, str(number)), environment))
        booked = (sys.executable, "-c", f"from benchmarks.gateway import book; book({node_port})")
        done = subprocess.run(booked, env=environment, check=True, capture_output=True, text=True)
        secret, session = done.stdout.split()[-2:]
        web = (sys.executable, "-m", "rrm.supervisor.web")
        port = stack.enter_context(_server(lambda number: (*web, str(number)), environment))
        path = f"/rendering-resource-manager/v2/session/{session}/proxy"
        yield Place(node_port, "", {}), Place(port, path, {"Authorization": f"Bearer {secret}"})


@contextmanager
def _server(command: Callable[[int], tuple[str, ...]], environment: dict[str, str]) -> Iterator[int]:
    """A server in a process of its own on a socket that it inherits; yields the port when it answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        port = int(listener.getsockname()[1])
        running = subprocess.Popen(
            command(listener.fileno()), env=environment, pass_fds=(listener.fileno(),), stderr=subprocess.DEVNULL
        )
    try:
        httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=_START_SECONDS, trust_env=False)
        yield port
    finally:
        running.terminate()
        running.wait(10)


def milliseconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return 1e3 * (time.perf_counter() - began)


def pairs(direct: Callable[[], object], through: Callable[[], object], count: int) -> tuple[list[float], list[float]]:
    """Sorted times of each, taken in turns; the first tenth does not count."""
    found = [(milliseconds(direct), milliseconds(through)) for _ in range(count + count // 10)][count // 10 :]
    return sorted(one for one, _ in found), sorted(other for _, other in found)


def added(name: str, direct: list[float], through: list[float]) -> Figures:
    """What the gateway adds at the median and at the 95th percentile of each."""
    figures: Figures = {}
    for part, rank in (("p50", 0.5), ("p95", 0.95)):
        one, other = (times[int(rank * len(times))] for times in (direct, through))
        figures |= {f"{name}direct_{part}_ms": one, f"{name}through_{part}_ms": other}
        figures[f"{name}added_{part}_ms"] = other - one
    return figures


def latency(direct: Place, through: Place, count: int) -> Figures:
    with direct.client() as near, through.client() as far:
        requests = added("", *pairs(lambda: near.get("/small"), lambda: far.get("/small"), count))
    frame = bytes(50_000)
    with direct.socket() as near_socket, through.socket() as far_socket:

        def exchange(opened: ClientConnection) -> None:
            opened.send(frame)
            opened.recv()

        messages = pairs(lambda: exchange(near_socket), lambda: exchange(far_socket), count)
    return requests | added("message_", *messages)


def throughput(direct: Place, through: Place, repeats: int) -> Figures:
    """Megabytes a second of one large answer and one large upload, the medians."""

    def download(place: Place) -> None:
        with place.client() as client, client.stream("GET", "/big") as answer:
            for _ in answer.iter_raw():
                pass

    def upload(place: Place) -> None:
        with place.client() as client:
            client.post("/upload", content=(_PIECE for _ in range(BIG // len(_PIECE))))

    figures: Figures = {}
    for name, act in (("", download), ("upload_", upload)):
        times = pairs(lambda act=act: act(direct), lambda act=act: act(through), repeats)  # type: ignore[misc]
        near, far = (BIG / 1e3 / statistics.median(each) for each in times)
        figures |= {f"{name}direct_MB_per_s": near, f"{name}through_MB_per_s": far}
        figures[f"{name}throughput_ratio"] = far / near
    return figures


def show(found: Figures) -> None:
    for name, what in (("", "a request"), ("message_", "a message of 50 kB and back")):
        row = (f"{found[f'{name}{kind}_{part}_ms']:.2f}" for part in ("p50", "p95") for kind in ("direct", "through"))
        print(f"{what:30} p50 {next(row)} → {next(row)} ms   p95 {next(row)} → {next(row)} ms")
    for name, what in (("", "one large answer"), ("upload_", "one large upload")):
        near, far = found[f"{name}direct_MB_per_s"], found[f"{name}through_MB_per_s"]
        print(f"{what:30} {near:.0f} → {far:.0f} MB/s ({found[f'{name}throughput_ratio']:.2f})")


def main() -> None:
    parser = _command.parser(__doc__, quick="a tenth of the requests")
    parser.add_argument("--requests", type=int, default=2000)
    options = parser.parse_args()
    count = options.requests // 10 if options.quick else options.requests
    with places() as (direct, through):
        found = latency(direct, through, count) | throughput(direct, through, 2 if options.quick else 5)
    show(found)
    _command.keep(found, options)


if __name__ == "__main__":
    main()
