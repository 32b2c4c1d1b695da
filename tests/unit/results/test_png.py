"""The PNGs made here are ordinary ones, and parts of a stream join to a stream."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rrm.errors import BadBundle
from rrm.results import png
from rrm.results.deflate import LAST_BLOCK, ZLIB_HEADER, deflate_piece, inflate_piece, join_adler


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
def test_parts_laid_end_to_end_are_one_zlib_stream(buffers: list[bytes]) -> None:
    stream, adler = ZLIB_HEADER, 1
    for data in buffers:
        piece = deflate_piece(data)
        assert inflate_piece(piece, len(data)) == data
        stream, adler = stream + piece, join_adler(adler, zlib.adler32(data), len(data))
    assert zlib.decompress(stream + LAST_BLOCK + adler.to_bytes(4, "big")) == b"".join(buffers)


def _stream(data: bytes, flush: int) -> bytes:
    stream = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush(flush)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (_stream(b"scanlines", zlib.Z_FINISH), "byte boundary"),
        (_stream(b"scanlines", zlib.Z_FINISH) + b"\0\0\xff\xff", "after its end"),
        (_stream(b"scan", zlib.Z_SYNC_FLUSH), "instead of 9"),
        (_stream(b"scanlines and more", zlib.Z_SYNC_FLUSH), "more than 9"),
        (b"\xff\xff\0\0\xff\xff", "not a deflate stream"),
        (_stream(b"scanlines", zlib.Z_SYNC_FLUSH)[:-5] + b"\0\0\xff\xff", "ends after|not a deflate stream"),
    ],
    ids=["finished", "finished-and-marked", "short", "long", "nonsense", "cut"],
)
def test_what_another_part_could_not_follow_is_refused(part: bytes, said: str) -> None:
    with pytest.raises(BadBundle, match=said):
        inflate_piece(part, 9)
