"""The PNGs made here are ordinary ones, and pieces of a stream join to a stream."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rrm.results import png
from rrm.results.deflate import LAST_BLOCK, ZLIB_HEADER, PieceMaker, join_adler


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (33, 17)])
def test_an_encoded_picture_is_read_by_others(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (*shape, 3)).astype(np.uint8)
    with Image.open(io.BytesIO(png.encode(pixels))) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_checksums_join_as_their_buffers_do(first: bytes, second: bytes) -> None:
    joined = join_adler(zlib.adler32(first), zlib.adler32(second), len(second))
    assert joined == zlib.adler32(first + second)


def test_a_long_buffer_does_not_disturb_the_joined_checksum() -> None:
    first, second = bytes([255]) * 100_003, bytes([254]) * 200_005
    assert join_adler(zlib.adler32(first), zlib.adler32(second), len(second)) == zlib.adler32(first + second)


@given(st.lists(st.binary(max_size=500), max_size=5))
def test_pieces_laid_end_to_end_are_one_zlib_stream(buffers: list[bytes]) -> None:
    stream, adler = ZLIB_HEADER, 1
    for data in buffers:
        maker = PieceMaker()
        maker.add(memoryview(data))
        piece = maker.piece()
        stream, adler = stream + piece.data, join_adler(adler, piece.adler, piece.size)
    assert zlib.decompress(stream + LAST_BLOCK + adler.to_bytes(4, "big")) == b"".join(buffers)
