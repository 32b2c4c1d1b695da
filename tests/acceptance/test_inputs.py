"""The three known inputs, ordered and fetched through the API alone."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.acceptance.evaluation import axis, counts_at
from tests.acceptance.stack import Client, Stack
from tests.pictures import are_same

pytestmark = pytest.mark.acceptance
SAMPLES = 10_000


def counts_of(client: Client, job: str) -> np.ndarray[Any, np.dtype[np.uint32]]:
    counts: np.ndarray[Any, np.dtype[np.uint32]] = np.load(io.BytesIO(client.content(f"job/{job}/counts.npy")))
    return counts


def test_valley_has_the_known_sums_and_equals_a_plain_evaluation_at_random_pixels(client: Client) -> None:
    job = client.submit(name="valley", model="valley", width=4096, height=4096, outputs=["counts"])
    client.finished(job)
    counts = counts_of(client, job)
    assert counts.dtype == np.uint32
    assert counts.shape == (4096, 4096)
    assert int(counts.sum(dtype=np.uint64)) == 24_748_266_121
    assert int((counts == 2000).sum()) == 11_508_716
    chosen = np.array(random.Random(20).sample(range(counts.size), SAMPLES))
    rows, cols = np.divmod(chosen, 4096)
    expected = counts_at(axis(-0.745, -0.735, 4096)[cols], axis(0.105, 0.115, 4096)[rows], 2000)
    assert np.array_equal(counts[rows, cols], expected)


def test_burst_has_the_known_sums(client: Client, burst: dict[str, Any]) -> None:
    counts = counts_of(client, burst["id"])
    assert int(counts.sum(dtype=np.uint64)) == 200_817_516
    assert int((counts == 256).sum()) == 729_803


def test_rows_is_rendered_whole_in_the_palette_of_its_home(client: Client) -> None:
    job = client.submit(name="rows", model="rows", width=8192, height=6144, coloring={"palette": "Hippi"})
    body = client.finished(job)
    assert body["progress"]["done"] == body["tile_rows"] * body["tile_cols"] == 768
    picture = Image.open(io.BytesIO(client.content(f"job/{job}/image.png")))
    picture.load()
    assert (picture.size, picture.mode) == ((8192, 6144), "RGB")

    assert len(picture.resize((64, 48)).getcolors(4000) or []) > 50


def test_the_command_line_renders_burst_into_a_file(stack: Stack, burst: dict[str, Any], tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    done = stack.manage("render", "burst", "-o", str(target), "--palette", "fire")
    assert done.returncode == 0, done.stdout + done.stderr
    with stack.client() as client:
        assert are_same(target.read_bytes(), client.content(f"job/{burst['id']}/image.png"))
