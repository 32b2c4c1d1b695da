"""The encoders, read back by Pillow and zlib."""

import io
import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from renderers.mandelbrot import encode
from renderers.mandelbrot.encode import pack, png, preview

SHAPES = [(1, 1), (1, 7), (5, 1), (16, 16), (33, 65), (256, 256)]


def picture(height: int, width: int) -> NDArray[np.uint8]:
    """Rows of random RGB bytes."""
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, 3 * width), np.uint8)


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and content of each chunk, with its checksum verified."""
    found, at = [], 8
    while at < len(data):
        length = struct.unpack(">I", data[at : at + 4])[0]
        kind, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + content)
        found.append((kind, content))
        at += 12 + length
    return found


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_a_png_decodes_to_the_pixels(height: int, width: int) -> None:
    rows = picture(height, width)
    image = Image.open(io.BytesIO(png(rows)))
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), rows.reshape(height, width, 3))


def test_a_png_has_one_data_chunk_and_sub_filters_every_row() -> None:
    rows = picture(33, 65)
    found = chunks(png(rows))
    assert [kind for kind, _ in found] == [b"IHDR", b"IDAT", b"IEND"]
    assert found[0][1] == struct.pack(">IIBBBBB", 65, 33, 8, 2, 0, 0, 0)
    filtered = np.frombuffer(zlib.decompress(found[1][1]), np.uint8).reshape(33, 1 + 3 * 65)
    assert (filtered[:, 0] == 1).all()
    pixels = filtered[:, 1:].reshape(33, 65, 3).cumsum(axis=1, dtype=np.uint8)
    assert np.array_equal(pixels.reshape(33, -1), rows)


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_a_preview_averages_boxes_and_rounds_its_size_up(height: int, width: int, factor: int) -> None:
    rows = picture(height, width)
    small = np.asarray(Image.open(io.BytesIO(preview(rows, factor))))
    assert small.shape == (-(-height // factor), -(-width // factor), 3)
    wanted = Image.fromarray(rows.reshape(height, width, 3)).reduce(factor)
    assert np.abs(small.astype(int) - np.asarray(wanted)).max() <= 1


@pytest.mark.parametrize("dtype", ["<u2", "<u4", "<f4"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_packed_values_come_back(dtype: str, *, shuffle: bool) -> None:
    values = np.random.default_rng(3).integers(0, 60_000, (31, 17)).astype(dtype)
    octets = zlib.decompress(pack(values, shuffle=shuffle))
    if shuffle:
        planes = np.frombuffer(octets, np.uint8).reshape(values.itemsize, -1)
        octets = np.ascontiguousarray(planes.T).tobytes()
    assert octets == values.tobytes()


def test_without_the_fast_deflate_values_travel_raw_and_pictures_still_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "fast_zlib", None)
    rows = picture(16, 16)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(rows)))).reshape(16, 48), rows)
    values = np.arange(12, dtype="<u2")
    assert pack(values, shuffle=False) == values.tobytes()
