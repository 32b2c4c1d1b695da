"""What claims are decided by: kept for a moment, and for less than that when it says that there is nothing."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from rrm.domain.states import JobState
from rrm.errors import StateConflict
from rrm.farm import beckoning, claims, crowd, jobs, market, nodes, wakeups
from rrm.farm.kept import Kept
from rrm.farm.models import Estimate, HeldModel, Job, JobShare, Lease, Node, Quota, RenderModel, Resource, Site
from tests.integration.farm.conftest import VIEW, Farm
from tests.integration.farm.people import SOON, book
from tests.integration.farm.walls import Wall

MOMENT = timedelta(seconds=2)


class Watch:
    """The monotonic clock of what is kept."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    watch = Watch()
    monkeypatch.setattr("rrm.farm.kept.time", watch)
    return watch


def test_what_is_kept_is_read_once_for_all_who_ask_within_a_moment(transactional_db: None, watch: Watch) -> None:
    reads: list[str] = []
    kept = Kept(reads.append)

    for _ in range(5):
        watch.seconds += 0.03
        kept.get("here")
    assert reads == ["here"]
    kept.get("here", watch.seconds)
    kept.get("there")
    assert reads == ["here", "here", "there"]
    watch.seconds += 0.25
    kept.get("here")
    assert reads[3:] == ["here"]


def test_inside_a_transaction_nothing_is_kept(db: None) -> None:
    reads: list[str] = []
    kept = Kept(reads.append)

    kept.get("here")
    kept.get("here")

    assert len(reads) == 2


def test_what_is_to_be_young_is_read_more_often(transactional_db: None, watch: Watch) -> None:
    reads: list[str] = []
    kept = Kept(reads.append)

    kept.get("here")
    watch.seconds += 0.15
    kept.get("here")
    assert reads == ["here"]
    kept.get("here", young=True)
    kept.get("here", young=True)
    assert reads == ["here", "here"]


def test_who_holds_what_is_as_young_in_a_market_as_the_rest_of_it(
    shared_farm: Farm, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crowd, "_crowds", Kept(crowd._read))
    monkeypatch.setattr(market, "_markets", Kept(market._read))
    monkeypatch.setattr("rrm.farm.kept._LEAST_SECONDS", 2.0)  # as where reading takes long
    job, node, other = shared_farm.submit(), shared_farm.node(), shared_farm.node()
    monkeypatch.setattr(wakeups.WORK, "rung_at", watch.seconds)
    market.of(node)
    watch.seconds += 1.5
    HeldModel.objects.create(node=other, model=job.model)  # by a claim that another process made
    monkeypatch.setattr(wakeups.WORK, "rung_at", watch.seconds)
    market.of(node)

    holders = market.of(node, young=True).crowd.holders

    assert holders.by_model == {("mandelbrot", str(job.model_id)): {"here": (1, 0.0)}}


def test_that_there_is_nothing_is_believed_for_a_moment_at_most(shared_farm: Farm) -> None:
    job, node = shared_farm.submit(), shared_farm.node()
    jobs.pause(job, "ada")
    assert shared_farm.ask(node)["lease"] is None
    Job.objects.update(state=JobState.QUEUED)  # as another process does it, whose bell has not been heard

    ends_at = time.monotonic() + 20
    while shared_farm.ask(node)["lease"] is None:
        assert time.monotonic() < ends_at
        time.sleep(0.02)


def test_a_range_that_another_process_took_meanwhile_is_not_given_twice(shared_farm: Farm) -> None:
    job, first, second = shared_farm.submit(), shared_farm.node(cores=1), shared_farm.node(cores=1)
    one = shared_farm.lease(first)
    JobShare.objects.update(cursor=15)  # and somebody has taken more, which this process does not know

    two = shared_farm.lease(second)

    assert (one["start"], two["start"]) == (0, 15)
    Lease.objects.create(  # what that was
        job=job,
        share=job.shares.get(),
        node=first,
        start=one["stop"],
        stop=15,
        decision="warm",
        deadline=SOON + timezone.now(),
    )


def test_a_job_that_was_cancelled_meanwhile_gives_nothing(shared_farm: Farm) -> None:
    job, node = shared_farm.submit(), shared_farm.node()
    first = shared_farm.lease(node)
    offered = market.of(node)
    jobs.cancel(Job.objects.get(pk=job.pk), "ada")
    node.refresh_from_db()
    choice = offered.choose(offered.asking(node, [str(job.model_id)]), timezone.now())
    assert choice is not None
    waiting = offered.jobs[choice.job_id]

    with pytest.raises(StateConflict):
        claims.take(offered, claims.Claim(node, waiting, waiting.shares[0], choice, None), timezone.now())

    assert list(Lease.objects.values_list("pk", flat=True).filter(state="ACTIVE")) == []
    assert JobShare.objects.filter(start=0).order_by("pk")[0].cursor == first["stop"]


def test_a_node_that_may_not_load_after_all_takes_what_it_holds(shared_farm: Farm) -> None:
    site = Site.objects.get()
    site.max_parallel_loads = 1
    site.save()
    held = shared_farm.submit(width=1024, height=1024)
    first, second = shared_farm.node(cores=1), shared_farm.node(cores=1)
    shared_farm.deliver(first, shared_farm.lease(first))
    urgent = shared_farm.submit(params={**VIEW, "max_iter": 99}, priority="urgent")
    market.of(first, young=True)
    # Another process has a node load that the market of this one knows nothing of.
    HeldModel.objects.create(node=second, model=urgent.model, loading=True, loaded_at=timezone.now())

    assert shared_farm.lease(first)["job"] == str(held.pk)


def test_a_claim_of_a_node_at_work_takes_few_statements(lasting: Farm) -> None:
    lasting.submit(width=1024, height=1024)
    node = lasting.node(cores=1)
    lasting.deliver(node, lasting.lease(node))
    in_hand = lasting.lease(node)
    node.refresh_from_db()

    with CaptureQueriesContext(connection) as queries:
        assert lasting.ask(node, in_hand["id"])["lease"] is not None

    assert len(queries) <= 8, [query["sql"][:80] for query in queries]


def test_an_owner_at_the_limit_of_nodes_gets_no_other_and_the_node_works_for_somebody_else(farm: Farm) -> None:
    Quota.objects.update_or_create(owner=farm.owner, defaults={"max_nodes": 1})
    mine = farm.submit(width=256, height=256)
    first, second = farm.node(cores=1), farm.node(cores=1)

    lease = farm.lease(first)
    assert farm.ask(second)["lease"] is None
    other = jobs.submit(
        User.objects.create_user("bob"),
        {"params": {"center": [0, 0], "radius": 1, "max_iter": 9}, "width": 64, "height": 64},
    )[0]

    assert farm.lease(second)["job"] == str(other.pk)
    assert farm.lease(first, lease["id"])["job"] in {str(mine.pk), str(other.pk)}


def test_the_many_jobs_of_one_owner_hide_nobody_elses(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rrm.farm.market._CANDIDATES", 4)
    for _ in range(6):
        farm.submit()
    other = jobs.submit(User.objects.create_user("bob"), {"params": VIEW, "width": 64, "height": 64})[0]

    offered = market.of(farm.node())

    first, *_ = Job.objects.filter(owner=farm.owner).order_by("created_at")
    assert {str(first.pk), str(other.pk)} <= offered.jobs.keys()
    assert len(offered.jobs) == 4


def ordered_by(name: str, most_nodes: int | None = None, **order: object) -> Job:
    """A job of somebody who may have so many nodes."""
    owner = User.objects.create_user(name)
    Quota.objects.create(owner=owner, max_nodes=most_nodes)
    return jobs.submit(owner, {"params": VIEW, "width": 64, "height": 64, **order})[0]


def test_what_owners_at_their_limit_of_nodes_have_waiting_hides_nobody_elses(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rrm.farm.market._CANDIDATES", 4)
    first, second = farm.node(cores=1), farm.node(cores=1)
    mine = farm.submit(priority="high")
    Quota.objects.update(max_nodes=1)
    in_hand = farm.lease(first)
    for _ in range(5):
        farm.submit(priority="high")
    for number in range(5):
        ordered_by(f"user{number}", 0, priority="urgent")
    other = ordered_by("bob")

    assert farm.lease(second)["job"] == str(other.pk)
    assert farm.lease(first, in_hand["id"])["job"] == str(mine.pk)


def test_many_owners_at_their_limit_of_nodes_cost_as_many_queries_as_one(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rrm.farm.market._CANDIDATES", 4)
    node = farm.node()
    for _ in range(5):
        farm.submit()
    counts = []
    for number in range(6):
        ordered_by(f"user{number}", 0, priority="urgent")
        with CaptureQueriesContext(connection) as queries:
            market.of(node)
        counts.append(len(queries))
    assert len(set(counts)) == 1


def test_what_is_in_quarantine_and_nobody_holds_hides_nothing(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rrm.farm.market._CANDIDATES", 4)
    resting = [farm.submit() for _ in range(6)]
    RenderModel.objects.update(quarantined_until=timezone.now() + timedelta(minutes=15))
    other = farm.submit(params=VIEW | {"max_iter": 65})
    node = farm.node()
    assert market.of(node).jobs.keys() == {str(other.pk)}

    HeldModel.objects.create(node=node, model=resting[0].model)
    wakeups.WORK.ring()

    assert str(resting[0].pk) in market.of(node).jobs


def test_no_more_waiting_nodes_are_called_than_may_work_for_an_owner(farm: Farm) -> None:
    Quota.objects.update_or_create(owner=farm.owner, defaults={"max_nodes": 2})
    farm.submit()
    waiting = {farm.node().pk: None for _ in range(4)}

    assert len(beckoning.called(waiting, timezone.now())) == 2


def test_as_many_waiting_nodes_are_called_as_there_are_tiles(farm: Farm) -> None:
    waiting = {farm.node().pk: None for _ in range(6)}
    assert beckoning.called(waiting, timezone.now()) == set()

    farm.submit(width=32, height=16)
    assert len(beckoning.called(waiting, timezone.now())) == 2
    farm.submit(width=16, height=16)
    assert len(beckoning.called(waiting, timezone.now())) == 3


def test_those_who_hold_the_model_are_called_though_others_asked_first(farm: Farm) -> None:
    cold, warm = farm.node(), farm.node()
    job = farm.submit(width=16, height=16)
    HeldModel.objects.create(node=warm, model=job.model)
    Estimate.objects.create(model=job.model, hardware=warm.hardware, load_seconds=600.0)

    assert beckoning.called({cold.pk: None, warm.pk: None}, timezone.now()) == {warm.pk}


def test_what_a_job_costs_a_node_is_what_its_own_class_of_machines_measured(farm: Farm) -> None:
    slow, fast = farm.node(cores=1), farm.node(cores=8)
    Node.objects.update(ends_at=timezone.now() + timedelta(minutes=5))
    job = farm.submit()
    for node, seconds in ((slow, 600.0), (fast, 2.0)):
        node.refresh_from_db()
        Estimate.objects.create(model=job.model, hardware=node.hardware, load_seconds=seconds)

    waiting = {slow.pk: None, fast.pk: None}
    assert beckoning.called(waiting, timezone.now()) == {fast.pk}
    assert farm.ask(slow)["lease"] is None
    assert farm.ask(fast)["lease"] is not None


def test_two_classes_of_machines_share_what_there_is(farm: Farm) -> None:
    farm.submit(width=48, height=16)
    nodes = [farm.node(cores=cores) for cores in (1, 2, 4, 8)]

    assert len(beckoning.called({node.pk: None for node in nodes}, timezone.now())) == 3
    given = [farm.ask(node)["lease"] for node in nodes]
    assert [lease and (lease["start"], lease["stop"]) for lease in given] == [(0, 1), (1, 2), (2, 3), None]


def test_a_waiting_node_is_called_when_it_is_to_leave_or_serve_a_person(farm: Farm) -> None:
    leaving, staying = farm.node(), farm.node()
    nodes.drain(leaving, "ada")
    assert beckoning.called({leaving.pk: None, staying.pk: None}, timezone.now()) == {leaving.pk}

    booked = farm.node(answers=True)
    session = book(farm)
    assert beckoning.called({booked.pk: None}, timezone.now()) == {booked.pk}
    assert beckoning.called({booked.pk: str(session.pk)}, timezone.now()) == set()


def test_a_free_node_of_a_site_that_is_preferred_comes_first_for_a_moment(wall: Wall, farm: Farm) -> None:
    there = farm.add_site("there")
    farm.place(there, 1)
    preferred, other = farm.node(), farm.node(there)
    wall.set(MOMENT)
    farm.submit()
    assert farm.ask(other)["lease"] is None
    assert beckoning.called({other.pk: None}, wall()) == set()

    wall.set(MOMENT)
    assert farm.ask(other)["lease"] is not None
    assert farm.ask(preferred)["lease"] is not None


def test_requests_for_nodes_of_sites_that_two_resources_rank_differently_do_not_wait_for_each_other(farm: Farm) -> None:
    other = farm.add_site("there")
    farm.place(other, 1)
    second = Resource.objects.create(id="second", max_nodes=5)
    for position, site in enumerate((other, farm.site)):
        second.placements.create(site=site, position=position)

    with CaptureQueriesContext(connection) as queries:
        assert nodes.request_node(farm.resource, None, "ada").site == farm.site
        assert nodes.request_node(second, None, "ada").site == other

    orders = {query["sql"].partition("ORDER BY")[2] for query in queries if '"farm_site"."color"' in query["sql"]}
    assert len({order.split(" FOR ")[0] for order in orders if order}) == 1
    assert Node.objects.count() == 2
