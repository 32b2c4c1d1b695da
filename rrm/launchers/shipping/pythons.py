"""Which Python at a site runs the renderers, and whether the files of this manager's environment work there."""

from __future__ import annotations

import os
import platform
import re
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution
from typing import Any

from packaging.markers import default_environment

from rrm.errors import LauncherError

OLDEST = (3, 11)
BEFORE = (3, 14)
USUAL = ("python3.13", "python3.12", "python3.11", "python3")

_LEGACY = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
_MANYLINUX = re.compile(r"manylinux_(\d+)_(\d+)_")


@dataclass(frozen=True)
class Python:
    """An interpreter: `name` is what was asked for, `soabi` what its extension modules have to be made for."""

    name: str
    executable: str
    implementation: str
    version: tuple[int, int, int]
    soabi: str
    machine: str
    libc: tuple[str, int, int]
    has_pip: bool = False

    @classmethod
    def from_report(cls, report: Mapping[str, Any]) -> Python:
        """From what the site says of it."""
        major, minor, micro = report["version"]
        libc, libc_major, libc_minor = report["libc"]
        return cls(
            name=str(report["name"]),
            executable=str(report["executable"]),
            implementation=str(report["implementation"]),
            version=(int(major), int(minor), int(micro)),
            soabi=str(report["soabi"]),
            machine=str(report["machine"]),
            libc=(str(libc), int(libc_major), int(libc_minor)),
            has_pip=bool(report["has_pip"]),
        )

    @property
    def is_usable(self) -> bool:
        return self.implementation == "cpython" and OLDEST <= self.version[:2] < BEFORE

    @property
    def environment(self) -> dict[str, str]:
        """What PEP 508's markers are asked about, as that Python would answer."""
        markers: Mapping[str, Any] = default_environment()
        major, minor, _ = self.version
        full = ".".join(map(str, self.version))
        of_site = {"python_version": f"{major}.{minor}", "python_full_version": full, "platform_machine": self.machine}
        return {name: str(value) for name, value in markers.items()} | of_site | {"implementation_version": full}

    @property
    def tag(self) -> str:
        """What compiled distributions for it have in common."""
        return f"{self.soabi}-{self.libc[0]}"

    def __str__(self) -> str:
        return f"Python {'.'.join(map(str, self.version))} ({self.executable})"


def here() -> Python:
    """The manager's own."""
    libc = _libc(os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in os.confstr_names else None)
    return Python(
        "",
        sys.executable,
        sys.implementation.name,
        sys.version_info[:3],
        str(sysconfig.get_config_var("SOABI")),
        platform.machine(),
        libc,
    )


def _libc(said: str | None) -> tuple[str, int, int]:
    found = re.match(r"(\w+) (\d+)\.(\d+)", said or "")
    return (found[1], int(found[2]), int(found[3])) if found else ("", 0, 0)


def candidates(wanted: str) -> list[str]:
    """The names to look for, the operator's first; a name other than the usual one stands alone."""
    return [wanted] if wanted != "python3" else ["python3", *(name for name in USUAL if name != "python3")]


def choose(found: Sequence[Python], wanted: str, own: Python, needs: tuple[int, int]) -> Python:
    """The one whose renderers can be brought from here, else the first that is new enough. Raises LauncherError."""
    usable = [python for python in found if python.is_usable]
    if not usable:
        seen = "; ".join(map(str, found)) or "none"
        raise LauncherError(
            f"No Python at the site can run the renderers: found {seen}; looked for {', '.join(candidates(wanted))}."
            f" CPython {OLDEST[0]}.{OLDEST[1]} to {BEFORE[0]}.{BEFORE[1] - 1} is needed: set the site's `python` to the"
            " absolute path of one, or have it installed."
        )
    return next((python for python in usable if is_alike(python, own, needs)), usable[0])


def is_alike(python: Python, own: Python, needs: tuple[int, int]) -> bool:
    """Whether compiled files made for `own`, which need glibc `needs`, work under `python`."""
    same = (python.soabi, python.machine, python.libc[0]) == (own.soabi, own.machine, own.libc[0])
    return same and python.libc[1:] >= needs


def libc_needed(found: Iterable[Distribution], own: Python) -> tuple[int, int]:
    """The oldest version of the C library with which all of these work, from the tags of their wheels."""
    return max((_needed(one.read_text("WHEEL") or "", own) for one in found), default=(0, 0))


def _needed(wheel: str, own: Python) -> tuple[int, int]:
    """A wheel lists several tags when it works with any of those libraries: the oldest counts."""
    tags = [line.partition(":")[2].strip() for line in wheel.splitlines() if line.startswith("Tag:")]
    if tags and all(tag.endswith("-any") for tag in tags):
        return (0, 0)
    known = [(int(match[1]), int(match[2])) for tag in tags if (match := _MANYLINUX.search(tag))]
    known += [version for tag in tags for name, version in _LEGACY.items() if f"{name}_" in tag]
    return min(known, default=own.libc[1:])
