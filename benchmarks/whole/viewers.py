"""Many people watching one job: raw event-stream connections in one process of their own.

python -m benchmarks.whole.viewers PORT PATH COUNT  (the token on standard input). Prints "ready" when every
connection has had its first bytes, and a line of JSON when all have ended.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.acceptance.stack import ROOT


async def _view(port: int, request: bytes, first: asyncio.Semaphore) -> tuple[int, int]:
    """Bytes and `tiles` events until the stream ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    size = events = 0
    while chunk := await reader.read(2**16):
        if not size:
            first.release()
        size += len(chunk)
        events += chunk.count(b"event: tiles")
        if b"event: end" in chunk:
            break
    writer.close()
    return size, events


async def watch(port: int, path: str, token: str, count: int) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    first = asyncio.Semaphore(0)
    views = [asyncio.create_task(_view(port, request, first)) for _ in range(count)]
    for _ in range(count):
        await first.acquire()
    print("ready", flush=True)
    ended = await asyncio.gather(*views)
    print(json.dumps({"bytes": sum(size for size, _ in ended), "events": sum(events for _, events in ended)}))


@contextmanager
def viewers(port: int, path: str, token: str, count: int) -> Iterator[dict[str, Any]]:
    """So many connected viewers; the dictionary is filled at the end. They leave when the job is over."""
    command = [sys.executable, "-m", "benchmarks.whole.viewers", str(port), path, str(count)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout
    process.stdin.write(token)
    process.stdin.close()
    report: dict[str, Any] = {}
    try:
        assert process.stdout.readline() == "ready\n"
        yield report
        report |= json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    asyncio.run(watch(int(sys.argv[1]), sys.argv[2], sys.stdin.read().strip(), int(sys.argv[3])))
