"""Reads a bundle as its description says, without the renderer's code."""

import io
import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEADER_AT = 8


@dataclass(frozen=True)
class Bundle:
    header: dict[str, Any]
    blob: bytes

    @classmethod
    def read(cls, body: bytes) -> "Bundle":
        assert body[:4] == b"RRMB"
        length = int.from_bytes(body[4:HEADER_AT], "little")
        return cls(json.loads(body[HEADER_AT : HEADER_AT + length]), body[HEADER_AT + length :])

    def part(self, tile: int, section: str) -> bytes:
        entry = next(entry for entry in self.header["tiles"] if entry["tile"] == tile)
        offset, length = entry[section]
        return self.blob[offset : offset + length]

    def array(self, tile: int, section: str, shape: tuple[int, int]) -> NDArray[Any]:
        form = self.header[section]
        data = self.part(tile, section)
        octets = np.frombuffer(zlib.decompress(data) if form["encoding"] == "zlib" else data, np.uint8)
        dtype = np.dtype(form["dtype"])
        if form["shuffle"]:
            octets = np.ascontiguousarray(octets.reshape(dtype.itemsize, -1).T).reshape(-1)
        values: NDArray[Any] = octets.view(dtype).reshape(shape)
        return values

    def picture(self, tile: int, section: str) -> NDArray[np.uint8]:
        return np.asarray(Image.open(io.BytesIO(self.part(tile, section))))

    def row_picture(self, row: int, width: int) -> NDArray[np.uint8]:
        """The pixels of a row of tiles that came as strips: a PNG is made of its chunks and read."""
        entry = next(entry for entry in self.header["rows"] if entry["row"] == row)
        chunks = [self.blob[offset : offset + length] for offset, length, _ in entry["strips"]]
        scanlines = b"".join(zlib.decompressobj(-15).decompress(chunk[8:-4]) for chunk in chunks)
        height = len(scanlines) // (1 + 3 * width)
        size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        parts = (_chunk(b"IHDR", size), _chunk(b"IDAT", zlib.compress(scanlines)), _chunk(b"IEND", b""))
        return np.asarray(Image.open(io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(parts))))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
