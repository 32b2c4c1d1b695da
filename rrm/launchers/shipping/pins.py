"""The pinned distributions that a Python at a site needs, from `requirements.txt`."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rrm.errors import LauncherError
from rrm.launchers.shipping.contents import ROOT, named, needed_by

PINNED = ROOT / "requirements.txt"
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Pin:
    """One version of one distribution, and the SHA-256 of every file of it that may be installed."""

    name: str
    version: str
    digests: frozenset[str]

    def __str__(self) -> str:
        return " ".join((f"{self.name}=={self.version}", *(f"--hash=sha256:{each}" for each in sorted(self.digests))))


def needed(environment: Mapping[str, str]) -> list[Pin]:
    """The pins of what the renderers need under a Python that PEP 508's markers describe so, by name."""
    found: dict[str, Pin] = {}
    waiting = list(named())
    while waiting:
        name = canonicalize_name(waiting.pop().name)
        if name in found:
            continue
        found[name] = _pin_of(name, environment)
        waiting += _needs_of(name, environment)
    return [found[name] for name in sorted(found)]


def as_text(pins: Iterable[Pin]) -> str:
    """As pip reads them."""
    return "".join(f"{pin}\n" for pin in pins)


def _needs_of(name: str, environment: Mapping[str, str]) -> Iterator[Requirement]:
    """Another version needs the same as the one that is installed here; of one that is not, nothing is known."""
    try:
        yield from needed_by(distribution(name), environment)
    except PackageNotFoundError:
        return


def _pin_of(name: str, environment: Mapping[str, str]) -> Pin:
    for requirement, digests in _pins().get(name, ()):
        if requirement.marker is None or requirement.marker.evaluate(dict(environment)):
            return Pin(name, next(iter(requirement.specifier)).version, digests)
    raise LauncherError(f"{PINNED.name} has no version of {name} for Python {environment['python_full_version']}.")


@functools.cache
def _pins() -> dict[str, list[tuple[Requirement, frozenset[str]]]]:
    found: dict[str, list[tuple[Requirement, frozenset[str]]]] = {}
    lines = PINNED.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    for line in lines:
        if line.strip() and not line.lstrip().startswith("#"):
            requirement = Requirement(line.partition("--hash=")[0].strip())
            entry = (requirement, frozenset(_HASH.findall(line)))
            found.setdefault(canonicalize_name(requirement.name), []).append(entry)
    return found
