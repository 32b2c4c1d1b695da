"""What a completed job offers: picture, tiles, pyramid and arrays agree, and downloads can be resumed."""

from __future__ import annotations

import io
import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.acceptance.stack import Client

pytestmark = pytest.mark.acceptance
Pixels = NDArray[np.uint8]


def pixels_at(client: Client, path: str) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(client.content(path))).convert("RGB"))


@pytest.fixture(scope="module")
def picture(client: Client, burst: dict[str, Any]) -> Pixels:
    return pixels_at(client, f"job/{burst['id']}/image.png")


def test_the_picture_is_its_tiles_put_together(client: Client, burst: dict[str, Any], picture: Pixels) -> None:
    together = np.zeros_like(picture)
    for row in range(burst["tile_rows"]):
        for col in range(burst["tile_cols"]):
            tile = pixels_at(client, f"job/{burst['id']}/tile/{row}/{col}.png")
            bottom, left = picture.shape[0] - 256 * row, 256 * col
            together[bottom - tile.shape[0] : bottom, left : left + tile.shape[1]] = tile
    assert np.array_equal(picture, together)


def test_the_array_is_its_tiles_put_together(client: Client, burst: dict[str, Any]) -> None:
    whole = np.load(io.BytesIO(client.content(f"job/{burst['id']}/counts.npy")))
    for row, col in ((0, 0), (3, 5), (7, 7)):
        tile = np.load(io.BytesIO(client.content(f"job/{burst['id']}/tile/{row}/{col}.npy")))
        assert np.array_equal(whole[256 * row : 256 * row + 256, 256 * col : 256 * col + 256], tile)


def test_each_level_of_the_pyramid_is_the_average_of_the_next(
    client: Client, burst: dict[str, Any], picture: Pixels
) -> None:
    root = ElementTree.fromstring(client.content(f"job/{burst['id']}/pyramid.dzi"))  # noqa: S314 - our own answer
    tile = int(root.attrib["TileSize"])
    expected = picture
    for level in range(11, -1, -1):
        assert np.array_equal(_level(client, burst["id"], level, expected.shape, tile), expected), f"level {level}"
        expected = _halved(expected)
    assert expected.shape == (1, 1, 3)


def _level(client: Client, job: str, level: int, shape: tuple[int, ...], tile: int) -> Pixels:
    pixels = np.zeros(shape, np.uint8)
    for top in range(0, shape[0], tile):
        for left in range(0, shape[1], tile):
            path = f"job/{job}/pyramid_files/{level}/{left // tile}_{top // tile}.png"
            part = pixels_at(client, path)
            pixels[top : top + part.shape[0], left : left + part.shape[1]] = part
    return pixels


def _halved(pixels: Pixels) -> Pixels:
    """The mean of each 2 x 2, rounded half up; one pixel stays one."""
    height, width, _ = pixels.shape
    if height < 2:
        return pixels
    blocks = pixels.reshape(height // 2, 2, width // 2, 2, 3).astype(np.uint16)
    return np.asarray((blocks.sum(axis=(1, 3)) + 2) // 4, np.uint8)


def test_a_download_is_not_repeated_when_the_client_has_it(client: Client, burst: dict[str, Any]) -> None:
    for name in ("image.png", "counts.npy", "tile/0/0.png"):
        path = f"job/{burst['id']}/{name}"
        tag = client.call("GET", path).headers["ETag"]
        again = client.http.get(path, headers={"If-None-Match": tag})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)


def test_a_broken_download_goes_on_where_it_stopped(client: Client, burst: dict[str, Any]) -> None:
    path = f"job/{burst['id']}/image.png"
    whole = client.call("GET", path)
    first = client.http.get(path, headers={"Range": "bytes=0-99999", "If-Range": whole.headers["ETag"]})
    rest = client.http.get(path, headers={"Range": "bytes=100000-", "If-Range": whole.headers["ETag"]})
    assert (first.status_code, rest.status_code) == (206, 206)
    assert re.fullmatch(rf"bytes 100000-\d+/{len(whole.content)}", rest.headers["Content-Range"])
    assert first.content + rest.content == whole.content
    beyond = client.http.get(path, headers={"Range": f"bytes={len(whole.content)}-"})
    assert beyond.status_code == 416


def test_results_of_an_unfinished_job_are_refused_with_a_reason(client: Client) -> None:
    order = {"viewport": [-0.745, -0.735, 0.105, 0.115], "max_iter": 100_000}
    job = client.submit(params=order, width=2048, height=2048)
    answer = client.http.get(f"job/{job}/image.png")
    client.act(job, "cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "not-ready")
