"""Colours on the running service: a finished job shown anew without a node, and the methods that nodes paint."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.acceptance.stack import Client

pytestmark = pytest.mark.acceptance
VIEW = {"viewport": [-0.75, -0.73, 0.1, 0.11], "max_iter": 1000}


def picture(client: Client, job: str, name: str = "image.png") -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(client.content(f"job/{job}/{name}"))).convert("RGB"))


def ordered(client: Client, **order: Any) -> str:
    job = client.submit(params=VIEW, width=2560, height=1280, tile_size=256, **order)
    client.finished(job)
    return job


def recolored(client: Client, job: str, coloring: dict[str, Any]) -> dict[str, Any]:
    headers = {"Idempotency-Key": os.urandom(8).hex()}
    answer = client.call("POST", f"job/{job}/recolor", json={"coloring": coloring}, headers=headers)
    assert answer.status_code == 202
    return client.finished(answer.json()["id"])


@pytest.fixture(scope="module")
def kept(client: Client) -> str:
    """A completed job that kept its values."""
    return ordered(client, outputs=["png", "counts", "smooth"])


@pytest.mark.parametrize("coloring", [{"palette": "romaO", "scale": 3}, {"palette": "Fiesta", "method": "bands"}])
def test_a_recoloured_picture_is_the_one_that_nodes_would_paint(
    client: Client, kept: str, coloring: dict[str, Any]
) -> None:
    tiles = sum(node["tiles_done"] for node in client.get("node/?page_size=1000")["results"])
    new = recolored(client, kept, coloring)
    assert sum(node["tiles_done"] for node in client.get("node/?page_size=1000")["results"]) == tiles
    assert new["recolor_of"] == kept
    afresh = ordered(client, coloring=coloring)
    painted = picture(client, new["id"])
    assert np.array_equal(painted, picture(client, afresh))
    assert np.array_equal(picture(client, new["id"], "tile/0/0.png"), painted[-256:, :256])
    assert picture(client, new["id"], "pyramid_files/0/0_0.png").shape == (1, 1, 3)


def test_a_histogram_is_painted_when_all_values_are_known(client: Client, kept: str) -> None:
    look = {"palette": "viridis", "method": "histogram", "interior": "#ff0000"}
    job = ordered(client, coloring=look)
    assert np.array_equal(picture(client, job), picture(client, recolored(client, kept, look)["id"]))


@pytest.mark.parametrize("method", ["distance", "normal"])
def test_nodes_paint_what_needs_the_derivative_with_several_samples(client: Client, kept: str, method: str) -> None:
    look = {"palette": "oslo", "method": method}
    several = ordered(client, coloring=look, supersample=2, adaptive=True, outputs=["png", "counts"])
    assert client.content(f"job/{several}/counts.npy") == client.content(f"job/{kept}/counts.npy")
    assert len(np.unique(picture(client, several).reshape(-1, 3), axis=0)) > 50
