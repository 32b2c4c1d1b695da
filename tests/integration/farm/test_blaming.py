"""Nodes that fail what others complete are blocked; those that fail on a bad tile, or are lost, are not."""

from __future__ import annotations

import io
from datetime import timedelta
from uuid import UUID

import pytest
from django.conf import settings
from django.utils import timezone

from rrm.domain.states import NODE_WORKING, JobState, NodeState
from rrm.errors import BadBundle
from rrm.farm import blaming, blocking, consistency, deliveries, nodes, reconciling, reports
from rrm.farm.models import Block, Event, Job, Lease, Node, Resource, Site
from rrm.farm.specs import spec_for
from tests import factories as make
from tests.integration.farm.conftest import Farm
from tests.integration.farm.test_copies import Race

ONE = {"width": 16, "height": 16}


def fail_on(farm: Farm, bad: Node, good: Node, times: int) -> Job:
    """`bad` fails on so many ranges, and `good` completes them; the last job."""
    for _ in range(times):
        job = farm.submit(**ONE)
        deliveries.fail(bad, UUID(farm.lease(bad)["id"]), None, "no GPU")
        farm.work_off(good)
    job.refresh_from_db()
    return job


def test_a_node_that_fails_three_ranges_that_others_complete_is_blocked(farm: Farm) -> None:
    bad, good = farm.node(), farm.node()

    fail_on(farm, bad, good, 2)
    bad.refresh_from_db()
    assert (bad.state, bad.blames) == (NodeState.IDLE, 2)
    job = fail_on(farm, bad, good, 1)

    bad.refresh_from_db()
    assert (bad.state, bad.blames) == (NodeState.DRAINING, 3)
    assert bad.reason.startswith("Blocked until 20")
    assert farm.ask(bad)["command"] == "drain"
    block = Block.objects.get()
    assert (block.node, block.hostname, block.renderer) == (bad.name, "host", "mandelbrot")
    assert block.until - block.created_at == timedelta(hours=5)
    assert job.state == JobState.COMPOSING
    told = [event.data["message"] for event in job.events.filter(kind="log")]
    assert f"{bad.name} is given no more work: it failed on 3 ranges that others completed" in told
    assert "is blocked" in Event.objects.get(subject_type="site", kind="log").data["message"]
    assert good.blames == 0


def test_a_failed_range_counts_once_however_many_pieces_complete_it(farm: Farm) -> None:
    bad, good = farm.node(cores=8), farm.node(cores=1)
    job = farm.submit(width=256, height=256)
    lease = farm.lease(bad)
    assert lease["stop"] - lease["start"] >= 4

    deliveries.fail(bad, UUID(lease["id"]), None, "no GPU")
    farm.work_off(good)

    bad.refresh_from_db()
    assert bad.blames == 1
    assert job.leases.filter(start__lt=lease["stop"]).count() > 3


def test_a_poison_tile_is_nobodys_fault(farm: Farm) -> None:
    workers = [farm.node(cores=8) for _ in range(4)]
    job = farm.submit(width=128, height=128)
    poison = 21

    for _ in range(100):
        for worker in workers:
            if lease := farm.ask(worker)["lease"]:
                if lease["start"] <= poison < lease["stop"]:
                    deliveries.fail(worker, UUID(lease["id"]), poison, "division by zero")
                else:
                    farm.deliver(worker, lease)
        job.refresh_from_db()
        if job.state == JobState.FAILED:
            break

    assert job.state == JobState.FAILED
    assert "Tile 21 (row 2, column 5)" in job.reason
    assert set(Node.objects.values_list("state", "blames")) == {(NodeState.IDLE, 0)}
    assert not Lease.objects.exclude(fault="").exists()


def test_a_node_that_can_do_it_after_all_is_acquitted(farm: Farm) -> None:
    bad, other = farm.node(), farm.node()
    farm.submit(**ONE)
    deliveries.fail(bad, UUID(farm.lease(bad)["id"]), None, "no memory just now")
    nodes.gone(other, NodeState.STOPPED, "x")

    farm.work_off(bad)

    bad.refresh_from_db()
    assert bad.blames == 0
    assert not Lease.objects.exclude(fault="").exists()


def test_a_lost_node_is_not_blamed(farm: Farm) -> None:
    farm.submit(**ONE)
    lost, good = farm.node(), farm.node()
    farm.lease(lost)
    nodes.gone(lost, NodeState.FAILED, "lost")

    farm.work_off(good)

    assert Node.objects.get(pk=lost.pk).blames == 0


def test_a_node_that_sends_rubbish_is_blamed_once_it_gives_up(farm: Farm) -> None:
    farm.submit(**ONE)
    bad, good = farm.node(), farm.node()
    lease = farm.lease(bad)
    with pytest.raises(BadBundle):
        deliveries.complete(bad, UUID(lease["id"]), io.BytesIO(b"RRMB rubbish"))

    deliveries.fail(bad, UUID(lease["id"]), None, "422 bad-bundle")  # as the agent does
    farm.work_off(good)

    assert Node.objects.get(pk=bad.pk).blames == 1


def test_what_a_process_that_died_has_left_is_settled_by_the_loop(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = farm.node(), farm.node()
    monkeypatch.setattr(blaming, "settle", lambda *_: None)
    fail_on(farm, bad, good, 3)
    monkeypatch.undo()
    assert Node.objects.get(pk=bad.pk).state == NodeState.IDLE

    reconciling.reconcile(timezone.now())
    blaming.look_after(timezone.now())

    assert (Node.objects.get(pk=bad.pk).state, Block.objects.count()) == (NodeState.DRAINING, 1)


def test_failures_of_long_ago_do_not_count(farm: Farm) -> None:
    bad, good = farm.node(), farm.node()
    fail_on(farm, bad, good, 2)
    Lease.objects.filter(fault="blamed").update(finished_at=timezone.now() - timedelta(hours=6))

    fail_on(farm, bad, good, 1)

    bad.refresh_from_db()
    assert (bad.state, bad.blames) == (NodeState.IDLE, 1)


def test_a_block_ends_by_itself_and_by_an_operator(farm: Farm) -> None:
    bad, good = farm.node(), farm.node()
    fail_on(farm, bad, good, 3)
    block = Block.objects.get()
    assert not blocking.in_force(timezone.now() + timedelta(hours=6)).exists()

    for _ in range(2):
        blocking.forgive(block, "olga")

    block.refresh_from_db()
    assert (block.lifted_by, blocking.in_force(timezone.now()).count()) == ("olga", 0)
    assert Node.objects.get(pk=bad.pk).blames == 0
    assert Event.objects.filter(subject_type="site", actor="olga").count() == 1


def test_at_one_machine_only_the_node_is_blocked(farm: Farm) -> None:
    good = farm.node()
    for _ in range(3):
        fail_on(farm, farm.node(), good, 3)

    assert Block.objects.exclude(node="").count() == Block.objects.count() == 3
    assert blocking.of(good, timezone.now()) is None


@pytest.fixture
def cluster(farm: Farm) -> Site:
    site = Site.objects.create(id="cluster", kind="slurm", host="login", max_nodes=50)
    farm.place(site, 1)
    return site


def node_at(farm: Farm, site: Site, machine: str) -> Node:
    node = nodes.request_node(farm.resource, site, "test")
    report = {"node": node.name, "hostname": f"{machine}.example.org", "machine": machine, "cores": 1}
    reports.register(nodes.launch_token(node.name), report)
    node.refresh_from_db()
    return node


def test_a_machine_of_a_cluster_is_blocked_after_two_of_its_nodes(farm: Farm, cluster: Site) -> None:
    good, bystander = node_at(farm, cluster, "n2"), node_at(farm, cluster, "n1")
    fail_on(farm, node_at(farm, cluster, "n1"), good, 3)
    assert Node.objects.get(pk=bystander.pk).state in NODE_WORKING

    fail_on(farm, node_at(farm, cluster, "n1"), good, 3)

    now = timezone.now()
    assert blocking.machines(cluster, "mandelbrot", now) == ["n1"]
    bystander.refresh_from_db()
    assert bystander.state == NodeState.DRAINING
    assert "2 nodes on it failed" in bystander.reason
    assert Node.objects.get(pk=good.pk).state in NODE_WORKING
    assert spec_for(farm.resource, cluster, "rrm-x", "secret").batch.exclude == ("n1",)
    assert spec_for(farm.resource, farm.site, "rrm-x", "secret").batch.exclude == ()
    assert list(consistency.problems()) == []


def test_a_machine_that_is_forgiven_begins_anew(farm: Farm, cluster: Site) -> None:
    good, elsewhere = node_at(farm, cluster, "n2"), node_at(farm, cluster, "n3")
    fail_on(farm, elsewhere, good, 3)
    pair = [node_at(farm, cluster, "n1") for _ in range(2)]
    for bad in pair:
        fail_on(farm, bad, good, 3)

    blocking.forgive(Block.objects.get(node="", hostname="n1"), "olga")

    now = timezone.now()
    assert [block.node for block in blocking.in_force(now)] == [elsewhere.name]
    assert not Node.objects.filter(pk__in=[node.pk for node in pair]).exclude(blames=0).exists()
    assert not Lease.objects.filter(node__in=pair, fault=Lease.Fault.BLAMED).exists()
    assert set(Block.objects.filter(hostname="n1").values_list("lifted_by", flat=True)) == {"olga"}
    fail_on(farm, node_at(farm, cluster, "n1"), good, 3)
    assert blocking.machines(cluster, "mandelbrot", now) == []


def test_a_node_that_comes_up_on_a_blocked_machine_leaves_and_the_next_start_waits(farm: Farm, cluster: Site) -> None:
    now = timezone.now()
    until = now + settings.RRM.block_period
    Block.objects.create(site=cluster, hostname="n1", renderer="mandelbrot", reason="x", until=until)

    node = node_at(farm, cluster, "n1")

    assert node.state == NodeState.DRAINING
    assert Resource.objects.get().launch_failures == 1
    assert Resource.objects.get().reason.startswith("Blocked until")


def test_a_name_that_slurm_would_read_as_something_else_is_not_excluded(farm: Farm, cluster: Site) -> None:
    until = timezone.now() + timedelta(hours=1)
    for name in ("n1", "n[2-9]", "a,b", "/etc/passwd", "", "-x"):
        Block.objects.create(site=cluster, hostname=name, renderer="mandelbrot", reason="x", until=until)

    assert blocking.machines(cluster, "mandelbrot", timezone.now()) == ["n1"]


def test_a_tile_that_fails_is_not_kept_waiting_for_a_node_that_somebody_has_booked(farm: Farm) -> None:
    farm.submit(**ONE)
    node, booked = farm.node(), farm.node()
    Node.objects.filter(pk=booked.pk).update(reserved_for=UUID(int=1))
    for _ in range(3):
        deliveries.fail(node, UUID(farm.lease(node)["id"]), 0, "division by zero")

    assert Job.objects.get().state == JobState.FAILED


def test_neither_a_node_nor_its_machine_is_blocked_twice(
    farm: Farm, cluster: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, failing = node_at(farm, cluster, "n2"), [node_at(farm, cluster, "n1") for _ in range(3)]
    monkeypatch.setattr(blaming, "settle", lambda *_: None)
    for bad in failing:
        fail_on(farm, bad, good, 4)
    monkeypatch.undo()

    blaming.look_after(timezone.now())

    blocked = Block.objects.order_by("node").values_list("node", flat=True)
    assert list(blocked) == sorted(["", *(bad.name for bad in failing)])


def test_a_node_whose_failed_range_its_copy_completes_is_blamed(farm: Farm) -> None:
    race = Race(farm)
    deliveries.fail(race.slow, UUID(race.first["id"]), None, "no GPU")
    farm.deliver(race.quick, race.copy)
    assert Node.objects.get(pk=race.slow.pk).blames == 1


def test_tiles_beside_a_failed_range_say_nothing_of_its_node(farm: Farm) -> None:
    bad, good = farm.node(cores=2), farm.node(cores=1)
    farm.submit()
    failed, one = farm.lease(bad), farm.lease(good)
    other = farm.lease(good, one["id"])
    assert failed["stop"] == 2
    deliveries.fail(bad, UUID(failed["id"]), None, "no GPU")
    farm.deliver(good, one)
    farm.deliver(good, other)

    blaming.look_after(timezone.now())

    assert Node.objects.get(pk=bad.pk).blames == 0
    assert Lease.objects.get(pk=failed["id"]).fault == Lease.Fault.SUSPECT


def test_a_block_that_a_process_left_half_done_concerns_the_machine_and_renderer_alone(
    farm: Farm, cluster: Site
) -> None:
    other = make.resource(cluster, name="other", renderer="external")
    concerned = [make.node(farm.resource, cluster, machine="n1"), make.node(farm.resource, cluster, hostname="n1")]
    spared = [
        make.node(other, cluster, machine="n1"),
        make.node(farm.resource, cluster, machine="n2", hostname="n1"),
        make.node(farm.resource, farm.site, machine="n1"),
    ]
    until = timezone.now() + timedelta(hours=1)
    Block.objects.create(site=cluster, hostname="n1", renderer="mandelbrot", reason="x", until=until)

    blaming.look_after(timezone.now())

    leaving = set(Node.objects.filter(state=NodeState.DRAINING).values_list("name", flat=True))
    assert leaving == {node.name for node in concerned}
    assert not leaving & {node.name for node in spared}
