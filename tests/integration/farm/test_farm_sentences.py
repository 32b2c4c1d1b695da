"""What the farm says of itself in one line, where there are several resources, and people who wait."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from rrm.errors import Invalid, NoCapacity
from rrm.farm import booking, patience, preloading, quotas, snapshot
from rrm.farm.booking import Wish
from rrm.farm.models import Node, Resource, ResourceSite
from tests import factories as make
from tests.integration.farm.conftest import Farm
from tests.integration.farm.people import SOON, book


@pytest.fixture
def second(farm: Farm) -> Resource:
    other = Resource.objects.create(id="second", max_nodes=5)
    ResourceSite.objects.create(resource=other, site=farm.site)
    return other


def said(farm: Farm) -> tuple[str, str]:
    body = snapshot.farm_snapshot(timezone.now())
    return body["status"], body["reason"]


def busy_node(farm: Farm) -> None:
    farm.submit(width=256, height=256, resource="mandelbrot")
    farm.lease(farm.node(cores=1))


def test_one_resource_speaks_for_the_farm(farm: Farm) -> None:
    assert said(farm) == ("idle", "There is no work.")
    busy_node(farm)
    assert said(farm) == ("active", "1 node at work.")


def test_what_lacks_nodes_is_told_beside_what_is_at_work(farm: Farm, second: Resource) -> None:
    busy_node(farm)
    booking.book(farm.owner, Wish(second, max_wait=SOON), timezone.now())

    assert said(farm) == ("active", "mandelbrot: 1 node at work. second: 1 person waits for a renderer.")


def test_work_of_a_disabled_resource_is_not_passed_over(farm: Farm, second: Resource) -> None:
    farm.submit(resource="mandelbrot")
    Resource.objects.filter(pk="mandelbrot").update(enabled=False)
    assert said(farm) == ("suspended", "mandelbrot: It is disabled. 1 job waits.")


def test_where_all_are_disabled_and_nobody_waits_one_sentence_does(farm: Farm, second: Resource) -> None:
    Resource.objects.update(enabled=False)
    assert said(farm) == ("suspended", "Every resource is disabled.")


def test_a_person_who_waits_is_work(farm: Farm) -> None:
    book(farm, SOON)
    assert said(farm) == ("starved", "1 person waits for a renderer.")


def test_a_node_that_was_not_heard_lately_is_given_to_nobody(farm: Farm) -> None:
    silent, healthy = farm.node(answers=True), farm.node(answers=True)
    Node.objects.filter(pk=silent.pk).update(last_heartbeat=timezone.now() - timedelta(seconds=20))

    assert book(farm).node == healthy
    with pytest.raises(NoCapacity):
        book(farm)


def test_nobody_orders_a_model_on_more_nodes_than_their_quota_allows(farm: Farm) -> None:
    quotas.change(farm.owner, {"max_nodes": 1})
    now, model = timezone.now(), make.render_model()
    later = now + timedelta(hours=1)

    with pytest.raises(Invalid) as refused:
        preloading.order(farm.owner, model, farm.resource, 2, later, now)

    assert refused.value.errors == {"nodes": ["The quota of ada allows 1 node."]}
    assert preloading.order(farm.owner, model, farm.resource, 1, later, now).nodes == 1


def test_the_next_try_after_a_failed_start_is_made_in_its_time(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[object] = []
    monkeypatch.setattr("rrm.farm.wakeups.wake", lambda task, *args, at=None: woken.append((task, at)))

    patience.failed(farm.resource.pk, "no", timezone.now())

    assert ("rrm.autoscale", Resource.objects.get().retry_at) in woken
