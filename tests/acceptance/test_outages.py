"""A node that sleeps through its leases, and a disk that is full for a while: jobs still end with the same bytes."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.acceptance.living import Process
from tests.acceptance.long_job import ORDER, PATIENCE, Outcome, flaws, outcome, progress, wait_for_order
from tests.acceptance.stack import Client, Stack, running_rrm

pytestmark = [pytest.mark.acceptance, pytest.mark.slow_kill, pytest.mark.timeout(600)]
LEASE_SECONDS = 3
# Less than the picture's numbers need, more than the database does.
ROOM = 8 * 2**20


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A copy whose leases end soon unless their node is heard."""
    soon = {"RRM_LEASE_DEADLINE_SECONDS": str(LEASE_SECONDS), "RRM_HEARTBEAT_SECONDS": "1"}
    with running_rrm(tmp_path_factory.mktemp("arena"), **soon) as own:
        yield own


@pytest.fixture(scope="module")
def client(arena: Stack) -> Iterator[Client]:
    with arena.client() as operator:
        yield operator


@pytest.fixture(scope="module")
def undisturbed(client: Client) -> Outcome:
    job = client.submit(**ORDER)
    client.finished(job, PATIENCE)
    return outcome(client, job)


def begun(client: Client) -> str:
    job = client.submit(**ORDER)
    client.until(lambda: progress(client, job), lambda done: done > 0.05, PATIENCE)
    return job


def slept_through(arena: Stack, client: Client, job: str) -> set[str]:
    """The leases that the only node lost while it was stopped; it goes on afterwards."""
    (node,) = arena.processes("node")
    for _ in range(20):
        os.kill(node.pid, signal.SIGSTOP)
        try:
            leases = client.until(
                lambda: client.get(f"job/{job}/timeline")["leases"],
                lambda seen: all(lease["state"] != "ACTIVE" for lease in seen),
            )
        finally:
            os.kill(node.pid, signal.SIGCONT)
        if returned := {lease["id"] for lease in leases if lease["state"] == "RETURNED"}:
            return returned
        time.sleep(0.02)  # it was stopped between two ranges
    raise AssertionError("no lease of the sleeping node was taken back")


def test_a_node_that_sleeps_longer_than_its_lease_is_not_believed(
    arena: Stack, client: Client, undisturbed: Outcome
) -> None:
    job = begun(client)
    returned = slept_through(arena, client, job)
    assert flaws(arena, client, job, undisturbed) == []
    after = {lease["id"]: lease["state"] for lease in client.get(f"job/{job}/timeline")["leases"]}
    assert {after[lease] for lease in returned} == {"RETURNED"}, "what it sent late was refused"
    wait_for_order(arena, client, 1)


def test_results_that_find_no_room_are_sent_again(arena: Stack, client: Client, undisturbed: Outcome) -> None:
    job = begun(client)
    log = arena.data / "nodes" / client.live_nodes()[0]["name"] / "err.log"
    before = log.read_text().count("answered 5")
    with no_room(arena.processes("web"), 0):  # until the node was told that its results could not be kept
        client.until(lambda: log.read_text().count("answered 5"), lambda count: count > before)
    assert flaws(arena, client, job, undisturbed) == []


def test_a_job_that_cannot_be_written_says_so_and_can_be_retried(
    arena: Stack, client: Client, undisturbed: Outcome
) -> None:
    job = begun(client)
    with no_room(arena.processes("worker"), ROOM):
        body = client.until(lambda: client.job(job), lambda seen: seen["state"] in ("FAILED", "COMPLETED"), PATIENCE)
    assert body["state"] == "FAILED"
    assert "could not be written" in body["reason"]
    client.act(job, "retry")
    assert flaws(arena, client, job, undisturbed) == []


@contextmanager
def no_room(processes: list[Process], size: int) -> Iterator[None]:
    """No file of these processes grows beyond `size` bytes: what they see is close to a full disk."""
    limits = {process.pid: resource.prlimit(process.pid, resource.RLIMIT_FSIZE) for process in processes}
    for pid, (_, hard) in limits.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        for pid, before in limits.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
