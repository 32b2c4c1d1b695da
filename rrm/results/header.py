"""The header of a bundle: what it says, parsed and refused when its shape is wrong.

A bundle is `RRMB`, the header's length (uint32, little endian), the header (JSON, UTF-8) and the blob. Offsets count
from the start of the blob. The content of the blob, and whether it answers the lease, is the business of `checks`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rrm.errors import BadBundle

MAGIC = b"RRMB"
VERSION = 1
PREFIX_BYTES = 8
MAX_HEADER_BYTES = 16 * 2**20
# the order in which the blob holds them
KINDS = ("preview", "png", "counts", "smooth")
DTYPES = {"counts": ("<u2", "<u4"), "smooth": ("<f4",)}
ENCODINGS = ("raw", "zlib")
_MOST_MILLISECONDS = 1e12  # thirty years
_FIELDS = {"version", "lease", "start", "stop", "preview_scale", "display_bytes", "counts", "smooth", "tiles", "rows"}
_CODING_FIELDS = {"dtype", "encoding", "shuffle"}
_ROW_FIELDS = {"row", "strips"}
_TILE_FIELDS = {"tile", "render_ms", *KINDS}

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Coding:
    """How the arrays of one kind are stored."""

    dtype: str
    encoding: str
    shuffle: bool


@dataclass(frozen=True, slots=True)
class Part:
    offset: int
    length: int

    @property
    def end(self) -> int:
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class StripPart(Part):
    """A strip of the picture, as the IDAT chunk that it is; `adler` is the Adler-32 of what it inflates to."""

    adler: int


@dataclass(frozen=True, slots=True)
class RowEntry:
    """A whole row of tiles, whose picture was sent as strips of full lines, the highest first."""

    row: int
    strips: tuple[StripPart, ...]


@dataclass(frozen=True, slots=True)
class TileEntry:
    tile: int
    render_ms: float
    parts: Mapping[str, Part]


@dataclass(frozen=True, slots=True)
class Header:
    lease: str
    start: int
    stop: int
    preview_scale: int
    display_bytes: int
    codings: Mapping[str, Coding]
    tiles: tuple[TileEntry, ...] = field(repr=False)
    rows: tuple[RowEntry, ...] = field(repr=False)

    @property
    def render_ms(self) -> float:
        return math.fsum(entry.render_ms for entry in self.tiles)

    @property
    def is_pictured(self) -> bool:
        """Whether there is a full-size picture of every tile, of its own or as part of strips."""
        tiles = sum("png" in entry.parts for entry in self.tiles)
        return tiles == len(self.tiles) or bool(self.rows)

    def strips(self, row: int) -> tuple[StripPart, ...] | None:
        """The strips of a row of tiles; None if this bundle has the row's pictures, if any, tile by tile."""
        return next((entry.strips for entry in self.rows if entry.row == row), None)

    def part(self, tile: int, kind: str) -> Part | None:
        """Where a part lies; None if this bundle has no such tile or no such part of it."""
        if not self.start <= tile < self.start + len(self.tiles):
            return None
        return self.tiles[tile - self.start].parts.get(kind)


def parse(data: bytes) -> Header:
    """BadBundle names what is missing, unknown or of the wrong type."""
    source = _load(data)
    _refuse_unknown(source, _FIELDS, "the header")
    if (version := _integer(source, "version", "the header")) != VERSION:
        raise BadBundle(f"the header is of version {version!r:.20}, not {VERSION}")
    start, tiles, rows = _integer(source, "start", "the header"), source.get("tiles"), source.get("rows", [])
    if not isinstance(tiles, list) or not isinstance(rows, list):
        raise BadBundle("the header has no list of tiles, or rows that are no list")
    return Header(
        lease=_string(source, "lease", "the header"),
        start=start,
        stop=_integer(source, "stop", "the header"),
        preview_scale=_integer(source, "preview_scale", "the header"),
        display_bytes=_integer(source, "display_bytes", "the header"),
        codings={kind: _coding(source[kind], kind) for kind in DTYPES if source.get(kind) is not None},
        tiles=tuple(_tile(entry, start + number) for number, entry in enumerate(tiles)),
        rows=tuple(_row(entry) for entry in rows),
    )


def _load(data: bytes) -> Json:
    try:
        source = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise BadBundle("the header is not JSON") from None
    return _mapping(source, "the header")


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _coding(value: object, kind: str) -> Coding:
    source = _mapping(value, f"the header's {kind}")
    _refuse_unknown(source, _CODING_FIELDS, f"the header's {kind}")
    dtype, encoding, shuffle = source.get("dtype"), source.get("encoding"), source.get("shuffle")
    if dtype not in DTYPES[kind] or encoding not in ENCODINGS or not isinstance(shuffle, bool):
        raise BadBundle(f"the header's {kind} has an unknown dtype, encoding or shuffle")
    return Coding(dtype, encoding, shuffle)


def _tile(value: object, expected: int) -> TileEntry:
    """One entry of the list, which must be tile number `expected`: all tiles once, in order, without a gap."""
    where = f"tile {expected}"
    source = _mapping(value, where)
    _refuse_unknown(source, _TILE_FIELDS, where)
    if (found := _integer(source, "tile", where)) != expected:
        raise BadBundle(f"tile {found!r:.20} stands where tile {expected} is due")
    parts = {kind: _part(source[kind], f"{where}: {kind}") for kind in KINDS if kind in source}
    return TileEntry(expected, _milliseconds(source.get("render_ms"), where), parts)


def _row(value: object) -> RowEntry:
    source = _mapping(value, "a row")
    _refuse_unknown(source, _ROW_FIELDS, "a row")
    row, strips = _integer(source, "row", "a row"), source.get("strips")
    if not isinstance(strips, list):
        raise BadBundle(f"row {row} has no list of strips")
    return RowEntry(row, tuple(_strip(entry, f"row {row}: strip {number}") for number, entry in enumerate(strips)))


def _strip(value: object, where: str) -> StripPart:
    match value:
        case [int(offset), int(length), int(adler)] if min(offset, length, adler) >= 0:
            return StripPart(offset, length, adler)
    raise BadBundle(f"{where} is not [offset, length, adler]")


def _milliseconds(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _MOST_MILLISECONDS:
        raise BadBundle(f"{where}: render_ms is not a number of milliseconds")
    return float(value)


def _part(value: object, where: str) -> Part:
    match value:
        case [int(offset), int(length)] if offset >= 0 <= length:
            return Part(offset, length)
    raise BadBundle(f"{where} is not [offset, length]")


def _mapping(value: object, where: str) -> Json:
    if not isinstance(value, dict):
        raise BadBundle(f"{where} is not an object")
    return value


def _refuse_unknown(source: Json, known: set[str], where: str) -> None:
    if unknown := source.keys() - known:
        raise BadBundle(f"{where} has unknown fields: {', '.join(map(repr, sorted(unknown))):.200}")


def _integer(source: Json, key: str, where: str) -> int:
    value = source.get(key)
    if type(value) is not int:  # a JSON true is an int to isinstance
        raise BadBundle(f"{where}: {key} is not an integer")
    return value


def _string(source: Json, key: str, where: str) -> str:
    value = source.get(key)
    if not isinstance(value, str):
        raise BadBundle(f"{where}: {key} is not a string")
    return value
