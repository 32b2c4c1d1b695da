"""The farm of the use-cases' tests, reached through the API."""

from __future__ import annotations

import pytest

from tests.factories import Caller, caller, person
from tests.integration.farm.conftest import Farm, farm, shared_farm

__all__ = ["farm", "shared_farm"]


@pytest.fixture
def owner(farm: Farm) -> Caller:
    return caller(farm.owner)


@pytest.fixture
def stranger(db: None) -> Caller:
    return caller(person("eve"))


@pytest.fixture
def operator(db: None) -> Caller:
    return caller(person("olga", is_operator=True))
