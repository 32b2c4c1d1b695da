"""What people are promised while no renderer is free: only what will come."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from rrm.domain.states import NodeState
from rrm.errors import NoCapacity
from rrm.farm import booking, nodes, prospects, scaling
from rrm.farm.models import Lease, Node, Resource, ResourceSite, Session, Site
from tests.integration.farm.conftest import Farm
from tests.integration.farm.people import SOON, book, now_is
from tests.integration.farm.walls import Wall

NONE = "No renderer is free, and {}; an operator can raise max_nodes."
THE_ONLY = NONE.format("the only node of mandelbrot is taken, and its max_nodes (1) allows no more")


def change(farm: Farm, **limits: object) -> None:
    Resource.objects.filter(pk=farm.resource.pk).update(**limits)
    farm.resource.refresh_from_db()


def only_a_cluster(farm: Farm, max_nodes: int) -> Site:
    cluster = Site.objects.create(id="cluster", kind="slurm", host="h", max_nodes=max_nodes)
    farm.resource.placements.all().delete()
    farm.place(cluster, 0)
    return cluster


def another_resource(site: Site, **facts: object) -> Resource:
    other = Resource.objects.create(id="other", max_nodes=5, **facts)
    ResourceSite.objects.create(resource=other, site=site)
    return other


def at_work(farm: Farm, *, seconds: float = 0) -> Node:
    """A node that has had a range for so long."""
    node = farm.node(answers=True)
    farm.submit(width=1024, height=1024)
    farm.lease(node)
    Lease.objects.update(created_at=timezone.now() - timedelta(seconds=seconds))
    node.refresh_from_db()
    return node


def refused(farm: Farm, max_wait: timedelta = SOON) -> str:
    with pytest.raises(NoCapacity) as caught:
        book(farm, max_wait)
    return caught.value.detail


@pytest.mark.parametrize("settles", [False, True])
def test_who_waits_for_a_node_to_be_started_gets_one_started(farm: Farm, wall: Wall, settles: bool) -> None:
    at_work(farm, seconds=60)
    change(farm, up_since=timezone.now() + timedelta(minutes=9) if settles else None)
    assert now_is(book(farm, SOON)) == ("PENDING", "Waits for a node to be started at here.")
    scaling.autoscale(timezone.now())
    assert Node.objects.filter(state=NodeState.REQUESTED).count() == 1


@pytest.mark.parametrize(("room", "served"), [(3, 0), (4, 4), (7, 4), (8, 8)])
def test_a_batch_job_is_waited_for_only_where_there_is_room_for_all_its_machines(
    farm: Farm, room: int, served: int
) -> None:
    only_a_cluster(farm, room)
    change(farm, nb_nodes=4, start_seconds=5)
    how = [place.how for place in prospects.of(farm.resource, timezone.now()).places]
    assert how == ["a node to be started at cluster"] * served
    if not served:
        assert refused(farm).startswith(
            NONE.format("site cluster has no place left for a batch job of 4 nodes, as its max_nodes is 3")
        )
    else:
        book(farm, SOON)
        assert scaling.plan(farm.resource, timezone.now()).launch == ("cluster",) * 4


def test_idle_nodes_of_another_make_place_for_a_batch_job_only_if_they_are_enough(farm: Farm) -> None:
    cluster = only_a_cluster(farm, 4)
    change(farm, nb_nodes=4, start_seconds=5)
    other = another_resource(cluster, last_plan={"want": 0})
    now = timezone.now()
    for number in range(4):
        facts = {"idle_since": now, "last_heartbeat": now, "started_at": now, "token_digest": str(number)}
        Node.objects.create(name=f"rrm-{number}", resource=other, site=cluster, state="IDLE", **facts)
    Resource.objects.filter(pk="other").update(min_nodes=1)
    assert refused(farm).startswith(
        NONE.format("site cluster has no place left for a batch job of 4 nodes, as its max_nodes is 4")
    )
    Resource.objects.filter(pk="other").update(min_nodes=0)
    assert now_is(book(farm, SOON))[1] == "Waits for the place of an idle node at cluster."
    scaling.autoscale(now)
    assert Node.objects.filter(resource=other, state=NodeState.DRAINING).count() == 4


def test_a_node_that_is_leaving_a_site_out_of_reach_makes_no_place(farm: Farm) -> None:
    there = Site.objects.create(id="there", kind="ssh", host="h", max_nodes=5)
    farm.place(there, 1)
    change(farm, max_nodes=1)
    nodes.stop(farm.node(there), "ada")
    Site.objects.filter(pk="there").update(problem="No route to host")
    assert refused(farm).startswith(THE_ONLY)
    Site.objects.filter(pk="there").update(problem="")
    reason = "Waits for a node to be started at here when one that is leaving has left."
    assert now_is(book(farm, SOON))[1] == reason


def test_a_node_that_leaves_takes_as_long_as_its_range(farm: Farm, wall: Wall) -> None:
    change(farm, max_nodes=1, start_seconds=5)
    nodes.drain(at_work(farm, seconds=60), "ada")
    assert "when one that is leaving has left, in about 65 s, longer than the 30 s" in refused(farm)


def test_the_place_of_one_that_leaves_is_counted_once_where_its_resource_keeps_another(farm: Farm) -> None:
    Site.objects.update(max_nodes=2)
    other = another_resource(farm.site, min_nodes=1, last_plan={"want": 1})
    now = timezone.now()
    facts = {"resource": other, "site": farm.site, "last_heartbeat": now, "started_at": now}
    Node.objects.create(name="rrm-1", state="IDLE", idle_since=now, token_digest="x", **facts)
    Node.objects.create(name="rrm-2", state="STOPPING", token_digest="y", **facts)
    assert "when one that is leaving has left" in now_is(book(farm, SOON))[1]
    assert refused(farm).startswith(NONE.format("site here has no place left, as its max_nodes is 2"))


def test_a_place_beyond_the_limit_of_its_site_is_nobodys(farm: Farm) -> None:
    other = another_resource(farm.site, last_plan={"want": 0})
    now = timezone.now()
    for number in range(2):
        facts = {"idle_since": now, "last_heartbeat": now, "started_at": now, "token_digest": str(number)}
        Node.objects.create(name=f"rrm-{number}", resource=other, site=farm.site, state="IDLE", **facts)
    Site.objects.update(max_nodes=1)
    assert now_is(book(farm, SOON))[1] == "Waits for the place of an idle node at here."
    assert refused(farm).startswith(NONE.format("site here has no place left, as its max_nodes is 1"))


def test_what_leaves_first_brings_a_site_down_to_its_limit(farm: Farm) -> None:
    change(farm, start_seconds=5)
    other = another_resource(farm.site, last_plan={"want": 0})
    now = timezone.now()
    facts = {"resource": other, "site": farm.site, "last_heartbeat": now, "started_at": now}
    Node.objects.create(name="rrm-1", state="IDLE", idle_since=now, token_digest="x", **facts)
    Node.objects.create(name="rrm-2", state="STOPPING", token_digest="y", **facts)
    Site.objects.update(max_nodes=1)
    assert "The next is the place of an idle node at here, in about 20 s" in refused(farm, timedelta(seconds=10))


def test_one_place_is_not_promised_to_people_of_two_resources(farm: Farm) -> None:
    Site.objects.update(max_nodes=2)
    other = another_resource(farm.site)
    wish = booking.Wish(other, max_wait=SOON)
    book(farm, SOON)
    assert booking.book(farm.owner, wish, timezone.now()).state == "PENDING"
    with pytest.raises(NoCapacity, match="site here has no place left, as its max_nodes is 2"):
        booking.book(farm.owner, wish, timezone.now())
    scaling.autoscale(timezone.now())
    assert sorted(Node.objects.values_list("resource", flat=True)) == ["mandelbrot", "other"]
    with pytest.raises(NoCapacity, match="site here has no place left, as its max_nodes is 2"):
        booking.book(farm.owner, wish, timezone.now())


def test_who_is_refused_is_told_which_limit_allows_no_further_node(farm: Farm) -> None:
    other = Site.objects.create(id="there", kind="ssh", host="h", max_nodes=1)
    farm.place(other, 1)
    farm.node(), farm.node(other)  # which answer nobody
    change(farm, max_nodes=2)
    assert refused(farm) == NONE.format("both nodes of mandelbrot are taken, and its max_nodes (2) allows no more")
    change(farm, max_nodes=3)
    assert now_is(book(farm, SOON))[1] == "Waits for a node to be started at here."
    said = "the 3 nodes that mandelbrot may have (max_nodes) are taken or promised to others"
    assert refused(farm) == f"{NONE.format(said)} One other waits already."
    Site.objects.filter(pk="here").update(max_nodes=0)
    said = "sites here and there have no place left, as their max_nodes are 0 and 1"
    assert refused(farm) == f"{NONE.format(said)} One other waits already."


def test_who_is_refused_behind_failing_starts_is_told_of_them(farm: Farm) -> None:
    change(farm, launch_failures=4, reason="no such partition")
    book(farm, SOON)
    assert refused(farm) == (
        "No renderer is free, and 4 starts in a row failed, so one is tried at a time. One other waits already."
    )


def test_people_for_whom_no_node_can_be_started_take_no_place_from_others(farm: Farm) -> None:
    Site.objects.update(max_nodes=1)
    other = another_resource(farm.site)
    book(farm, SOON)
    change(farm, enabled=False)
    assert booking.book(farm.owner, booking.Wish(other, max_wait=SOON), timezone.now()).state == "PENDING"


def test_a_start_that_takes_longer_than_expected_may_take_as_long_again(farm: Farm, wall: Wall) -> None:
    cluster = only_a_cluster(farm, 3)
    change(farm, max_nodes=1, start_seconds=30)
    nodes.request_node(farm.resource, cluster, "autoscaler")
    Node.objects.update(requested_at=timezone.now() - timedelta(seconds=10))
    assert "a node that is starting, in about 20 s" in refused(farm, timedelta(seconds=5))
    Node.objects.update(state="SUBMITTED", requested_at=timezone.now() - timedelta(hours=1))
    assert "a node that is starting, in about 3600 s" in refused(farm, timedelta(seconds=5))


def test_a_node_that_ends_before_anybody_could_use_it_is_no_prospect(farm: Farm, wall: Wall) -> None:
    change(farm, max_nodes=1)
    at_work(farm)
    Node.objects.update(ends_at=timezone.now() + timedelta(seconds=61))
    assert refused(farm).startswith(THE_ONLY)
    Node.objects.update(ends_at=timezone.now() + timedelta(seconds=90))
    assert now_is(book(farm, SOON))[1] == "Waits for a node that finishes what it renders."


@pytest.mark.parametrize(("failures", "tried"), [(3, 50), (4, 1), (5, 1)])
def test_after_many_failed_starts_one_node_at_a_time_is_waited_for(farm: Farm, failures: int, tried: int) -> None:
    change(farm, launch_failures=failures, reason="no such partition")
    assert len(prospects.of(farm.resource, timezone.now()).places) == tried
    nodes.request_node(farm.resource, farm.site, "test")
    how = [place.how for place in prospects.of(farm.resource, timezone.now()).places]
    assert how[0] == "a node that is starting"
    assert len(how) == {3: 50, 4: 2, 5: 1}[failures]


def test_the_end_of_a_session_is_promised_only_where_its_node_may_stay(farm: Farm) -> None:
    change(farm, max_nodes=2)
    for _ in range(2):
        farm.node(answers=True)
        book(farm, timedelta())
    ends = list(Session.objects.order_by("expires_at").values_list("expires_at", flat=True))
    assert prospects.of(farm.resource, timezone.now()).ends == ends
    change(farm, max_nodes=1)
    assert prospects.of(farm.resource, timezone.now()).ends == ends[1:]
    change(farm, max_nodes=2, enabled=False)
    assert prospects.of(farm.resource, timezone.now()).ends == []
