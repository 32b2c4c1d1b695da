"""Models that nodes load before anybody needs them."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from rrm.domain.states import JobState, NodeState
from rrm.farm import deliveries, leases, nodes, preloading, promises, reports, scaling
from rrm.farm.models import HeldModel, Node, Preload, RenderModel, Resource, Site
from tests import factories as make
from tests.integration.farm.conftest import Farm
from tests.integration.farm.threads import in_threads

HOUR = timedelta(hours=1)


def ordered(farm: Farm, model: RenderModel, count: int = 1) -> Preload:
    now = timezone.now()
    return preloading.order(farm.owner, model, farm.resource, count, now + HOUR, now)


def ask(node: Node, *models: str, **report: Any) -> dict[str, Any]:
    return leases.next_lease(node, {"leases": [], "models": list(models), **report}, timezone.now())


def test_an_idle_node_is_told_to_load_what_was_ordered_once(farm: Farm) -> None:
    model, node = make.render_model(), farm.node()
    ordered(farm, model)

    told = ask(node)["preload"]

    assert told == {"digest": model.digest, "renderer": "mandelbrot", "params": model.params}
    assert HeldModel.objects.get(node=node, model=model).loading
    assert ask(node)["preload"] is None
    reports.heartbeat(node, {"models": [model.digest]})
    assert not HeldModel.objects.get(node=node, model=model).loading


def test_no_more_nodes_are_told_than_were_ordered(farm: Farm) -> None:
    ordered(farm, make.render_model(), 2)
    assert sum(ask(farm.node())["preload"] is not None for _ in range(4)) == 2


def test_orders_that_are_filled_cost_a_node_that_asks_nothing(farm: Farm) -> None:
    holder, node = farm.node(), farm.node()

    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            assert ask(node)["preload"] is None
        return len(asked)

    def fill(number: int) -> None:
        order = ordered(farm, make.render_model(max_iter=64 + number))
        HeldModel.objects.create(node=holder, model=order.model)

    fill(0)
    few = queries()
    for number in range(1, 9):
        fill(number)
    assert queries() <= few


def test_a_site_loads_no_more_at_a_time_than_it_may(farm: Farm) -> None:
    Site.objects.update(max_parallel_loads=1)
    model, first, second = make.render_model(), farm.node(), farm.node()
    ordered(farm, model, 2)
    assert ask(first)["preload"]
    assert ask(second)["preload"] is None
    reports.heartbeat(first, {"models": [model.digest]})
    assert ask(second)["preload"]


def test_work_comes_before_a_preload(farm: Farm) -> None:
    node = farm.node()
    ordered(farm, make.render_model(max_iter=65))
    farm.submit()
    answer = ask(node)
    assert (answer["lease"] is not None, answer["preload"]) == (True, None)


def test_what_a_node_could_not_load_it_is_not_told_again_and_another_is(farm: Farm) -> None:
    model, first, second = make.render_model(), farm.node(), farm.node()
    ordered(farm, model)
    assert ask(first)["preload"]

    deliveries.fail_preload(first, [model.digest], timezone.now())

    assert ask(first)["preload"] is None
    assert ask(second)["preload"]


def test_failed_preloads_count_for_the_quarantine_and_fail_no_job(farm: Farm) -> None:
    job = farm.submit()

    def three_fail(now: datetime) -> list[str]:
        failing = [make.node(farm.resource, farm.site, state=NodeState.IDLE) for _ in range(3)]
        for node in failing:
            HeldModel.objects.create(node=node, model=job.model, loading=True)
            deliveries.fail_preload(node, [job.model.digest], now)
            deliveries.fail_preload(node, [job.model.digest], now)  # the answer to the first was lost
        job.model.refresh_from_db()
        assert job.model.quarantined_until == now + settings.RRM.quarantine_period
        return [node.name for node in failing]

    now = timezone.now()
    names = three_fail(now)

    assert [name for name, _ in job.model.load_failures] == names
    assert not HeldModel.objects.exists()
    three_fail(now + 1.1 * settings.RRM.quarantine_period)
    job.refresh_from_db()
    assert job.state == JobState.QUEUED
    said = [event.data["message"] for event in job.events.filter(kind="log")]
    assert [message.startswith("The model could not be loaded on") for message in said] == [True, True]


def test_failures_at_the_same_moment_all_count(shared_farm: Farm) -> None:
    job = shared_farm.submit()
    loading, rendering = shared_farm.node(), shared_farm.node()
    lease = shared_farm.lease(rendering)
    HeldModel.objects.create(node=loading, model=job.model, loading=True)
    about_to_write, written = threading.Event(), threading.Event()

    def hold_up(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith('UPDATE "farm_rendermodel"'):
            about_to_write.set()
            written.wait(0.5)
        return execute(sql, *rest)

    def preload() -> None:
        with connection.execute_wrapper(hold_up):
            deliveries.fail_preload(Node.objects.get(pk=loading.pk), [job.model.digest], timezone.now())

    def render() -> None:
        about_to_write.wait(5)
        deliveries.fail_load(rendering, UUID(lease["id"]), "MemoryError")
        written.set()

    assert in_threads(preload, render) == [None, None]
    job.model.refresh_from_db()
    assert sorted(name for name, _ in job.model.load_failures) == sorted([loading.name, rendering.name])


def test_an_order_is_over_when_its_time_is_and_when_it_is_withdrawn(farm: Farm) -> None:
    node, model = farm.node(), make.render_model()
    ordered(farm, model)
    later = timezone.now() + 2 * HOUR
    assert preloading.next_for(node, {}, later) is None
    preloading.withdraw(farm.owner, model, farm.resource.pk, timezone.now(), is_operator=False)
    assert ask(node)["preload"] is None


def test_an_order_starts_nodes_and_keeps_them_from_going(farm: Farm) -> None:
    Resource.objects.update(max_nodes=2, idle_timeout=1)
    farm.resource.refresh_from_db()
    order = ordered(farm, make.render_model(), 2)
    now = timezone.now()
    scaling.autoscale(now)
    assert Node.objects.filter(state=NodeState.REQUESTED).count() == 2
    assert promises.arranged([order])[0]["starting"] == 2
    for node in Node.objects.all():
        reports.register(nodes.launch_token(node.name), {"node": node.name})
    scaling.autoscale(now + timedelta(minutes=30))
    assert Node.objects.filter(state=NodeState.IDLE).count() == 2
    Preload.objects.update(until=now)
    for seconds in (0, 15, 30):
        scaling.autoscale(now + timedelta(minutes=40, seconds=seconds))
    assert not Node.objects.filter(state=NodeState.IDLE).exists()


def test_somebody_elses_order_is_only_extended(farm: Farm) -> None:
    model, now, other = make.render_model(), timezone.now(), make.person()
    ordered(farm, model, 3)
    kept = preloading.order(other, model, farm.resource, 1, now + 2 * HOUR, now)
    assert (kept.nodes, kept.until, kept.owner) == (3, now + 2 * HOUR, farm.owner)


def test_a_spare_node_loads_what_would_save_most(farm: Farm) -> None:
    Resource.objects.update(standby=1)
    preloading._popular.clear()
    rare, often, quick = (make.render_model(max_iter=number) for number in (70, 71, 72))
    RenderModel.objects.filter(pk__in=[rare.pk, often.pk]).update(load_seconds=5.0, size_bytes=1000)
    RenderModel.objects.filter(pk=quick.pk).update(load_seconds=0.01)
    farm.resource.refresh_from_db()
    for model, uses in ((rare, 1), (often, 3), (quick, 9)):
        for _ in range(uses):
            make.job(farm.owner, farm.resource, model=model, state="CANCELLED", finished_at=timezone.now())
    node = farm.node()

    assert ask(node, memory=500)["preload"] is None
    told = ask(node, memory=1500)["preload"]
    assert told is not None
    assert told["digest"] == often.digest
    assert ask(node, often.digest, memory=1500)["preload"] is None
    told = ask(node, often.digest, memory=5000)["preload"]
    assert told is not None
    assert told["digest"] == rare.digest
    assert ask(node, often.digest, rare.digest)["preload"] is None


def test_a_node_hears_which_models_it_has_to_keep(farm: Farm) -> None:
    model, node = make.render_model(), farm.node()
    RenderModel.objects.update(pinned=True)
    assert reports.heartbeat(node, {"models": [model.digest]})["pinned"] == [model.digest]
    assert reports.heartbeat(node, {"models": []})["pinned"] == []


def test_a_heartbeat_asks_once_what_the_node_holds(farm: Farm) -> None:
    node = farm.node()
    HeldModel.objects.create(node=node, model=make.render_model())
    RenderModel.objects.update(pinned=True)
    report = {"models": [RenderModel.objects.get().digest], "leases": []}
    Node.objects.filter(pk=node.pk).update(launch_digest="", cores=node.cores)
    node.refresh_from_db()

    with CaptureQueriesContext(connection) as queries:
        assert reports.heartbeat(node, report)["pinned"] == report["models"]

    assert len(queries) <= 2, [query["sql"][:80] for query in queries]


@pytest.mark.django_db(transaction=True)
def test_nodes_that_ask_together_fill_an_order_exactly(shared_farm: Farm) -> None:
    ordered(shared_farm, make.render_model(), 2)
    asking = [shared_farm.node() for _ in range(6)]
    start, told = threading.Barrier(len(asking)), list[Any]()

    def turn(node: Node) -> None:
        start.wait()
        told.append(preloading.next_for(node, {}, timezone.now()))
        connection.close()

    threads = [threading.Thread(target=turn, args=(node,)) for node in asking]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one is not None for one in told) == 2
    assert HeldModel.objects.count() == 2
