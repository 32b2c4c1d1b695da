"""What nodes were given during the last hour, beside what all jobs count."""

from __future__ import annotations

from uuid import UUID

from django.utils import timezone

from rrm.farm import decisions, deliveries
from rrm.farm.models import RenderModel
from rrm.farm.snapshot import farm_snapshot
from tests.integration.farm.conftest import Farm


def test_the_last_hour_counts_what_all_time_counts(farm: Farm) -> None:
    farm.submit(tile_size=16)
    first, second = farm.node(), farm.node()
    farm.deliver(first, farm.lease(first))
    RenderModel.objects.update(load_seconds=2.0)
    deliveries.fail(first, UUID(farm.lease(first)["id"]), None, "out of memory")
    assert farm.lease(second), "it is under way"

    ever, found = farm_snapshot(timezone.now()), decisions.counted(timezone.now())

    assert sum(found["reasons"].values()) == 3
    assert (found["loads_per_hour"], found["seconds_saved"]) == (ever["loads"], ever["seconds_saved"]) == (1, 0.0)
    farm.work_off(first)
    ever, found = farm_snapshot(timezone.now()), decisions.counted(timezone.now())
    assert (found["loads_per_hour"], found["seconds_saved"]) == (ever["loads"], ever["seconds_saved"])
    assert found["seconds_saved"] > 0


def test_what_was_counted_a_moment_ago_is_no_more_than_all_there_is(farm: Farm) -> None:
    recent = {"loads_per_hour": 3, "seconds_saved": 9.0, "hit_rate": 0.5, "reasons": {"warm": 3}}
    found = decisions.within(recent, {"loads": 1, "seconds_saved": 4.0})
    assert found == recent | {"loads_per_hour": 1, "seconds_saved": 4.0}
