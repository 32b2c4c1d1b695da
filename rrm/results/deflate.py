"""Deflate streams by ISA-L: bounded inflation, and pieces of one stream made independently of each other."""

from __future__ import annotations

from dataclasses import dataclass

from isal import isal_zlib

from rrm.errors import BadBundle

LEVEL = 1
ZLIB_HEADER = b"\x78\x01"
# an empty last block with fixed codes: what closes a deflate stream whose pieces all ended with a sync flush
LAST_BLOCK = b"\x03\x00"
_ADLER_BASE = 65521

Buffer = bytes | bytearray | memoryview


def inflate(data: Buffer, size: int) -> bytes:
    """Exactly `size` bytes from a zlib stream (RFC 1950). BadBundle if there are fewer or more, or it is corrupt.

    At most size + 1 bytes are ever produced, whatever the stream claims.
    """
    stream = isal_zlib.decompressobj()
    try:
        plain = stream.decompress(data, size + 1)
    except isal_zlib.error as error:  # type: ignore[misc]  # its stub declares the class as an instance
        raise BadBundle(f"is not a zlib stream ({error})") from None
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


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a stream: raw deflate data that ends on a byte boundary, the checksum and size of what it holds."""

    data: bytes
    adler: int
    size: int


class PieceMaker:
    """Deflates one piece from buffers given one after the other."""

    def __init__(self) -> None:
        self._stream = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, -isal_zlib.MAX_WBITS)
        self._parts: list[bytes] = []
        self._adler = 1
        self._size = 0

    def add(self, data: memoryview) -> None:
        self._parts.append(self._stream.compress(data))
        self._adler = isal_zlib.adler32(data, self._adler)
        self._size += data.nbytes

    def piece(self) -> Piece:
        self._parts.append(self._stream.flush(isal_zlib.Z_SYNC_FLUSH))
        return Piece(b"".join(self._parts), self._adler, self._size)


def join_adler(first: int, second: int, second_size: int) -> int:
    """The Adler-32 of two buffers laid end to end, from theirs and the size of the second (RFC 1950, section 9)."""
    low1, high1 = first & 0xFFFF, first >> 16
    low2, high2 = second & 0xFFFF, second >> 16
    low = (low1 + low2 - 1) % _ADLER_BASE
    high = (high1 + high2 + second_size * (low1 - 1)) % _ADLER_BASE
    return high << 16 | low
