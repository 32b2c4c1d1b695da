"""What several threads do to one node, or to the nodes of one machine, at the same moment. Mostly about PostgreSQL."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from rrm.domain.states import LeaseState, NodeState
from rrm.farm import blaming, deliveries, jobs, nodes, quarantine, ranges
from rrm.farm.models import Block, Job, Lease, Node, Site
from tests.integration.farm.conftest import VIEW, Farm
from tests.integration.farm.test_blaming import ONE, fail_on, node_at
from tests.integration.farm.threads import in_threads


def at_once(*deeds: Callable[[], object]) -> None:
    """Each on a thread of its own; what one of them raises is raised here."""
    for outcome in in_threads(*deeds):
        if isinstance(outcome, Exception):
            raise outcome


def meet_after(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    """Have two threads that call the function wait for each other when it is done, half a second at most."""
    meeting, real = threading.Barrier(2), getattr(module, name)

    def slow(*args: Any, **kwargs: Any) -> Any:
        found = real(*args, **kwargs)
        with contextlib.suppress(threading.BrokenBarrierError):
            meeting.wait(0.5)
        return found

    monkeypatch.setattr(module, name, slow)


def two_leases(farm: Farm) -> tuple[Node, list[dict[str, Any]]]:
    """A node with a lease of each of two jobs."""
    node = farm.node()
    for max_iter in (64, 65):
        farm.submit(**ONE, params=VIEW | {"max_iter": max_iter})
    first = farm.lease(node)
    node.refresh_from_db()
    return node, [first, farm.lease(node, first["id"])]


def state_of(node: Node) -> str:
    return Node.objects.get(pk=node.pk).state


def test_a_node_that_loses_its_last_two_leases_at_once_is_idle(
    shared_farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, held = two_leases(shared_farm)
    meet_after(monkeypatch, ranges, "give_back")

    at_once(*(lambda lease=lease: deliveries.fail(node, UUID(lease["id"]), None, "x") for lease in held))

    assert state_of(node) == NodeState.IDLE


def test_a_node_whose_jobs_are_cancelled_at_once_is_idle(shared_farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    node, held = two_leases(shared_farm)
    meet_after(monkeypatch, ranges, "give_back")

    at_once(*(lambda job=job: jobs.cancel(job, "ada") for job in Job.objects.filter(pk__in=[x["job"] for x in held])))

    assert state_of(node) == NodeState.IDLE


@pytest.mark.parametrize(
    "end", [lambda node: nodes.stop(node, "ada"), lambda node: nodes.gone(node, NodeState.FAILED, "It died.")]
)
def test_what_a_node_is_given_while_it_is_ended_is_offered_again_at_once(
    farm: Farm, monkeypatch: pytest.MonkeyPatch, end: Callable[[Node], None]
) -> None:
    node, _ = two_leases(farm)
    farm.submit(**ONE, params=VIEW | {"max_iter": 66})
    node.refresh_from_db()
    give_back_all = ranges.give_back_all
    given: list[object] = []

    def too_early(node: Node, reason: str) -> None:
        give_back_all(node, reason)
        if not given:
            given.append(farm.lease(node))

    monkeypatch.setattr(ranges, "give_back_all", too_early)
    end(node)

    assert given
    assert not Lease.objects.filter(state=LeaseState.ACTIVE).exists()


def test_a_node_that_is_given_a_lease_while_it_loses_its_last_is_busy(shared_farm: Farm) -> None:
    node = shared_farm.node(cores=1)
    shared_farm.submit(width=256, height=256)
    last = shared_farm.lease(node)
    node.refresh_from_db()
    given = threading.Event()

    def ask() -> None:
        with transaction.atomic():
            shared_farm.lease(node, last["id"])
            given.set()
            time.sleep(0.5)

    def fail() -> None:
        given.wait(10)
        deliveries.fail(node, UUID(last["id"]), None, "x")

    at_once(ask, fail)

    assert state_of(node) == NodeState.BUSY
    assert Lease.objects.filter(node=node, state=LeaseState.ACTIVE).count() == 1


def test_a_node_that_asks_while_it_loses_its_last_lease_is_idle_or_busy_with_a_lease(shared_farm: Farm) -> None:
    node = shared_farm.node(cores=1)
    shared_farm.submit(width=256, height=256)
    last = shared_farm.lease(node)
    node.refresh_from_db()
    freed = threading.Event()

    def fail() -> None:
        with transaction.atomic():
            deliveries.fail(node, UUID(last["id"]), None, "x")
            freed.set()
            time.sleep(0.5)

    def ask() -> None:
        freed.wait(10)
        shared_farm.ask(node, last["id"])

    at_once(fail, ask)

    active = Lease.objects.filter(node=node, state=LeaseState.ACTIVE).count()
    assert (state_of(node), active) in {(NodeState.IDLE, 0), (NodeState.BUSY, 1)}


def test_a_node_that_was_forgotten_is_freed_by_the_loop_which_has_no_transaction(shared_farm: Farm) -> None:
    node = shared_farm.node()
    Node.objects.filter(pk=node.pk).update(state=NodeState.BUSY)

    ranges.release_forgotten(timezone.now() + timedelta(seconds=6))

    assert state_of(node) == NodeState.IDLE


def test_two_nodes_of_a_machine_that_are_blamed_at_once_block_it_once(
    shared_farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm, cluster = shared_farm, Site.objects.create(id="cluster", kind="slurm", host="login", max_nodes=50)
    farm.place(cluster, 1)
    good = node_at(farm, cluster, "n2")
    sick = [node_at(farm, cluster, "n1") for _ in range(2)]
    with monkeypatch.context() as patch, transaction.atomic():  # where nobody goes by what was true a moment ago
        fail_on(farm, node_at(farm, cluster, "n1"), good, 3)
        patch.setattr(blaming, "settle", lambda *_: None)
        done = [fail_on(farm, bad, good, 3).leases.get(state=LeaseState.DONE) for bad in sick]
    suspects = Lease.objects.filter(fault=Lease.Fault.SUSPECT)
    earlier = [bad.leases.filter(fault=Lease.Fault.SUSPECT).order_by("-created_at")[0].pk for bad in sick]
    suspects.exclude(pk__in=earlier).update(fault=Lease.Fault.BLAMED)
    meet_after(monkeypatch, blaming, "_block")

    at_once(*(lambda lease=lease: blaming.settle(lease, timezone.now()) for lease in done))

    assert Block.objects.exclude(node="").count() == 3
    assert [block.hostname for block in Block.objects.filter(node="")] == ["n1"]
    assert {state_of(bad) for bad in sick} == {NodeState.DRAINING}


def two_jobs(farm: Farm) -> tuple[Node, list[Any]]:
    """A node with a lease of each of two jobs of one model, the newer of which has the greater key; their keys."""
    node, _ = two_leases(farm)
    keys = sorted(Job.objects.values_list("pk", flat=True))
    for hours, key in enumerate(reversed(keys)):
        Job.objects.filter(pk=key).update(created_at=timezone.now() - timedelta(hours=hours))
    Job.objects.update(model=Job.objects.get(pk=keys[0]).model)
    return node, keys


def leave(node: Node) -> None:
    with transaction.atomic():
        ranges.give_back_all(node, "it leaves")
        ranges.release(node)


def test_the_jobs_of_a_node_that_leaves_are_locked_in_the_order_of_their_keys(farm: Farm) -> None:
    node, keys = two_jobs(farm)
    with CaptureQueriesContext(connection) as queries:
        leave(node)
    locked = [query["sql"].replace("-", "") for query in queries if 'FROM "farm_job" WHERE' in query["sql"]]
    assert [next(key for key in keys if key.hex in sql) for sql in locked] == keys


def test_a_node_that_leaves_while_all_jobs_of_its_model_are_locked_is_no_deadlock(
    shared_farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, keys = two_jobs(shared_farm)
    model = Job.objects.get(pk=keys[0]).model
    begun, real = threading.Event(), ranges._offer_again

    def slow(lease: Lease) -> None:
        real(lease)
        begun.set()
        time.sleep(0.2)

    def lift() -> None:
        begun.wait(5)
        quarantine.lift(model, "olga")

    monkeypatch.setattr(ranges, "_offer_again", slow)
    at_once(lambda: leave(node), lift)
    assert Lease.objects.filter(state=LeaseState.RETURNED).count() == 2
