"""Encoders: PNG with Sub-filtered rows in one IDAT, box-averaged previews, and packed count and smooth arrays.

Sizes and times below are means over 256² tiles of two views on one core.
"""

import contextlib
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from renderers.mandelbrot.layout import CHANNELS
from renderers.mandelbrot.native import function
from renderers.mandelbrot.palette import Bytes

fast_zlib: Any = None
with contextlib.suppress(ImportError):  # there are processor architectures without a wheel
    from isal import isal_zlib as fast_zlib

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
RGB_8_BIT = (8, 2, 0, 0, 0)  # bit depth, colour type, compression, filter method, no interlace

# isal packs smooth values in 0.2 to 0.4 ms to a fifth or a half; zlib needs 1.5 to 5 ms for that, more than it saves.
ENCODING = "raw" if fast_zlib is None else "zlib"


def deflate(data: Any) -> bytes:
    """An RFC 1950 stream of the bytes, as quickly as this installation can."""
    if fast_zlib is None:
        return zlib.compress(data, 1)
    return bytes(fast_zlib.compress(data, 1))


def png(picture: Bytes) -> bytes:
    """A PNG of RGB rows (height x 3·width): Sub filter on every row, one IDAT."""
    height, row_bytes = picture.shape
    header = struct.pack(">IIBBBBB", row_bytes // CHANNELS, height, *RGB_8_BIT)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", deflate(_filtered(picture).data)), _chunk(b"IEND", b""))
    return PNG_SIGNATURE + b"".join(chunks)


def strip(picture: Bytes) -> tuple[bytes, int]:
    """Some contiguous lines of a picture as an IDAT chunk that others can follow, and the Adler-32 of its scanlines."""
    scanlines = _filtered(picture).data
    maker = fast_zlib or zlib
    stream = maker.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    data = stream.compress(scanlines) + stream.flush(zlib.Z_SYNC_FLUSH)
    return _chunk(b"IDAT", data), int(maker.adler32(scanlines))


def _filtered(picture: Bytes) -> Bytes:
    """The scanlines of a picture: the filter's number, then each byte less that of the pixel to its left."""
    height, row_bytes = picture.shape
    filtered: Bytes = np.empty((height, row_bytes + 1), np.uint8)
    function("sub_filter")(picture.ctypes.data, filtered.ctypes.data, height, row_bytes)
    return filtered


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = (fast_zlib or zlib).crc32(data, zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(data)), kind, data, struct.pack(">I", checksum)))


def preview(picture: Bytes, factor: int) -> bytes:
    """A PNG of the picture reduced by box average to ceil(width / factor) x ceil(height / factor)."""
    height, width = picture.shape[0], picture.shape[1] // CHANNELS
    reduced = np.empty((-(-height // factor), CHANNELS * -(-width // factor)), np.uint8)
    function("average")(picture.ctypes.data, reduced.ctypes.data, height, width, factor)
    return png(reduced)


def pack(values: NDArray[Any], *, shuffle: bool) -> bytes:
    """The array's little-endian bytes, regrouped by significance when `shuffle`, encoded as ENCODING says."""
    octets = values.reshape(-1).view(np.uint8)
    if shuffle:
        octets = np.ascontiguousarray(octets.reshape(-1, values.itemsize).T).reshape(-1)
    return octets.tobytes() if fast_zlib is None else deflate(octets.data)
