"""What work is thought to cost, and where that is taken from when nobody has measured it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from rrm.farm import estimates, reports
from rrm.farm.models import Estimate
from tests import factories as make
from tests.integration.farm.conftest import Farm


def test_an_average_follows_what_is_measured(farm: Farm) -> None:
    model, node, now = make.render_model(), farm.node(), timezone.now()
    estimates.learn_load(model.pk, node, 10, now)
    estimates.learn_load(model.pk, node, 20, now)
    row = Estimate.objects.get()
    assert (row.load_seconds, row.pixel_seconds, row.hardware) == (12, None, "here/2")


def test_small_changes_are_written_down_now_and_then(farm: Farm) -> None:
    model, node, now = make.render_model(), farm.node(), timezone.now()
    estimates.learn_speed(model.pk, node, 1e-6, now)
    estimates.learn_speed(model.pk, node, 1.05e-6, now)
    assert Estimate.objects.get().pixel_seconds == 1e-6
    estimates.learn_speed(model.pk, node, 1.05e-6, now + timedelta(seconds=6))
    assert Estimate.objects.get().pixel_seconds == pytest.approx(1.01e-6)


def test_what_is_not_known_is_taken_from_what_is_most_alike(farm: Farm) -> None:
    known, alike, new = (make.render_model(max_iter=number) for number in (10, 20, 30))
    for model, hardware, load in [(known, "here/2", 10), (known, "there/8", 2), (alike, "here/2", 1)]:
        Estimate.objects.create(model=model, hardware=hardware, load_seconds=load)
    costs = estimates.of({known.pk: "mandelbrot", new.pk: "mandelbrot"})
    assert costs.load_seconds(known.pk, "there/8") == 2
    assert costs.load_seconds(known.pk, "here/4") == costs.load_seconds(known.pk, "here/") == 10
    assert costs.load_seconds(known.pk, "elsewhere/4") == costs.load_seconds(known.pk) == 6
    assert costs.load_seconds(new.pk, "here/2") == 2  # the median of the renderer's
    assert costs.pixel_seconds(new.pk) == estimates.PRIOR_PIXEL_SECONDS
    assert estimates.of({new.pk: "another"}).load_seconds(new.pk) == estimates.PRIOR_LOAD_SECONDS


def test_nodes_teach_by_delivering_and_by_what_they_say_of_loads(farm: Farm) -> None:
    job = farm.submit()
    node = farm.node()
    farm.deliver(node, farm.lease(node))
    said = {"models": [{"digest": job.model.digest, "load_seconds": 7.0}], "leases": []}
    for _ in range(3):  # the same load, however often it is told of
        reports.heartbeat(node, said)
    row = Estimate.objects.get()
    assert row.pixel_seconds is not None
    assert 0 < row.pixel_seconds < 1
    assert row.load_seconds == 7.0


def test_many_models_cost_a_constant_number_of_queries(farm: Farm, django_assert_num_queries: object) -> None:
    models = {make.render_model(max_iter=number).pk: "mandelbrot" for number in range(5, 25)}
    with django_assert_num_queries(2):  # type: ignore[operator]
        costs = estimates.of(models)
        assert {costs.load_seconds(model) for model in models} == {0.0}
