"""The consistency check: silent on a farm in order, and one sentence for each fault that is planted."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from rrm.domain.states import JobState, LeaseState, NodeState
from rrm.farm import composing, consistency, deliveries, jobs, nodes
from rrm.farm.models import Event, HeldModel, Job, JobShare, Lease, Node
from tests.integration.farm.conftest import VIEW, Farm


def lively() -> Farm:
    """A farm with a completed, a running, a paused, a cancelled and a queued job, and nodes in many states."""
    farm = Farm()
    completed = farm.submit(name="completed", width=32, height=16, outputs=["png", "counts", "smooth"])
    worker = farm.node()
    farm.work_off(worker)
    composing.compose_job(completed.pk)
    # Models that nobody holds: whoever asks first gets them, in ranges as small as for a node not yet measured.
    running = farm.submit(name="running", params=VIEW | {"max_iter": 65})
    first = farm.lease(worker)
    in_hand = farm.lease(worker, first["id"])["id"]
    farm.deliver(worker, first)
    deliveries.fail(worker, UUID(farm.lease(worker, in_hand)["id"]), None, "out of memory")
    for depth, (name, end) in enumerate((("paused", jobs.pause), ("cancelled", jobs.cancel)), 2):
        job = farm.submit(name=name, priority="urgent", params=VIEW | {"max_iter": 64 + depth})
        farm.lease(farm.node())
        end(job, "test")
        job.refresh_from_db()
    farm.submit(name="queued", priority="low")
    gone = farm.node()
    nodes.gone(gone, NodeState.FAILED, "test")
    farm.node()
    assert running.tiles_done == 0
    return farm


@pytest.fixture
def farm(db: None) -> Farm:
    return lively()


def job(name: str) -> Job:
    return Job.objects.get(name=name)


def lease(name: str, state: LeaseState) -> Lease:
    """A lease of the named job in that state."""
    return Lease.objects.filter(job__name=name, state=state)[0]


def node(state: NodeState) -> Node:
    return Node.objects.filter(state=state)[0]


def test_a_lively_farm_has_no_problems(farm: Farm) -> None:
    assert list(consistency.problems()) == []
    assert set(Job.objects.values_list("state", flat=True)) == {
        *(JobState.COMPLETED, JobState.RUNNING, JobState.PAUSED, JobState.CANCELLED, JobState.QUEUED),
    }
    assert set(Lease.objects.values_list("state", flat=True)) == set(LeaseState)
    assert set(Node.objects.values_list("state", flat=True)) == {NodeState.BUSY, NodeState.IDLE, NodeState.FAILED}


def lose_a_share() -> None:
    JobShare.objects.filter(job__name="queued").delete()


def skip_tiles() -> None:
    JobShare.objects.filter(job__name="queued").update(cursor=3)


def offer_a_range_twice() -> None:
    share = JobShare.objects.filter(job__name="queued").get()
    JobShare.objects.create(job=share.job, start=4, stop=6, cursor=4)


def offer_beyond_the_end() -> None:
    share = JobShare.objects.filter(job__name="queued").get()
    JobShare.objects.create(job=share.job, start=16, stop=17, cursor=16)


def lose_a_lease() -> None:
    lease("completed", LeaseState.DONE).delete()


def enlarge_a_lease() -> None:
    Lease.objects.filter(pk=lease("running", LeaseState.ACTIVE).pk).update(stop=F("stop") + 1)


def return_without_offering_again() -> None:
    Lease.objects.filter(pk=lease("running", LeaseState.ACTIVE).pk).update(state=LeaseState.RETURNED)


def cut_from_a_stranger() -> None:
    share = JobShare.objects.get(job__name="queued")
    Lease.objects.filter(pk=lease("running", LeaseState.ACTIVE).pk).update(share=share)


def count_too_much() -> None:
    Job.objects.filter(name="running").update(tiles_done=F("tiles_done") + 1)


def render_a_cancelled_job() -> None:
    Lease.objects.filter(pk=lease("cancelled", LeaseState.RETURNED).pk).update(state=LeaseState.ACTIVE)


def idle_with_a_lease() -> None:
    Node.objects.filter(state=NodeState.BUSY).update(state=NodeState.IDLE)


def lease_of_a_gone_node() -> None:
    held = lease("running", LeaseState.ACTIVE)
    Lease.objects.filter(pk=held.pk).update(node=node(NodeState.FAILED))


def busy_without_a_lease() -> None:
    Node.objects.filter(state=NodeState.IDLE).update(state=NodeState.BUSY)


def gone_with_a_model() -> None:
    HeldModel.objects.create(node=node(NodeState.FAILED), model=job("queued").model)


def gone_with_a_token() -> None:
    Node.objects.filter(state=NodeState.FAILED).update(token_digest="f" * 64)


def lose_an_event() -> None:
    Event.objects.filter(job__name="running", seq=2).delete()


def lose_the_last_event() -> None:
    Event.objects.filter(job__name="running").order_by("-seq")[0].delete()


def lose_the_first_event() -> None:
    Event.objects.filter(job__name="completed", seq=1).delete()


def lose_all_events() -> None:
    Event.objects.filter(job__name="running").delete()


def leave_an_event_without_number() -> None:
    Event.objects.create(kind="log", subject_type="job", subject_id="x", job=job("running"))


def forget_the_end() -> None:
    Job.objects.filter(name="cancelled").update(finished_at=None)


def end_too_early() -> None:
    Job.objects.filter(name="running").update(finished_at=timezone.now())


def lose_a_range_file() -> None:
    found = lease("running", LeaseState.DONE)
    jobs.files(found.job).range(found.pk).unlink()


def lose_the(result: str) -> Callable[[], None]:
    def lose() -> None:
        getattr(jobs.files(job("completed")), result).unlink()

    lose.__name__ = f"lose_the_{result}"
    return lose


# All are planted in one farm; those that lose files come last, as no transaction brings these back.
FAULTS: list[tuple[Callable[[], None], str]] = [
    (lose_a_share, "tiles 0…15 are nowhere"),
    (skip_tiles, "tiles 0…2 are nowhere"),
    (offer_a_range_twice, "tiles 4…5 are in share"),
    (offer_beyond_the_end, "reaches to tile 16, beyond its end 15"),
    (lose_a_lease, "are nowhere"),
    (enlarge_a_lease, "are in"),
    (return_without_offering_again, "are nowhere"),
    (cut_from_a_stranger, "was cut from share"),
    (count_too_much, "finished tiles, and its DONE leases hold"),
    (render_a_cancelled_job, "is ACTIVE, and its job"),
    (idle_with_a_lease, "is IDLE"),
    (lease_of_a_gone_node, "is FAILED"),
    (busy_without_a_lease, "is BUSY and holds no ACTIVE lease"),
    (gone_with_a_model, "still counts as holding 1 model"),
    (gone_with_a_token, "its token was not made void"),
    (lose_an_event, "and its counter says"),
    (lose_the_last_event, "and its counter says"),
    (lose_the_first_event, "and its counter says"),
    (lose_all_events, "and its counter says"),
    (leave_an_event_without_number, "has a job without a number"),
    (forget_the_end, "is CANCELLED and its end is not known"),
    (end_too_early, "is RUNNING and its end is"),
    (lose_a_range_file, "the file of its range is missing"),
    (lose_the("image"), "its png is missing"),
    (lose_the("counts"), "its counts is missing"),
    (lose_the("smooth"), "its smooth is missing"),
]


def test_each_planted_fault_is_found(farm: Farm, subtests: pytest.Subtests) -> None:
    for plant, sentence in FAULTS:
        with subtests.test(plant.__name__), transaction.atomic():
            plant()

            found = list(consistency.problems())

            assert any(sentence in problem for problem in found), found
            with pytest.raises(CommandError, match=f"^{len(found)} problem"):
                call_command("check_farm", stdout=io.StringIO())
            transaction.set_rollback(True)


def test_a_lease_for_another_site_than_its_share_is_found(db: None) -> None:
    farm = Farm()
    there = farm.add_site("there")
    farm.place(there, 1)
    farm.submit(sites={"policy": "split", "ids": ["here", "there"]})
    farm.lease(farm.node())
    assert list(consistency.problems()) == []

    Node.objects.update(site=there)

    assert any("its node is at another site" in problem for problem in consistency.problems())


def test_old_events_of_finished_jobs_may_be_forgotten(farm: Farm) -> None:
    old = timezone.now() - timedelta(days=400)
    Job.objects.filter(name="completed").update(created_at=old)

    Event.objects.filter(job__name="completed", seq__lt=3).delete()
    assert list(consistency.problems()) == []

    Event.objects.filter(job__name="completed").delete()
    assert list(consistency.problems()) == []


def test_the_command_says_that_all_is_well(farm: Farm) -> None:
    out = io.StringIO()

    call_command("check_farm", stdout=out)

    assert "invariants hold" in out.getvalue()


def test_the_number_of_queries_does_not_grow_with_the_farm(
    farm: Farm, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(8):
        farm.submit(name=f"more {number}")
        farm.node()

    with django_assert_max_num_queries(26):
        list(consistency.problems())


@pytest.mark.django_db(transaction=True)
def test_the_check_outside_a_transaction_leaves_none_open() -> None:
    farm = lively()

    assert list(consistency.problems()) == []

    assert not connection.in_atomic_block
    farm.submit(name="after the check")
    assert Job.objects.filter(name="after the check").exists()
