"""The same through the running service: one job, timed from outside by a stream that was open before."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from tests.acceptance.stack import Client, Stack

FINAL = {"COMPLETED", "FAILED", "CANCELLED"}
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Seen:
    """An event as it arrived, by the clock of `time.monotonic`."""

    at: float
    name: str
    data: dict[str, Any]


class Watcher:
    """Reads the farm's event stream in a thread and remembers when each event came."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._changed = threading.Condition()
        self._seen: list[Seen] = []
        self._open = threading.Event()

    def run(self) -> None:
        """Read until the connection is closed."""
        name = ""
        with (
            contextlib.suppress(httpx.TransportError),  # the service ends before its watcher
            self._client.http.stream("GET", "farm/events", timeout=None) as response,
        ):
            for line in response.iter_lines():
                self._open.set()
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    self._note(Seen(time.monotonic(), name, json.loads(line[6:])))

    def _note(self, seen: Seen) -> None:
        with self._changed:
            self._seen.append(seen)
            self._changed.notify_all()

    def wait_open(self) -> None:
        self._open.wait(30)
        time.sleep(0.3)  # the first line comes before the subscription

    def ended(self, job: str, seconds: float = 900.0) -> Seen:
        """The event of the job's final state."""
        with self._changed:
            self._changed.wait_for(lambda: self._final(job) is not None, seconds)
        final = self._final(job)
        if final is None or final.data["state"] != "COMPLETED":
            raise RuntimeError(f"job {job} did not complete: {final}")
        return final

    def _final(self, job: str) -> Seen | None:
        mine = (seen for seen in reversed(self._seen) if seen.name == "job" and seen.data["id"] == job)
        return next((seen for seen in mine if seen.data["state"] in FINAL), None)

    def first_tiles(self, job: str) -> Seen:
        return next(seen for seen in self._seen if seen.name == "tiles" and seen.data["job"] == job)


@contextmanager
def watching(client: Client) -> Iterator[Watcher]:
    """A watcher that is connected."""
    watcher = Watcher(client)
    threading.Thread(target=watcher.run, daemon=True).start()
    watcher.wait_open()
    yield watcher


@dataclass(frozen=True)
class Timed:
    """Seconds from sending the order until …; `cpu` is processor seconds by role, `ranges` the leases that were given.

    `rendered` is when the last range was stored; from then to `completed` the results were composed.
    """

    answered: float
    first_lease: float
    first_tiles: float
    rendered: float
    completed: float
    ranges: int
    cpu: Mapping[str, float] = field(default_factory=dict)


def render(stack: Stack, client: Client, watcher: Watcher, order: dict[str, Any]) -> Timed:
    """Submit, wait until COMPLETED, and forget the job."""
    before, began = processor_seconds(stack), time.monotonic()
    job = client.submit(**order)
    answered = time.monotonic() - began
    completed = watcher.ended(job).at - began
    after = processor_seconds(stack)
    leases = client.get(f"job/{job}/timeline")["leases"]
    created = _instant(client.job(job)["created_at"])
    timed = Timed(
        answered=answered,
        first_lease=min(_instant(lease["created_at"]) for lease in leases) - created,
        first_tiles=watcher.first_tiles(job).at - began,
        rendered=max(_instant(lease["finished_at"]) for lease in leases if lease["finished_at"]) - created,
        completed=completed,
        ranges=len(leases),
        cpu=_by_role(before, after),
    )
    client.call("DELETE", f"job/{job}/")
    return timed


def _by_role(before: Mapping[tuple[str, int], float], after: Mapping[tuple[str, int], float]) -> dict[str, float]:
    """What the processes that are there afterwards have used in between."""
    spent: dict[str, float] = {}
    for process, seconds in after.items():
        spent[process[0]] = spent.get(process[0], 0.0) + seconds - before.get(process, 0.0)
    return {role: round(seconds, 3) for role, seconds in spent.items()}


def processor_seconds(stack: Stack) -> dict[tuple[str, int], float]:
    """Processor seconds used so far by each live process, by its role and id."""
    spent: dict[tuple[str, int], float] = {}
    for process in stack.processes():
        try:
            text = Path(f"/proc/{process.pid}/stat").read_text()
        except OSError:
            continue
        user, system = text[text.rindex(")") + 1 :].split()[11:13]
        spent[process.role or "supervisor", process.pid] = (int(user) + int(system)) / _TICKS
    return spent


def _instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
