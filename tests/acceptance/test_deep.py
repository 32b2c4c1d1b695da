"""A view beyond double precision, ordered and fetched through the API alone."""

from __future__ import annotations

import io
import random
from fractions import Fraction

import numpy as np
import pytest

from tests.acceptance.stack import Client

pytestmark = pytest.mark.acceptance
SIZE, MAX_ITER, BITS = 96, 3000, 600
CENTER, RADIUS = ("0", "1.00000000000000000000000000000000000000000000000000000000001"), "1e-120"


def test_a_deep_job_equals_full_precision_and_its_model_is_kept(client: Client) -> None:
    params = {"center": list(CENTER), "radius": RADIUS, "max_iter": MAX_ITER}
    order = {"params": params, "width": SIZE, "height": SIZE, "tile_size": 32, "outputs": ["png", "counts"]}
    job = client.submit(name="deep", **order)
    body = client.finished(job)
    counts = np.load(io.BytesIO(client.content(f"job/{job}/counts.npy")))
    chance = random.Random(7)
    places = [(chance.randrange(SIZE), chance.randrange(SIZE)) for _ in range(60)]
    assert sum(counts[row, col] != exact_count(row, col) for row, col in places) <= 1
    model = client.get(f"model/{body['model']}/")
    assert model["size_bytes"] > 1000
    assert model["load_seconds"] > 0.0
    assert model["nodes"]


def exact_count(row: int, col: int) -> int:
    """The count of a pixel in fixed point."""
    one, pixel = 1 << BITS, 2 * Fraction(RADIUS) / SIZE
    cx, cy = (
        round((Fraction(middle) + (at - SIZE // 2) * pixel) * one)
        for middle, at in zip(CENTER, (col, row), strict=True)
    )
    x = y = 0
    for count in range(MAX_ITER):
        x, y = ((x * x - y * y) >> BITS) + cx, (x * y >> (BITS - 1)) + cy
        if x * x + y * y > 4 * one * one:
            return count
    return MAX_ITER
