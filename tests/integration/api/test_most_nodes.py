"""How many nodes sites and resources may be given."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from rrm.farm.models import Resource, Site
from tests.factories import Caller, problem
from tests.integration.farm.conftest import Farm

pytestmark = pytest.mark.django_db


def test_more_nodes_than_any_farm_has_are_refused(farm: Farm, operator: Caller) -> None:
    for path in ("site/here/", "resource/mandelbrot/"):
        assert operator.patch(path, {"max_nodes": 100_000}).json()["max_nodes"] == 100_000
        problem(operator.patch(path, {"max_nodes": 100_001}), 422, "invalid")
    assert operator.patch("resource/mandelbrot/", {"name": "M"}).json()["max_nodes"] == 100_000


def test_so_they_are_on_admin_pages_and_in_files(farm: Farm) -> None:
    for row in (Site.objects.get(), Resource.objects.get()):
        row.full_clean()
        row.max_nodes = 10**12
        with pytest.raises(ValidationError, match="less than or equal to 100000"):
            row.clean()
