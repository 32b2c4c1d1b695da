"""A job of seconds whose results are known, and everything that must be true of it whatever happened meanwhile."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.acceptance.stack import Client, Stack
from tests.pictures import are_same, pixels

# The valley with fifty times the steps; its many tiles leave many moments to disturb it.
ORDER: dict[str, Any] = {
    "params": {"viewport": [-0.745, -0.735, 0.105, 0.115], "max_iter": 100_000},
    "width": 2048,
    "height": 2048,
    "tile_size": 128,
    "outputs": ["png", "counts"],
}
RESULTS = ("image.png", "counts.npy")
PATIENCE = 150.0


@dataclass(frozen=True)
class Outcome:
    """The results of a job."""

    image: bytes
    counts: bytes

    def differences(self, other: Outcome) -> list[str]:
        """How the results differ from those of another job; nothing where every value is the same."""
        found = []
        if self.counts != other.counts:
            mine, theirs = (np.load(io.BytesIO(each.counts)) for each in (self, other))
            found.append(f"counts.npy: {_where(mine != theirs)}")
        if not are_same(self.image, other.image):
            differs = (pixels(self.image) != pixels(other.image)).any(2)
            found.append(f"image.png, {len(self.image)} and {len(other.image)} bytes: {_where(differs)}")
        return found


def _where(differs: Any) -> str:
    rows, columns = np.nonzero(differs)
    if not len(rows):
        return "the same values in other bytes"
    return (
        f"{len(rows)} pixels of rows {rows.min()} to {rows.max()} and columns {columns.min()} to {columns.max()} differ"
    )


def outcome(client: Client, job: str) -> Outcome:
    return Outcome(*(client.content(f"job/{job}/{name}") for name in RESULTS))


def progress(client: Client, job: str) -> float:
    """The part of the tiles that is done; 1.0 as soon as the last one is."""
    told = client.job(job)["progress"]
    return float(told["done"] / told["tiles"])


def flaws(stack: Stack, client: Client, job: str, expected: Outcome) -> list[str]:
    """What is wrong with a completed job, and with the farm after it. Waits for what takes its time."""
    body = client.finished(job, PATIENCE)
    leases = client.get(f"job/{job}/timeline")["leases"]
    found = _coverage(leases, body["progress"]["tiles"])
    found += [f"lease {lease['id']} is still ACTIVE" for lease in leases if lease["state"] == "ACTIVE"]
    if different := outcome(client, job).differences(expected):
        places = [(lease["start"], lease["stop"]) for lease in leases if lease["state"] == "DONE"]
        found += [*different, f"the ranges were {sorted(places)}"]
    checked = stack.manage("check_farm")
    if checked.returncode:
        found.append(f"check_farm: {checked.stdout} {checked.stderr}")
    return found


def _coverage(leases: list[dict[str, Any]], tiles: int) -> list[str]:
    """Each tile must be in exactly one finished lease."""
    reached = 0
    for lease in sorted((lease for lease in leases if lease["state"] == "DONE"), key=lambda lease: int(lease["start"])):
        if lease["start"] != reached:
            return [f"tile {reached} is not followed by tile {lease['start']}"]
        reached = lease["stop"]
    return [] if reached == tiles else [f"tiles {reached} to {tiles - 1} are missing"]


def crowd(stack: Stack, client: Client) -> dict[str, int]:
    """How many processes of each role were started and live, and how many nodes the manager counts."""
    leaders = [process.role for process in stack.processes() if process.leads]
    counted = {role: leaders.count(role) for role in ("web", "worker", "beat", "sites", "broker", "node")}
    return {**counted, "known nodes": len(client.live_nodes())}


def wait_for_order(stack: Stack, client: Client, nodes: int) -> None:
    """Wait until exactly what belongs to a healthy copy with so many nodes is there, and nothing else."""
    expected = {"web": 1, "worker": 1, "beat": 1, "sites": 1, "broker": 1, "node": nodes, "known nodes": nodes}
    client.until(lambda: crowd(stack, client), lambda seen: seen == expected, 180.0)
