"""A farm with something in every list, and somebody who may do everything."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from rrm.farm import tokens
from rrm.farm.models import Block, Job
from tests import factories as make
from tests.integration.farm.conftest import Farm


@pytest.fixture
def farm(db: None) -> Farm:
    """A farm with a busy node, a job under way and a token, so that every list has a row."""
    farm = Farm()
    farm.submit(name="Aurora")
    node = farm.node()
    farm.deliver(node, farm.lease(node))
    farm.lease(node)
    tokens.issue(farm.owner, "laptop", ["read"])
    until = timezone.now() + timedelta(hours=5)
    Block.objects.create(site=farm.site, hostname="n1", renderer="mandelbrot", reason="it failed", until=until)
    model = Job.objects.get().model
    make.preload(farm.owner, farm.resource, model)
    return farm


@pytest.fixture
def operator(client: Client, farm: Farm) -> Client:
    client.force_login(User.objects.create_superuser("operator"))
    return client
