"""The farm of the use-cases' tests, reached through the API."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rrm.farm import composing
from rrm.farm.models import Job
from tests.factories import Caller, caller, content, person
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


@pytest.fixture
def job(farm: Farm) -> Job:
    """A completed job with every output."""
    job = farm.submit(outputs=["png", "counts", "smooth"])
    farm.work_off(farm.node())
    composing.compose_job(job.pk)
    return job


def whole(caller: Caller, path: str) -> bytes:
    """The content of a file that is there."""
    response = caller.get(path)
    assert response.status_code == 200
    return content(response)


def picture_of(caller: Caller, path: str) -> NDArray[np.uint8]:
    """The pixels of a picture that is there."""
    return np.asarray(Image.open(io.BytesIO(whole(caller, path))))
