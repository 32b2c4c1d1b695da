"""Looking at the farm while others work on it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from rrm.farm import snapshot
from rrm.farm.models import Job
from rrm.farm.reading import one_instant
from rrm.farm.transitions import iso
from tests import factories as make
from tests.integration.farm.conftest import Farm
from tests.integration.farm.threads import in_threads


def test_what_is_read_at_one_instant_stays_while_others_write(shared_farm: Farm) -> None:
    with one_instant():
        assert not Job.objects.exists()
        began = time.monotonic()
        (job,) = in_threads(shared_farm.submit)
        assert time.monotonic() - began < 15
        assert not Job.objects.exists()
    assert Job.objects.get() == job


def test_afterwards_transactions_are_as_usual(shared_farm: Farm) -> None:
    with one_instant():
        Job.objects.exists()
    with transaction.atomic():
        assert not Job.objects.exists()
        shared_farm.submit()
    assert connection.get_autocommit()
    assert getattr(connection, "transaction_mode", "IMMEDIATE") == "IMMEDIATE"


def test_within_a_transaction_its_own_writes_are_seen(farm: Farm) -> None:
    farm.submit()
    with one_instant():
        assert Job.objects.count() == 1


def test_the_farm_is_shown_at_one_instant_and_nobody_waits_for_that(
    shared_farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, waited = snapshot.resource_bodies, []

    def meanwhile(*given: Any) -> Any:
        began = time.monotonic()
        in_threads(shared_farm.submit)
        waited.append(time.monotonic() - began)
        return real(*given)

    monkeypatch.setattr(snapshot, "resource_bodies", meanwhile)
    viewer = make.caller(shared_farm.owner, "read")

    first, second = (viewer.get("farm/").json() for _ in range(2))

    assert max(waited) < 15
    assert (first["jobs"], first["queue"], first["resources"][0]["status"]) == ([], [], "idle")
    assert (len(second["jobs"]), [row["jobs"] for row in second["queue"]]) == (1, [1])
    assert first["time"] < second["time"] <= iso(timezone.now())
