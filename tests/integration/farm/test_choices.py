"""What a decision goes by: the facts of scheduling as the service finds them in its rows."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.utils import timezone

from rrm.farm import deliveries, market, waiting
from rrm.farm.market import Market
from rrm.farm.models import Estimate, HeldModel, Job, Node
from tests.integration.farm.conftest import VIEW, Farm
from tests.integration.farm.people import SOON, book
from tests.integration.farm.walls import Wall

MOMENT = timedelta(seconds=2)


def decision(node: Node, *held: Job, market_now: Market | None = None, in_hand: int = 0) -> tuple[str, str] | None:
    """Which job a node that holds the models of these jobs would be given now, and why; None for none."""
    offered, now = market_now or market.of(node), timezone.now()
    choice = offered.choose(offered.asking(node, [str(job.model_id) for job in held], in_hand), now)
    return (choice.job_id, choice.reason) if choice else None


def slow(job: Job, node: Node, load: float = 60.0, tile: float = 0.001) -> Job:
    """The job of a model that takes so many seconds to load, and so many for each tile."""
    costs = {"load_seconds": load, "pixel_seconds": tile / 16**2}
    Estimate.objects.create(model=job.model, hardware=node.hardware, **costs)
    return job


def test_a_job_whose_model_is_served_is_left_to_the_node_that_serves_it_however_old_it_is(
    wall: Wall, farm: Farm
) -> None:
    holder, other = farm.node(cores=1), farm.node(cores=1)
    job = slow(farm.submit(width=32, height=16), holder)
    farm.lease(holder)
    wall.set(timedelta(hours=1))
    Node.objects.update(last_heartbeat=wall.at)

    HeldModel.objects.update(last_used=wall.at - timedelta(minutes=1, seconds=59))
    assert decision(other) is None
    HeldModel.objects.update(last_used=wall.at - timedelta(minutes=2))
    assert decision(other) == (str(job.pk), "aged")


def test_a_node_that_has_just_become_free_leaves_a_job_to_those_who_hold_its_model_and_soon_takes_it(
    wall: Wall, farm: Farm
) -> None:
    holder, other = farm.node(), farm.node()
    job = slow(farm.submit(), holder)
    HeldModel.objects.create(node=holder, model=job.model)
    wall.set(timedelta(hours=1))
    Node.objects.update(last_heartbeat=wall.at)
    HeldModel.objects.update(last_used=wall.at)

    other.idle_since = wall.at
    assert decision(other) is None
    other.idle_since = wall.at - MOMENT
    assert decision(other) == (str(job.pk), "aged")


def test_a_node_that_was_not_heard_lately_keeps_no_job_from_others_though_it_holds_its_model(
    wall: Wall, farm: Farm
) -> None:
    holder, other = farm.node(), farm.node()
    job = slow(farm.submit(), holder)
    HeldModel.objects.create(node=holder, model=job.model)
    assert decision(other) is None
    assert "holds its model is free" in waiting.pending_reason(job)

    wall.set(timedelta(seconds=20))
    Node.objects.filter(pk=other.pk).update(last_heartbeat=wall.at)

    assert decision(other) == (str(job.pk), "no-holder")
    Node.objects.filter(pk=other.pk).update(state="DRAINING")
    said = "The only node of mandelbrot that may take it is not answering; it is next."
    assert waiting.pending_reason(job) == said


def test_a_node_that_is_booked_keeps_no_job_from_others_though_it_holds_its_model(wall: Wall, farm: Farm) -> None:
    holder, other = farm.node(answers=True), farm.node()
    job = slow(farm.submit(), holder)
    HeldModel.objects.create(node=holder, model=job.model)
    wall.set(MOMENT)
    assert decision(other) is None

    session = book(farm, model=job.model)

    assert session.node == holder
    assert decision(other) == (str(job.pk), "no-holder")


def test_a_node_that_is_reserved_for_a_session_keeps_no_job_from_others(wall: Wall, farm: Farm) -> None:
    there = farm.add_site("there")
    farm.place(there, 1)
    reserved, other = farm.node(), farm.node(there)
    job = slow(farm.submit(), reserved, load=0.0)
    HeldModel.objects.create(node=reserved, model=job.model)
    assert decision(other, job) is None

    Node.objects.filter(pk=reserved.pk).update(reserved_for=book(farm, SOON).pk)

    assert decision(other, job) == (str(job.pk), "warm")
    Node.objects.update(reserved_for=None)


def test_a_node_that_failed_on_a_job_keeps_it_from_no_other_though_it_holds_its_model(wall: Wall, farm: Farm) -> None:
    holder, other = farm.node(), farm.node()
    job = slow(farm.submit(), holder)
    HeldModel.objects.create(node=holder, model=job.model)
    wall.set(MOMENT)
    assert decision(other) is None

    job.shares.update(failed_on=[holder.name])

    assert decision(holder, job) is None
    assert decision(other) == (str(job.pk), "no-holder")


def test_what_loads_in_a_small_part_of_a_lease_comes_in_its_turn(farm: Farm) -> None:
    node = farm.node()
    older, held = farm.submit(), farm.submit(params=VIEW | {"max_iter": 65})
    Estimate.objects.create(model=older.model, hardware=node.hardware, load_seconds=0.01)

    assert decision(node, held) == (str(older.pk), "no-holder")
    Estimate.objects.update(load_seconds=10.0)
    assert decision(node, held) == (str(held.pk), "warm")


def test_a_streak_lasts_by_the_clock_too_before_a_long_load_ends_it(wall: Wall, farm: Farm) -> None:
    node = farm.node()
    older, held = slow(farm.submit(), node), farm.submit(params=VIEW | {"max_iter": 65})
    node.streak = 16

    node.streak_since = wall.at - timedelta(minutes=5)
    assert decision(node, held) == (str(held.pk), "warm")
    node.streak_since = wall.at - timedelta(minutes=7)
    assert decision(node, held) == (str(older.pk), "no-holder")


def test_a_node_that_failed_on_some_tiles_goes_on_with_the_others_of_the_job(farm: Farm) -> None:
    farm.submit()
    node, _ = farm.node(cores=1), farm.node()
    failed = farm.lease(node)
    deliveries.fail(node, UUID(failed["id"]), None, "out of memory")

    assert farm.lease(node)["start"] >= failed["stop"]


def test_what_would_miss_its_deadline_comes_first(wall: Wall, farm: Farm) -> None:
    node = farm.node()
    older, job = farm.submit(), slow(farm.submit(), node, load=0.0, tile=10.0)  # which takes 160 seconds
    first, second = (str(older.pk), "warm"), (str(job.pk), "warm")

    def due_in(seconds: float) -> tuple[str, str] | None:
        Job.objects.filter(pk=job.pk).update(deadline=wall.at + timedelta(seconds=60 + seconds))
        return decision(node, older, job)

    assert (due_in(170), due_in(150)) == (first, second)
    farm.node()  # which does half of it
    assert (due_in(90), due_in(70)) == (first, second)
    Job.objects.filter(pk=job.pk).update(tiles_done=8)
    assert (due_in(50), due_in(30)) == (first, second)
    there = farm.add_site("there")
    farm.place(there, 1)
    farm.node(there)
    farm.node(there)
    Job.objects.filter(pk=job.pk).update(site_ids=["here"], site_index="|here|")
    assert (due_in(50), due_in(30)) == (first, second)  # others cannot help
    Job.objects.filter(pk=job.pk).update(tiles_done=0)


def test_another_node_loads_a_model_while_there_is_more_work_of_it_than_the_load(farm: Farm) -> None:
    holder, other, third = farm.node(), farm.node(), farm.node()
    job = slow(farm.submit(), holder, load=10.0, tile=1.0)  # sixteen seconds
    HeldModel.objects.create(node=holder, model=job.model)
    offered = market.of(other)
    assert decision(other, market_now=offered) == (str(job.pk), "break-even")

    waiting, now = offered.jobs[str(job.pk)], timezone.now()
    offered.taken(holder, waiting, waiting.shares[0], range(6), now, is_new=False, was_idle=True)

    assert decision(other, market_now=offered) is None  # ten are left, one of which is at once the next
    assert decision(third, job, market_now=offered) == (str(job.pk), "warm")


def test_a_node_that_has_begun_to_load_a_model_counts_as_one_that_holds_it(farm: Farm) -> None:
    first, second = farm.node(), farm.node()
    job = slow(farm.submit(), first)
    offered = market.of(first)
    assert decision(second, market_now=offered) == (str(job.pk), "no-holder")

    waiting = offered.jobs[str(job.pk)]
    offered.taken(first, waiting, waiting.shares[0], range(1), timezone.now(), is_new=True, was_idle=True)

    assert decision(second, market_now=offered) is None


def test_a_node_is_given_what_it_can_deliver_before_it_ends_with_what_it_has(wall: Wall, farm: Farm) -> None:
    node = farm.node()
    job = farm.submit()
    node.ends_at = wall.at + timedelta(seconds=11.5)
    assert decision(node, job) is not None
    assert decision(node, job, in_hand=2) is None

    slow(job, node, tile=10.0)
    node.ends_at = wall.at + timedelta(seconds=29)
    assert decision(node, job) is None
    node.ends_at = wall.at + timedelta(seconds=31)
    assert decision(node, job) is not None
