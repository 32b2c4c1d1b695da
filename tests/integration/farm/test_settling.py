"""What nodes that were let go mean for the next plans, which other processes may make."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from rrm.domain.states import NODE_LIVE, NodeState
from rrm.farm import reconciling, scaling
from rrm.farm.models import Node, Resource
from tests.integration.farm.conftest import Farm

pytestmark = pytest.mark.django_db


def test_a_few_nodes_are_not_launched_again_soon_after_some_were_let_go(farm: Farm) -> None:
    for _ in range(2):
        farm.node()
    now, long_ago = timezone.now(), timezone.now() - timedelta(hours=1)
    Node.objects.update(idle_since=long_ago, last_heartbeat=now)
    Resource.objects.update(min_nodes=1)
    scaling.autoscale(now)
    assert Node.objects.filter(state__in=[NodeState.DRAINING, NodeState.STOPPING]).count() == 1

    reconciling.reconcile(now)
    Resource.objects.update(standby=2)
    for seconds in (30, 60, 90):
        scaling.autoscale(now + timedelta(seconds=seconds))
    assert "some were let go lately" in Resource.objects.get().last_plan["reason"]
    for seconds in (600, 615):
        scaling.autoscale(now + timedelta(seconds=seconds))
    assert Node.objects.filter(state=NodeState.REQUESTED).count() == 1
    assert Node.objects.filter(state__in=NODE_LIVE).count() >= 2
