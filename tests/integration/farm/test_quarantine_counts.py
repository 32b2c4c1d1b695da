"""What counts towards a quarantine: on how many nodes a model could not be loaded, or how often where there is one."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from rrm.domain.states import JobState, NodeState
from rrm.farm import loading, quarantine
from rrm.farm.models import HeldModel, Job, Lease, Node, RenderModel, Site
from tests import factories as make
from tests.integration.farm.conftest import Farm


def fails(model: RenderModel, *nodes: Node) -> bool:
    """Whether there is a quarantine once the nodes have failed to load the model, one after the other."""
    for node in nodes:
        quarantine.count(node, model.pk, timezone.now())
    model.refresh_from_db()
    return quarantine.is_in_force(model, timezone.now())


def test_a_node_that_fails_often_is_not_enough_where_another_has_not_tried(farm: Farm) -> None:
    model, node, other = make.render_model(), farm.node(), farm.node()
    assert not fails(model, node, node, node)
    assert fails(model, other)


def test_nodes_that_take_no_ranges_or_are_of_another_resource_are_no_others_to_try(farm: Farm) -> None:
    model, node, booked, leaving = make.render_model(), *(farm.node() for _ in range(3))
    Node.objects.filter(pk=booked.pk).update(reserved_for=uuid4())
    Node.objects.filter(pk=leaving.pk).update(state=NodeState.DRAINING)
    make.node(make.resource(farm.site, name="other"), farm.site)
    assert not fails(model, node, node)
    assert fails(model, node)


def test_a_failure_in_a_quarantine_is_no_news(farm: Farm) -> None:
    model, *failing = make.render_model(), *(farm.node() for _ in range(3))
    assert fails(model, *failing)
    before = model.quarantined_until, model.load_failures

    assert fails(model, farm.node())

    assert (model.quarantined_until, model.load_failures) == before
    assert quarantine.count(farm.node(), model.pk, timezone.now()) is None


def test_a_node_that_only_loads_the_model_keeps_no_job_from_failing(farm: Farm) -> None:
    job = farm.submit()
    model, long_ago = job.model, timezone.now() - timedelta(seconds=1)
    HeldModel.objects.create(node=farm.node(), model=model, loading=True)
    RenderModel.objects.update(quarantined_until=long_ago)

    def third() -> quarantine.Failed | None:
        RenderModel.objects.update(quarantined_until=long_ago, load_failures=[])
        failing = [farm.node() for _ in range(3)]
        fails(model, *failing[:2])
        return quarantine.count(failing[2], model.pk, timezone.now())

    failed = third()
    assert failed is not None
    assert failed.is_second
    HeldModel.objects.update(loading=False)
    failed = third()
    assert failed is not None
    assert not failed.is_second


@pytest.mark.parametrize(("loaded_after", "is_forgotten"), [(timedelta(seconds=1), True), (timedelta(-1), False)])
def test_who_loaded_the_model_since_and_delivers_shows_that_it_can_be_loaded(
    farm: Farm, loaded_after: timedelta, is_forgotten: bool
) -> None:
    """As after a load in advance: the leases that follow are warm."""
    job, holder, failed_at = farm.submit(), farm.node(), timezone.now() - timedelta(days=20)
    HeldModel.objects.create(node=holder, model=job.model, loading=False, loaded_at=failed_at + loaded_after)
    farm._loaded[holder.name] = {job.model.digest}
    RenderModel.objects.update(quarantined_until=failed_at, load_failures=[["x", failed_at.timestamp()]])

    lease = farm.lease(holder)
    farm.deliver(holder, lease)

    assert Lease.objects.get(pk=lease["id"]).warm
    model = RenderModel.objects.get()
    assert (model.quarantined_until is None) is is_forgotten
    assert (model.load_failures == []) is is_forgotten


def test_a_job_that_is_being_composed_waits_for_no_model(farm: Farm) -> None:
    job = farm.submit()
    assert list(quarantine.waiting_for(job.model)) == [job]
    farm.work_off(farm.node())
    assert Job.objects.get().state == JobState.COMPOSING
    assert list(quarantine.waiting_for(job.model)) == []


def test_a_job_is_out_of_reach_in_quarantine_unless_a_node_that_takes_ranges_at_the_site_holds_the_model(
    farm: Farm,
) -> None:
    job, node = farm.submit(), farm.node()
    RenderModel.objects.update(quarantined_until=timezone.now() + timedelta(minutes=15))
    share = job.shares.filter(quarantine.out_of_reach(timezone.now(), farm.resource.pk, farm.site.pk))
    assert share.exists()
    HeldModel.objects.create(node=node, model=job.model)
    assert not share.exists()
    Node.objects.update(reserved_for=uuid4())
    assert share.exists()


def test_loads_of_long_ago_and_of_other_sites_take_no_place(farm: Farm) -> None:
    there = farm.add_site("there")
    Site.objects.update(max_parallel_loads=1)
    farm.site.refresh_from_db()
    model, now = make.render_model(), timezone.now()
    farm.place(there, 1)
    HeldModel.objects.create(node=farm.node(there), model=model, loading=True)
    assert loading.has_room(farm.site, now)

    HeldModel.objects.create(node=farm.node(), model=model, loading=True)
    assert not loading.has_room(farm.site, now)
    assert loading.full(["here", "there"], now) == {"here", "there"}
    later = now + loading.LONGEST + timedelta(seconds=1)
    assert loading.has_room(farm.site, later)
    assert loading.full(["here", "there"], later) == set()
