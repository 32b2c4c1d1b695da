"""Jobs beyond double precision, from the order to the picture."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rrm.errors import Invalid
from rrm.farm import composing, jobs
from tests.integration.farm.conftest import VIEW, Farm

CENTER = ["0", "1." + 30 * "0" + "1"]
DEEP = {"center": CENTER, "radius": "1e-30", "max_iter": 2000}


def test_the_lease_of_a_deep_job_carries_its_view_in_decimals(farm: Farm) -> None:
    job = farm.submit(params=DEEP)
    lease = farm.lease(farm.node())
    assert lease["view"] == job.view
    assert lease["view"] == {"method": "perturbation", "center": CENTER, "dx": "3.125e-32", "dy": "3.125e-32"}
    assert lease["model"]["params"]["radius"] == "1e-30"


def test_the_lease_of_a_shallow_job_carries_its_view_in_doubles(farm: Farm) -> None:
    farm.submit(params=VIEW)
    assert set(farm.lease(farm.node())["view"]) == {"x0", "y0", "dx", "dy"}


def test_a_deep_job_is_rendered_and_composed_with_its_exact_parameters(farm: Farm) -> None:
    job = farm.submit(params=DEEP, outputs=["png", "counts", "smooth"])
    farm.work_off(farm.node())
    composing.compose_job(job.pk)
    job.refresh_from_db()
    assert job.state == "COMPLETED"
    counts = np.load(jobs.files(job).counts)
    assert 50 < counts.min() < counts.max() < 2000
    with Image.open(jobs.files(job).image) as picture:
        told = " ".join(str(text) for text in picture.info.values())
    assert CENTER[1] in told
    assert "1e-30" in told


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"center": CENTER, "radius": "1e-1001", "max_iter": 10}, "params.radius"),
        ({"viewport": ["0", "1e-1001", "0", "1e-1001"], "max_iter": 10}, "params.viewport"),
    ],
)
def test_what_is_too_deep_is_refused_by_field(farm: Farm, params: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid, match="deepest") as refusal:
        farm.submit(params=params)
    assert list(refusal.value.errors) == [field]


def test_jobs_of_other_shapes_share_a_deep_model(farm: Farm) -> None:
    one, other = farm.submit(params=DEEP), farm.submit(params=json.loads(json.dumps(DEEP)), width=128)
    assert one.model_id == other.model_id
    assert one.view == other.view
