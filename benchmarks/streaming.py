"""What a person who looks at a node waits for: first frames after a change, and frames per second while panning.

python -m benchmarks streaming [--json FILE] [--quick] [--url ws://HOST:PORT/PATH/ws [--header NAME:VALUE …]]

Without --url a session side of its own is started on this machine. Frames are 1280 x 720, and are acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from benchmarks import _command

SIZE = {"width": 1280, "height": 720}
RADIUS = 0.005
START = (-0.745, 0.11)
CAMERAS_PER_SECOND = 60
PIXELS_PER_CAMERA = 6
JUMPS = [  # places to look at, none of which resembles the one before
    {"center": ["-0.75", "0"], "radius": "1.25", "max_iter": 1000},
    {"center": ["-0.745", "0.11"], "radius": "0.005", "max_iter": 2000},
    {"center": ["-0.7436", "0.1318"], "radius": "1e-4", "max_iter": 3000},
    {"center": ["0.275", "0.0075"], "radius": "0.01", "max_iter": 1500},
    {"center": ["-1.25066", "0.02012"], "radius": "0.0017", "max_iter": 2000},
]

SLOW = {"center": ["0.01", "0.02"], "radius": "0.05", "max_iter": 10_000_000, "formula": "tricorn"}  # takes minutes
PLAIN = {"formula": "mandelbrot"}


class Client:
    """One viewer, who notes when each camera was sent and when its first frame came."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._sent: dict[int, float] = {}
        self._next = 1
        self.waits: list[float] = []
        self.frames: list[dict[str, Any]] = []

    async def look(self, **fields: Any) -> int:
        number, self._next = self._next, self._next + 1
        self._sent[number] = time.perf_counter()
        await self._socket.send(json.dumps({"id": number, **fields}))
        return number

    async def frame(self) -> dict[str, Any]:
        message = await self._socket.recv()
        if isinstance(message, str):
            raise SystemExit(f"refused: {message}")
        now = time.perf_counter()
        (length,) = struct.unpack(">I", message[:4])
        header: dict[str, Any] = json.loads(message[4 : 4 + length])
        await self._socket.send(json.dumps({"ack": header["frame"]}))
        begun = self._sent.pop(header["camera"], None)
        if begun is not None:
            self.waits.append(now - begun)
        self.frames.append(header | {"bytes": len(message) - 4 - length})
        return header

    async def until_final(self, number: int) -> None:
        while (header := await self.frame())["camera"] != number or not header["final"]:
            pass

    def start_again(self) -> None:
        self.waits, self.frames, self._sent = [], [], {}


async def jumping(client: Client, rounds: int) -> dict[str, float]:
    """Look somewhere else, wait until that is drawn in full, and so on."""
    client.start_again()
    for _ in range(rounds):
        for place in JUMPS:
            await client.until_final(await client.look(**SIZE, **PLAIN, **place))
    return {"coarse_p50_ms": _ms(client.waits, 0.5), "coarse_p95_ms": _ms(client.waits, 0.95)}


async def leaving(client: Client, rounds: int) -> dict[str, float]:
    """Look at what takes minutes, for half a second, and then somewhere else."""
    waits = []
    for _ in range(rounds):
        await client.look(**SIZE, **SLOW)
        await asyncio.sleep(0.5)
        client.start_again()
        await client.until_final(await client.look(**SIZE, **PLAIN, **JUMPS[0]))
        waits += client.waits
    return {"leave_p50_ms": _ms(waits, 0.5), "leave_p95_ms": _ms(waits, 0.95)}


async def panning(client: Client, seconds: float) -> dict[str, float]:
    """Move by some pixels for each picture of a screen, as a hand with a mouse does."""
    (x, y), pixel = START, 2 * RADIUS / SIZE["height"]
    await client.until_final(await client.look(**SIZE, center=[str(x), str(y)], radius=str(RADIUS), max_iter=2000))
    client.start_again()
    receiving = asyncio.create_task(_receive(client))
    began = time.perf_counter()
    for step in range(round(seconds * CAMERAS_PER_SECOND)):
        await asyncio.sleep(max(0.0, began + step / CAMERAS_PER_SECOND - time.perf_counter()))
        await client.look(center=[str(x + step * PIXELS_PER_CAMERA * pixel), str(y)])
    took, frames = time.perf_counter() - began, [*client.frames]
    receiving.cancel()
    return {
        "frames_per_s": round(len(frames) / took, 1),
        "pan_p50_ms": _ms(client.waits, 0.5),
        "pan_p95_ms": _ms(client.waits, 0.95),
        "mean_step": round(statistics.mean(frame["step"] for frame in frames), 2),
        "mean_kib": round(statistics.mean(frame["bytes"] for frame in frames) / 1024, 1),
    }


async def _receive(client: Client) -> None:
    while True:
        await client.frame()


async def measure(url: str, headers: dict[str, str], *, quick: bool) -> dict[str, float]:
    began = time.perf_counter()
    async with connect(url, max_size=None, additional_headers=headers, proxy=None) as socket:
        client = Client(socket)
        first = await client.look(**SIZE, **JUMPS[0])
        while (await client.frame())["camera"] != first:
            pass
        results = {"first_frame_ms": round(1e3 * (time.perf_counter() - began), 1)}
        results |= await jumping(client, 1 if quick else 8)
        results |= await leaving(client, 2 if quick else 10)
        return results | await panning(client, 1.0 if quick else 6.0)


def _ms(seconds: list[float], share: float) -> float:
    ordered = sorted(seconds)
    return round(1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)


@contextlib.contextmanager
def own_side() -> Iterator[str]:
    """A session side in a process of its own."""
    command = [sys.executable, "-m", "renderers", "view"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            lines = process.stderr or ()
            found = next(match for line in lines if (match := re.search(r"http://([^/]+)/", line)))
            time.sleep(1.0)  # it is a node that has been there for a while
            yield f"ws://{found[1]}/ws"
        finally:
            process.terminate()


def main() -> None:
    parser = _command.parser(__doc__, quick="a few seconds")
    parser.add_argument("--url", help="of a session's WebSocket")
    parser.add_argument("--header", action="append", default=[], metavar="NAME:VALUE", help="for that one")
    options = parser.parse_args()
    headers = {name.strip(): value.strip() for name, _, value in (text.partition(":") for text in options.header)}
    with contextlib.nullcontext(options.url) if options.url else own_side() as url:
        results = asyncio.run(measure(url, headers, quick=options.quick))
    for name, value in results.items():
        print(f"{name:16}{value:10}")
    _command.keep(results, options)


if __name__ == "__main__":
    main()
