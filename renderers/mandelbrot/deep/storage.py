"""Orbits as files, so that another process or node reads one in milliseconds instead of computing it again.

`RRMO` | uint32 version | uint32 header length | header JSON | 2·Z_0 … 2·Z_last, pairs of doubles | the entries of tiny
values (step, re, im, exponent) | SHA-256 of all before it. Little endian throughout.
"""

import contextlib
import hashlib
import json
import os
import struct
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from renderers.mandelbrot.deep.layout import PADDING
from renderers.mandelbrot.deep.model import Reference
from renderers.mandelbrot.deep.orbit import TINY_ENTRY, Orbit

MAGIC = b"RRMO"
VERSION = 1
HEADER = struct.Struct("<4sII")
LONGEST_HEADER = 1 << 16
DIGEST = 32  # bytes of a SHA-256
CHUNK = 1 << 20  # bytes read at a time


class BadOrbit(ValueError):
    """The file is not the orbit that was asked for, or it is damaged."""


class OrbitFolder:
    """Kept orbits, the least recently used of which make room for others."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._most_bytes = most_bytes

    def get(self, reference: Reference) -> Orbit | None:
        """The orbit if it is here and whole; a damaged file is removed."""
        path = self.path(reference)
        try:
            with path.open("rb") as file:
                orbit = read_orbit(file, reference)
            os.utime(path)
        except FileNotFoundError:
            return None
        except (BadOrbit, OSError):
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        return orbit

    def put(self, reference: Reference, orbit: Orbit) -> None:
        """Keep it. Write and rename: another process sees the whole file or none. A full disk is no error."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._folder, prefix="partial-", delete=False) as file:
                write_orbit(file, reference, orbit)
            os.replace(file.name, self.path(reference))
            self._make_room()

    def receive(self, reference: Reference, pieces: Iterable[bytes]) -> Orbit | None:
        """Keep the file that comes in pieces and give its orbit; None when it is not the one, or there is no room."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._folder, prefix="partial-", delete=False) as file:
                try:
                    for piece in pieces:
                        file.write(piece)
                except BaseException:
                    os.unlink(file.name)
                    raise
            os.replace(file.name, self.path(reference))
            self._make_room()
            return self.get(reference)
        return None

    def path(self, reference: Reference) -> Path:
        """Where the orbit is kept."""
        return self._folder / f"orbit-{reference.digest}.rrmo"

    def _make_room(self) -> None:
        files = [(path.stat(), path) for path in self._folder.glob("orbit-*.rrmo")]
        kept = 0
        for status, path in sorted(files, key=lambda entry: entry[0].st_mtime, reverse=True):
            kept += status.st_size
            if kept > self._most_bytes:
                path.unlink()


def write_orbit(file: Any, reference: Reference, orbit: Orbit) -> None:
    """Write the file's bytes to an open binary file."""
    header = json.dumps(_header(reference) | {"last": orbit.last, "tiny": len(orbit.tiny)}).encode()
    digest = hashlib.sha256()
    values = np.ascontiguousarray(orbit.twice[: orbit.last + 1], "<f8")
    for part in (HEADER.pack(MAGIC, VERSION, len(header)), header, values.data.cast("B"), orbit.tiny.tobytes()):
        digest.update(part)
        file.write(part)
    file.write(digest.digest())


def read_orbit(file: BinaryIO, reference: Reference) -> Orbit:
    """The orbit of `reference` from an open file. Raises BadOrbit."""
    source = _Hashed(file)
    magic, version, length = HEADER.unpack(source.take(HEADER.size))
    if magic != MAGIC or version != VERSION or length > LONGEST_HEADER:
        raise BadOrbit(f"not an orbit of version {VERSION}")
    last, tiny = _sizes(source.take(length), reference)
    twice = np.zeros((last + 1 + PADDING, 2), "<f8")
    source.fill(twice[: last + 1].data.cast("B"))
    entries = np.frombuffer(source.take(TINY_ENTRY.itemsize * tiny), TINY_ENTRY)
    if file.read(DIGEST + 1) != source.digest.digest():
        raise BadOrbit("the check sum is wrong")
    return Orbit(twice, entries)


class _Hashed:
    """A file being read; what was read is in the digest."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def take(self, size: int) -> bytes:
        part = bytearray(size)
        self.fill(memoryview(part))
        return bytes(part)

    def fill(self, room: memoryview) -> None:
        """Read as much as there is room for. Raises BadOrbit."""
        for start in range(0, len(room), CHUNK):
            part = room[start : start + CHUNK]
            if self._file.readinto(part) != len(part):  # type: ignore[attr-defined]  # files and BytesIO have it
                raise BadOrbit("the file ends too early")
            self.digest.update(part)


def _header(reference: Reference) -> dict[str, Any]:
    return {
        "digest": reference.digest,
        "bits": reference.bits,
        "max_iter": reference.max_iter,
        "escape_radius": reference.escape_radius,
    }


def _sizes(header: bytes, reference: Reference) -> tuple[int, int]:
    """How many steps and tiny values follow."""
    try:
        fields = json.loads(header)
        last, tiny = int(fields["last"]), int(fields["tiny"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadOrbit("the header cannot be read") from error
    if {name: fields.get(name) for name in _header(reference)} != _header(reference):
        raise BadOrbit("it is the orbit of another model")
    if not 1 <= last <= reference.max_iter or not 0 <= tiny <= last:
        raise BadOrbit("its sizes are impossible")
    return last, tiny
