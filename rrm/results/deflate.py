"""Deflate streams by ISA-L: bounded inflation, and pieces of one stream made independently of each other."""

from __future__ import annotations

from typing import Any

from isal import isal_zlib

from rrm.errors import BadBundle

LEVEL = 1
ZLIB_HEADER = b"\x78\x01"
# an empty last block with fixed codes: what closes a deflate stream whose pieces all ended with a sync flush
LAST_BLOCK = b"\x03\x00"
# the empty stored block that a sync flush ends with
_SYNC_MARK = b"\x00\x00\xff\xff"
_ADLER_BASE = 65521

Buffer = bytes | bytearray | memoryview


def inflate(data: Buffer, size: int) -> bytes:
    """Exactly `size` bytes from a zlib stream (RFC 1950). BadBundle if there are fewer or more, or it is corrupt.

    At most size + 1 bytes are ever produced, whatever the stream claims.
    """
    return _inflated(isal_zlib.decompressobj(), data, size)


def _inflated(stream: Any, data: Buffer, size: int) -> bytes:
    try:
        plain = bytes(stream.decompress(data, size + 1))
    except isal_zlib.error as error:  # type: ignore[misc]  # its stub declares the class as an instance
        raise BadBundle(f"is not a deflate stream ({error})") from None
    if len(plain) > size:
        raise BadBundle(f"inflates to more than {size} bytes")
    if not stream.eof:
        raise BadBundle(f"ends after {len(plain)} of {size} bytes")
    if len(plain) < size:
        raise BadBundle(f"inflates to {len(plain)} bytes instead of {size}")
    if stream.unused_data:
        raise BadBundle("has bytes after its end")
    return plain


def deflate(data: Buffer) -> bytes:
    """A whole zlib stream."""
    return isal_zlib.compress(data, LEVEL)


def deflate_piece(data: Buffer) -> bytes:
    """A part of a stream: raw deflate data that ends on a byte boundary and looks back at nothing before it."""
    stream = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, -isal_zlib.MAX_WBITS)
    return bytes(stream.compress(data) + stream.flush(isal_zlib.Z_SYNC_FLUSH))


def inflate_piece(data: bytes, size: int) -> bytes:
    """Exactly `size` bytes from such a part. BadBundle if it is not one: another part could not follow it."""
    if not data.endswith(_SYNC_MARK):
        raise BadBundle("does not end on a byte boundary")
    return _inflated(isal_zlib.decompressobj(-isal_zlib.MAX_WBITS), data + LAST_BLOCK, size)


def join_adler(first: int, second: int, second_size: int) -> int:
    """The Adler-32 of two buffers laid end to end, from theirs and the size of the second (RFC 1950, section 9)."""
    low1, high1 = first & 0xFFFF, first >> 16
    low2, high2 = second & 0xFFFF, second >> 16
    low = (low1 + low2 - 1) % _ADLER_BASE
    high = (high1 + high2 + second_size * (low1 - 1)) % _ADLER_BASE
    return high << 16 | low
