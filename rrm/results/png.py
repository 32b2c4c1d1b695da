"""The one kind of PNG used here: 8-bit RGB, no interlace, Sub-filtered scanlines, written and read without a copy more.

Format: PNG specification, third edition (W3C). Pixel arrays are uint8 of shape (height, width, 3), top row first.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from rrm.errors import BadBundle
from rrm.results.deflate import deflate, inflate

Bytes = NDArray[np.uint8]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SUB = 1
_LAST_FILTER = 4


def chunk(kind: bytes, data: bytes) -> bytes:
    return b"".join((struct.pack(">I", len(data)), kind, data, struct.pack(">I", isal_zlib.crc32(data, _crc(kind)))))


def opening(width: int, height: int, bits: int = 8) -> bytes:
    """Signature and IHDR: all that comes before text and pixels. `bits` are those of a channel."""
    return SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0))


def text(keyword: str, value: str) -> bytes:
    """A tEXt chunk; both strings must be Latin-1."""
    return chunk(b"tEXt", keyword.encode("latin-1") + b"\0" + value.encode("latin-1"))


def _crc(data: bytes) -> int:
    return isal_zlib.crc32(data)


END = chunk(b"IEND", b"")


def encode(pixels: Bytes) -> bytes:
    height, width, _ = pixels.shape
    return b"".join((opening(width, height), chunk(b"IDAT", deflate(sub_filtered(pixels).data)), END))


def sub_filtered(pixels: Bytes) -> Bytes:
    """The scanlines of (height, width, bytes of a pixel), led by their filter byte: each byte less that to its left."""
    height, width, size = pixels.shape
    flat = pixels.reshape(height, size * width)
    lines = np.empty((height, 1 + size * width), np.uint8)
    lines[:, 0] = SUB
    lines[:, 1 : 1 + size] = flat[:, :size]
    np.subtract(flat[:, size:], flat[:, :-size], out=lines[:, 1 + size :])
    return lines


def unfilter(lines: Bytes, out: Bytes) -> None:
    """Write the pixels of Sub-filtered scanlines (height, 1 + 3 width) to `out` (height, width, 3)."""
    np.cumsum(lines[:, 1:].reshape(out.shape), axis=1, dtype=np.uint8, out=out)


def scanlines(data: bytes, width: int, height: int) -> Bytes:
    """The Sub-filtered scanlines of a picture that must be exactly width x height. BadBundle says what is wrong."""
    return _sub_only(_lines(data, width, height))


def as_scanlines(plain: memoryview, width: int) -> Bytes:
    """Inflated bytes as Sub-filtered scanlines of this width. BadBundle if a line has another filter."""
    return _sub_only(np.frombuffer(plain, np.uint8).reshape(-1, 1 + 3 * width))


def only_chunk(data: bytes, kind: bytes) -> memoryview:
    """The content of data that must be one chunk of this kind and nothing else. BadBundle says what is wrong."""
    content, end = _chunk(memoryview(data), 0, kind)
    if end != len(data):
        raise BadBundle("has bytes after its chunk")
    return content


def _sub_only(lines: Bytes) -> Bytes:
    if not (lines[:, 0] == SUB).all():
        raise BadBundle(f"has a scanline whose filter is not Sub (row {int((lines[:, 0] != SUB).argmax())})")
    return lines


def check_any_filter(data: bytes, width: int, height: int) -> None:
    """BadBundle unless `data` is a width x height picture of this kind, whatever its scanline filters are."""
    if not (_lines(data, width, height)[:, 0] <= _LAST_FILTER).all():
        raise BadBundle("has a scanline with an unknown filter")


def _lines(data: bytes, width: int, height: int) -> Bytes:
    stride = 1 + 3 * width
    plain = inflate(_compressed(data, width, height), height * stride)
    return np.frombuffer(plain, np.uint8).reshape(height, stride)


def _compressed(data: bytes, width: int, height: int) -> memoryview:
    """The content of the only IDAT chunk, after signature, header, checksums and the chunks' order were checked."""
    if not data.startswith(SIGNATURE):
        raise BadBundle("is not a PNG")
    view = memoryview(data)
    header, position = _chunk(view, len(SIGNATURE), b"IHDR")
    _check_header(header, width, height)
    pixels, position = _chunk(view, position, b"IDAT")
    _, position = _chunk(view, position, b"IEND")
    if position != len(data):
        raise BadBundle("has bytes after its end")
    return pixels


def _chunk(view: memoryview, position: int, kind: bytes) -> tuple[memoryview, int]:
    """The content of the chunk at `position`, which must be of this kind, and where the next one starts."""
    if position + 12 > len(view):
        raise BadBundle(f"ends before its {kind.decode()} chunk")
    length, found = struct.unpack_from(">I4s", view, position)
    if found != kind:
        raise BadBundle(f"has a chunk {found!r} where only {kind.decode()} may stand")
    end = position + 8 + length
    if end + 4 > len(view):
        raise BadBundle(f"ends inside its {kind.decode()} chunk")
    if isal_zlib.crc32(view[position + 4 : end]) != _uint32(view, end):
        raise BadBundle(f"has a wrong checksum on its {kind.decode()} chunk")
    return view[position + 8 : end], end + 4


def _check_header(header: memoryview, width: int, height: int) -> None:
    fields: tuple[Any, ...] = struct.unpack(">IIBBBBB", header) if len(header) == 13 else ()
    if fields[:2] != (width, height):
        raise BadBundle(f"is {fields[:2]} pixels instead of {width} x {height}")
    if fields[2:] != (8, 2, 0, 0, 0):
        raise BadBundle("is not 8-bit RGB without interlace")


def _uint32(view: memoryview, position: int) -> int:
    value: int = struct.unpack_from(">I", view, position)[0]
    return value
