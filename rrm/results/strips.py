"""Strips: some full-width lines of the picture, filtered and deflated apart, each an IDAT chunk of the picture to be.

A node that renders a whole row of tiles sends it so, the highest lines first; the manager lays the chunks end to end
and the picture is composed without inflating a byte. Rows that came tile by tile are made into the same strips here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from isal import isal_zlib

from rrm.errors import BadBundle
from rrm.results import png
from rrm.results.deflate import deflate_piece, inflate_piece
from rrm.results.png import Bytes


@dataclass(frozen=True, slots=True)
class Strip:
    """The chunk, and the Adler-32 and number of the bytes that it inflates to."""

    chunk: bytes
    adler: int
    size: int


def strips_of(pixels: Bytes, lines: int) -> Iterator[Strip]:
    """Cut pixels (height, width, 3) into strips of so many lines; the last one has what is left."""
    for top in range(0, len(pixels), lines):
        scanlines = png.sub_filtered(pixels[top : top + lines]).data
        chunk = png.chunk(b"IDAT", deflate_piece(scanlines))
        yield Strip(chunk, isal_zlib.adler32(scanlines), scanlines.nbytes)


def check_chunk(strip: Strip) -> None:
    """BadBundle unless the chunk is whole and its own checksum right."""
    png.only_chunk(strip.chunk, b"IDAT")


def place_strips(strips: Sequence[Strip], pixels: Bytes) -> None:
    """Write the pixels of strips to `pixels` (height, width, 3), one below the other; they must fill it."""
    top = 0
    for strip in strips:
        lines = scanlines(strip, pixels.shape[1])
        png.unfilter(lines, pixels[top : top + len(lines)])
        top += len(lines)


def cut_strip(strip: Strip, width: int, col0: int, cols: int) -> Bytes:
    """The pixels (lines, cols, 3) of some columns of a strip of full-width lines."""
    lines = scanlines(strip, width)
    deltas = lines[:, 1:].reshape(len(lines), width, 3)
    left = deltas[:, :col0].sum(axis=1, keepdims=True, dtype=np.uint8)
    pixels: Bytes = deltas[:, col0 : col0 + cols].cumsum(axis=1, dtype=np.uint8)
    pixels += left
    return pixels


def scanlines(strip: Strip, width: int) -> Bytes:
    """The Sub-filtered lines of a strip, everything about it checked. BadBundle says what is wrong."""
    plain = inflate_piece(png.only_chunk(strip.chunk, b"IDAT").tobytes(), strip.size)
    if isal_zlib.adler32(plain) != strip.adler:
        raise BadBundle("inflates to something else than its Adler-32 says")
    return png.as_scanlines(plain, width)
