"""Models that nodes cannot load, and sites where only so many may load at once."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from rrm.domain.states import JobState, LeaseState, NodeState
from rrm.farm import deliveries, nodes, quarantine, reports, scaling, waiting
from rrm.farm.loading import begin as begin_load
from rrm.farm.models import HeldModel, Job, JobShare, Lease, Node, RenderModel, Resource, Site
from tests import factories as make
from tests.integration.farm.conftest import VIEW, Farm
from tests.integration.farm.threads import in_threads


def fail_load(farm: Farm, node: Node) -> None:
    lease = farm.lease(node)
    deliveries.fail_load(node, UUID(lease["id"]), "MemoryError: no room")


def model() -> RenderModel:
    return RenderModel.objects.get()


def three_failures(farm: Farm) -> list[str]:
    """The names of the nodes, in the order of the alphabet."""
    failing = [farm.node() for _ in range(3)]
    for node in failing:
        fail_load(farm, node)
    return sorted(node.name for node in failing)


def test_a_failed_load_blames_no_tile_and_no_node(farm: Farm) -> None:
    farm.submit()
    node = farm.node(cores=4)
    lease = farm.lease(node)
    assert lease["stop"] - lease["start"] > 1

    deliveries.fail_load(node, UUID(lease["id"]), "MemoryError")

    assert Lease.objects.get().fault == ""
    assert not HeldModel.objects.exists()
    again = JobShare.objects.get(start=lease["start"], stop=lease["stop"])
    assert (again.cursor, again.at_most, again.failures, again.failed_on) == (lease["start"], None, 0, [])


def test_a_node_that_could_not_load_a_model_leaves_it_to_others(farm: Farm) -> None:
    farm.submit()
    node, other = farm.node(), farm.node()
    fail_load(farm, node)

    assert farm.ask(node)["lease"] is None
    assert farm.ask(other)["lease"] is not None


def test_after_three_nodes_the_model_rests_and_its_jobs_say_why(farm: Farm) -> None:
    job = farm.submit()
    names = three_failures(farm)

    assert farm.ask(farm.node())["lease"] is None
    until = model().quarantined_until
    assert until is not None
    assert timedelta(minutes=14) < until - timezone.now() <= timedelta(minutes=15)
    job.refresh_from_db()
    assert waiting.pending_reason(job) == (
        f"Nodes could not load its model ({', '.join(names)}); it is tried again in 15 min."
    )
    said = [event.data["message"] for event in job.events.filter(kind="log")]
    assert any("MemoryError: no room" in message and "no node is asked" in message for message in said)
    wanted = scaling.plan(Resource.objects.get(), timezone.now()).want
    assert wanted == 0
    RenderModel.objects.update(quarantined_until=timezone.now())
    assert farm.ask(farm.node())["lease"] is not None


def test_the_nodes_that_failed_are_named_as_long_as_the_quarantine_lasts_and_count_no_more_afterwards(
    farm: Farm,
) -> None:
    farm.submit()
    names = three_failures(farm)
    row, now = model(), timezone.now()
    failures = [[name, (now - timedelta(minutes=14, seconds=9)).timestamp()] for name, _ in row.load_failures]

    row.load_failures, row.quarantined_until = failures, now + timedelta(minutes=14)
    assert quarantine.could_not_load(row, now + timedelta(minutes=13)) == names
    assert quarantine.could_not_load(row, now + timedelta(minutes=14)) == []
    row.quarantined_until = now - timedelta(seconds=1)
    row.save()
    assert quarantine.could_not_load(row, now) == []
    fail_load(farm, farm.node())
    assert not quarantine.is_in_force(model(), timezone.now())


def test_nodes_that_hold_the_model_go_on_and_the_others_are_spared(farm: Farm) -> None:
    farm.submit(width=256, height=256)
    holder = farm.node(cores=1)
    farm.deliver(holder, farm.lease(holder))
    Job.objects.update(created_at=timezone.now() - timedelta(hours=1))
    RenderModel.objects.update(load_seconds=0.01)
    three_failures(farm)
    until = model().quarantined_until

    farm.deliver(holder, farm.lease(holder))

    assert (model().quarantined_until, len(model().load_failures)) == (until, 3)
    assert farm.ask(farm.node())["lease"] is None
    farm.work_off(holder)
    assert Job.objects.get().state == JobState.COMPOSING


def test_a_job_in_quarantine_is_told_of_nodes_that_hold_its_model_and_take_work(farm: Farm) -> None:
    farm.submit()
    holder, _ = farm.node(), farm.node()
    farm.deliver(holder, farm.lease(holder))
    failed = [["a-node", timezone.now().timestamp()]]
    RenderModel.objects.update(load_failures=failed, quarantined_until=timezone.now() + timedelta(minutes=15))
    job = Job.objects.get()
    assert waiting.pending_reason(job) == "A node of mandelbrot that holds its model is free and takes it up next."

    farm.submit(params=VIEW | {"max_iter": 65}, priority="urgent")
    farm.lease(holder)
    assert waiting.pending_reason(job) == "Nodes could not load its model (a-node); it waits for one that holds it."

    Node.objects.filter(pk=holder.pk).update(reserved_for=uuid4())
    assert waiting.pending_reason(job) == "Nodes could not load its model (a-node); it is tried again in 15 min."


def test_other_models_are_rendered_meanwhile(farm: Farm) -> None:
    farm.submit()
    three_failures(farm)
    other = farm.submit(params=VIEW | {"max_iter": 65})

    farm.work_off(farm.node())

    other.refresh_from_db()
    assert other.state == JobState.COMPOSING


def test_a_lone_node_may_try_three_times(farm: Farm) -> None:
    farm.submit()
    node = farm.node()
    for _ in range(2):
        fail_load(farm, node)
        assert model().quarantined_until is None

    fail_load(farm, node)

    assert model().quarantined_until is not None


def test_a_success_in_between_makes_the_failures_forgotten(farm: Farm) -> None:
    farm.submit()
    for _ in range(2):
        fail_load(farm, farm.node())
    sound = farm.node()

    farm.deliver(sound, farm.lease(sound))

    assert (model().load_failures, model().quarantined_until) == ([], None)


def test_failures_of_long_ago_do_not_count(farm: Farm) -> None:
    farm.submit()
    for _ in range(2):
        fail_load(farm, farm.node())
    failures = [[name, at - 1000] for name, at in model().load_failures]
    RenderModel.objects.update(load_failures=failures)

    fail_load(farm, farm.node())

    assert model().quarantined_until is None
    assert len(model().load_failures) == 1


def test_after_the_second_quarantine_in_a_row_the_jobs_fail(farm: Farm) -> None:
    job = farm.submit()
    three_failures(farm)
    RenderModel.objects.update(quarantined_until=timezone.now())
    assert job.state != JobState.FAILED

    three_failures(farm)

    job.refresh_from_db()
    assert job.state == JobState.FAILED
    assert "could not be loaded" in job.reason
    assert "MemoryError: no room" in job.reason
    assert not Lease.objects.filter(state=LeaseState.ACTIVE).exists()
    assert quarantine.is_in_force(model(), timezone.now())


def test_after_the_second_quarantine_in_a_row_a_node_that_holds_the_model_still_goes_on(farm: Farm) -> None:
    job = farm.submit(width=256, height=256)
    holder = farm.node(cores=1)
    farm.deliver(holder, farm.lease(holder))
    reports.heartbeat(holder, {"models": [model().digest]})
    Job.objects.update(created_at=timezone.now() - timedelta(hours=1))
    RenderModel.objects.update(load_seconds=0.01)
    for _ in range(2):
        RenderModel.objects.filter(quarantined_until__isnull=False).update(quarantined_until=timezone.now())
        three_failures(farm)

    farm.work_off(holder)

    job.refresh_from_db()
    assert job.state == JobState.COMPOSING


def test_an_operator_lifts_a_quarantine(farm: Farm) -> None:
    job = farm.submit()
    three_failures(farm)

    quarantine.lift(model(), "olga")
    quarantine.lift(model(), "olga")

    assert farm.ask(farm.node())["lease"] is not None
    assert job.events.filter(actor="olga").count() == 1


def test_lifting_a_quarantine_locks_jobs_before_the_model_as_deliveries_do(farm: Farm) -> None:
    farm.submit()
    three_failures(farm)

    with CaptureQueriesContext(connection) as queries:
        quarantine.lift(model(), "olga")

    said = [query["sql"] for query in queries]
    jobs = next(at for at, sql in enumerate(said) if 'FROM "farm_job"' in sql)
    assert jobs < next(at for at, sql in enumerate(said) if sql.startswith('UPDATE "farm_rendermodel"'))


def test_a_failed_load_of_a_lease_that_was_taken_back_counts_for_nothing(farm: Farm) -> None:
    farm.submit()
    node = farm.node()
    lease = farm.lease(node)
    reports.goodbye(node, "done")

    deliveries.fail_load(node, UUID(lease["id"]), "x")

    assert model().load_failures == []


# --- limited parallel loads


@pytest.fixture
def narrow(farm: Farm) -> Farm:
    """A site where one node may load at a time, and a job that has waited for long enough to be worth more loads."""
    Site.objects.update(max_parallel_loads=1)
    farm.submit(width=128, height=128)
    Job.objects.update(created_at=timezone.now() - timedelta(hours=1))
    RenderModel.objects.update(load_seconds=30.0)
    return farm


def loading() -> int:
    return HeldModel.objects.filter(loading=True).count()


def test_a_second_node_waits_until_the_first_has_loaded(narrow: Farm) -> None:
    first, second = narrow.node(), narrow.node()
    lease = narrow.lease(first)
    assert loading() == 1

    assert narrow.ask(second)["lease"] is None
    reports.heartbeat(first, {"leases": [lease["id"]], "models": [lease["model"]["digest"]]})
    assert loading() == 0

    assert narrow.ask(second)["lease"] is not None


def test_a_result_shows_that_the_model_was_loaded(narrow: Farm) -> None:
    first, second = narrow.node(), narrow.node()
    narrow.deliver(first, narrow.lease(first))

    assert loading() == 0
    assert narrow.ask(second)["lease"] is not None


@pytest.mark.parametrize("end", ["lost", "failed"])
def test_a_node_that_is_lost_or_fails_makes_room(narrow: Farm, end: str) -> None:
    first, second = narrow.node(), narrow.node()
    lease = narrow.lease(first)

    if end == "lost":
        nodes.gone(first, NodeState.FAILED, "lost")
    else:
        deliveries.fail_load(first, UUID(lease["id"]), "MemoryError")

    assert narrow.ask(second)["lease"] is not None


def test_a_node_that_holds_the_model_needs_no_room(narrow: Farm) -> None:
    first, second = narrow.node(), narrow.node()
    narrow.deliver(first, narrow.lease(first))
    narrow.lease(second)

    assert narrow.ask(first)["lease"] is not None


def test_models_that_load_at_once_do_not_count(narrow: Farm) -> None:
    RenderModel.objects.update(load_seconds=0.2)
    first, second = narrow.node(), narrow.node()

    assert narrow.ask(first)["lease"] is not None
    assert narrow.ask(second)["lease"] is not None
    assert loading() == 0


def test_a_site_where_enough_load_still_gives_work_that_needs_no_load(narrow: Farm) -> None:
    narrow.lease(narrow.node())
    quick = narrow.submit(params=VIEW | {"max_iter": 99})
    idle = narrow.node()
    assert narrow.ask(idle)["lease"] is None

    RenderModel.objects.filter(pk=quick.model_id).update(load_seconds=0.2)

    assert narrow.lease(idle)["job"] == str(quick.pk)


def test_another_site_has_room_of_its_own(narrow: Farm) -> None:
    there = narrow.add_site("there")
    narrow.place(there, 1)
    narrow.lease(narrow.node())

    assert narrow.ask(narrow.node(there))["lease"] is not None


def test_the_count_is_exact_when_all_ask_at_once(shared_farm: Farm) -> None:
    Site.objects.update(max_parallel_loads=2)
    shared_farm.submit(width=256, height=256)
    Job.objects.update(created_at=timezone.now() - timedelta(hours=1))
    RenderModel.objects.update(load_seconds=30.0)
    workers = [shared_farm.node() for _ in range(8)]
    start = threading.Barrier(len(workers))
    got: list[Any] = []

    def ask(worker: Node) -> None:
        start.wait()
        try:
            got.append(shared_farm.ask(worker)["lease"])
        finally:
            connection.close()

    threads = [threading.Thread(target=ask, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(lease is not None for lease in got) == loading() == 2
    assert Job.objects.get().state == JobState.RUNNING


def test_two_nodes_that_are_to_load_at_the_same_moment_do_not_both_find_the_last_place(shared_farm: Farm) -> None:
    Site.objects.update(max_parallel_loads=1)
    first, second, model = shared_farm.node(), shared_farm.node(), make.render_model()
    has_counted, other_is_done = threading.Event(), threading.Event()

    def hold_up(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith('INSERT INTO "farm_heldmodel"'):
            has_counted.set()
            other_is_done.wait(0.3)
        return execute(sql, *rest)

    def begin(node: Node) -> None:
        with transaction.atomic():
            begin_load(Node.objects.get(pk=node.pk), model.pk, 30.0, timezone.now())

    def begin_slowly() -> None:
        with connection.execute_wrapper(hold_up):
            begin(first)

    def begin_meanwhile() -> None:
        has_counted.wait(5)
        try:
            begin(second)
        finally:
            other_is_done.set()

    outcomes = in_threads(begin_slowly, begin_meanwhile)

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType", "StateConflict"]
    assert loading() == 1
