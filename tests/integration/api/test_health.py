"""Health: alive is cheap, ready names what is wrong, metrics are what the database says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from rrm.api import health
from rrm.farm.models import Loop
from tests import factories as make
from tests.factories import Caller, problem
from tests.integration.farm.conftest import Farm

ANYBODY = Caller()


@pytest.fixture
def ticking(db: None) -> None:
    for name in ("autoscale", "reconcile", "sessions"):
        Loop.objects.create(name=name, last_finished=timezone.now())


def test_alive_needs_no_database() -> None:
    assert ANYBODY.get("/healthz").json() == {"status": "ok"}


def _checks(response: Any) -> dict[str, bool]:
    return {check["name"]: check["ok"] for check in response.json()["checks"]}


@pytest.mark.redis
def test_ready_when_database_broker_and_loops_are_well(ticking: None, redis_url: str, settings: Any) -> None:
    settings.RRM = replace(settings.RRM, redis_url=redis_url)

    response = ANYBODY.get("/readyz")

    assert response.status_code == 200
    assert _checks(response) == {"database": True, "broker": True, "loops": True}


def test_not_ready_without_the_broker(ticking: None, settings: Any) -> None:
    settings.RRM = replace(settings.RRM, redis_url="unix:///nowhere/at/all.sock")

    response = ANYBODY.get("/readyz")

    assert response.status_code == 503
    assert _checks(response) == {"database": True, "broker": False, "loops": True}


def test_not_ready_when_a_loop_has_stopped(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_ask_broker", lambda: "")
    Loop.objects.create(name="autoscale", last_finished=timezone.now())

    response = ANYBODY.get("/readyz")

    assert response.status_code == 503
    assert _checks(response)["loops"] is False
    assert "reconcile" in str(response.json())
    assert "autoscale" not in str(response.json())


def _samples(response: Any) -> Iterator[tuple[str, dict[str, str], float]]:
    for family in text_string_to_metric_families(response.content.decode()):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def test_metrics_count_nodes_jobs_tiles_and_leases(farm: Farm) -> None:
    farm.submit()
    node = farm.node()
    farm.deliver(node, farm.lease(node))
    farm.lease(node)

    found = {(name, *labels.values()): value for name, labels, value in _samples(ANYBODY.get("/metrics"))}

    assert found["rrm_nodes", "here", "BUSY"] == 1
    assert found["rrm_jobs", "RUNNING"] == 1
    assert found["rrm_jobs", "FAILED"] == 0
    assert found["rrm_tiles_done_total", "here"] > 0
    assert found["rrm_leases_active",] == 1
    assert found["rrm_hit_rate",] == 0.0  # of what is delivered: one range, for which the model was loaded
    assert found["rrm_sse_listeners",] == 0


def test_metrics_take_the_same_number_of_queries_however_large_the_farm_is(farm: Farm) -> None:
    farm.submit()
    farm.node()
    with CaptureQueriesContext(connection) as few:
        ANYBODY.get("/metrics")
    for _ in range(4):
        farm.submit()
        make.node(farm.resource, farm.add_site(f"site{_}"))

    with CaptureQueriesContext(connection) as many:
        ANYBODY.get("/metrics")

    assert len(many) == len(few)


def test_metrics_of_a_production_server_need_a_token(farm: Farm, owner: Caller, settings: Any) -> None:
    settings.RRM = replace(settings.RRM, mode="production")

    problem(ANYBODY.get("/metrics"), 401, "unauthorised")
    assert owner.get("/metrics").status_code == 200
