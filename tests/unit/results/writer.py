"""A bundle writer of its own: plain zlib and struct, sharing no code with what it tests."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
KINDS = ("preview", "png", "counts", "smooth")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def sub_lines(pixels: Array) -> Array:
    """Scanlines with filter Sub."""
    height, width, _ = pixels.shape
    deltas = pixels.copy()
    deltas[:, 1:] -= pixels[:, :-1]
    lines = np.ones((height, 1 + 3 * width), np.uint8)
    lines[:, 1:] = deltas.reshape(height, -1)
    return lines


def sub_png(pixels: Array, level: int = 1) -> bytes:
    """A PNG of uint8 pixels (h, w, 3), every scanline with filter Sub."""
    height, width, _ = pixels.shape
    lines = sub_lines(pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines.tobytes(), level)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def coded(values: Array, coding: Mapping[str, Any]) -> bytes:
    plain = values.astype(coding["dtype"]).tobytes()
    if coding["shuffle"]:
        size = np.dtype(coding["dtype"]).itemsize
        plain = b"".join(plain[byte::size] for byte in range(size))
    return zlib.compress(plain, 1) if coding["encoding"] == "zlib" else plain


@dataclass
class Scene:
    """A picture and its arrays: counts and smooth have row 0 at the lowest y, pixels have the highest y on top."""

    width: int
    height: int
    tile_size: int
    max_iter: int = 1000
    kinds: tuple[str, ...] = ("png", "counts", "smooth")
    scale: int = 1
    counts_coding: Mapping[str, Any] = field(
        default_factory=lambda: {"dtype": "<u2", "encoding": "zlib", "shuffle": True}
    )
    smooth_coding: Mapping[str, Any] = field(
        default_factory=lambda: {"dtype": "<f4", "encoding": "zlib", "shuffle": True}
    )

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.width * 7919 + self.height)
        shape = (self.height, self.width)
        self.counts = rng.integers(0, self.max_iter, shape, endpoint=True).astype(np.uint32)
        self.smooth = (self.counts + rng.random(shape)).astype(np.float32)
        self.pixels = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)

    @property
    def cols(self) -> int:
        return -(-self.width // self.tile_size)

    @property
    def tiles(self) -> int:
        return self.cols * -(-self.height // self.tile_size)

    def box(self, tile: int) -> tuple[slice, slice]:
        row, col = divmod(tile, self.cols)
        size = self.tile_size
        return (
            slice(row * size, min(self.height, (row + 1) * size)),
            slice(col * size, min(self.width, (col + 1) * size)),
        )

    def tile_pixels(self, tile: int) -> Array:
        rows, cols = self.box(tile)
        return self.pixels[::-1][rows, cols][::-1]

    def strip_rows(self, start: int, stop: int) -> range:
        """The rows of tiles that are sent as strips."""
        if "preview" not in self.kinds or "png" not in self.kinds:
            return range(0)
        return range(-(-start // self.cols), stop // self.cols)

    def strips(self, row: int) -> list[tuple[bytes, int]]:
        top, height = row * self.tile_size, min(self.tile_size, self.height - row * self.tile_size)
        pixels, step = self.pixels[::-1][top : top + height][::-1], max(1, 2**19 // (1 + 3 * self.width))
        return [strip(pixels[line : line + step]) for line in range(0, height, step)]

    def part(self, tile: int, kind: str) -> bytes:
        rows, cols = self.box(tile)
        if kind == "counts":
            return coded(self.counts[rows, cols], self.counts_coding)
        if kind == "smooth":
            return coded(self.smooth[rows, cols], self.smooth_coding)
        step = self.scale if kind == "preview" else 1
        return sub_png(self.tile_pixels(tile)[::step, ::step])


def strip(pixels: Array) -> tuple[bytes, int]:
    """Full-width lines as an IDAT chunk, and the Adler-32 of what it holds."""
    lines = sub_lines(pixels).tobytes()
    stream = zlib.compressobj(1, zlib.DEFLATED, -15)
    return chunk(b"IDAT", stream.compress(lines) + stream.flush(zlib.Z_SYNC_FLUSH)), zlib.adler32(lines)


def header_and_blob(
    scene: Scene, lease: str, start: int, stop: int, parts: Mapping[tuple[int, str], bytes] | None = None
) -> tuple[dict[str, Any], bytes]:
    """The header and blob of tiles start…stop-1; `parts` replaces single parts by (tile, kind).

    Where there are previews, whole rows of tiles come as strips.
    """
    rows = scene.strip_rows(start, stop)
    row_entries: list[dict[str, Any]] = []
    tiles: dict[int, dict[str, Any]] = {tile: {"tile": tile, "render_ms": 1.5} for tile in range(start, stop)}
    blob, display = b"", 0
    for kind in (kind for kind in KINDS if kind in scene.kinds):
        for tile, entry in tiles.items():
            if kind == "png" and tile // scene.cols in rows:
                continue
            data = (parts or {}).get((tile, kind)) or scene.part(tile, kind)
            entry[kind] = [len(blob), len(data)]
            blob += data
        display = display or len(blob)
        for row in rows if kind == "png" else ():
            row_entries.append({"row": row, "strips": []})
            for data, adler in scene.strips(row):
                row_entries[-1]["strips"].append([len(blob), len(data), adler])
                blob += data
    header = {
        "version": 1,
        "lease": lease,
        "start": start,
        "stop": stop,
        "preview_scale": scene.scale,
        "display_bytes": display,
        "counts": dict(scene.counts_coding) if "counts" in scene.kinds else None,
        "smooth": dict(scene.smooth_coding) if "smooth" in scene.kinds else None,
        "tiles": list(tiles.values()),
        "rows": row_entries,
    }
    return header, blob


def packed(header: Mapping[str, Any], blob: bytes) -> bytes:
    text = json.dumps(header).encode()
    return b"RRMB" + struct.pack("<I", len(text)) + text + blob


def write_bundle(path: Path, scene: Scene, lease: str, start: int, stop: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed(*header_and_blob(scene, lease, start, stop)))
