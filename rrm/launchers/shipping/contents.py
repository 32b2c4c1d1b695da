"""What a renderer needs at run time: the package `renderers` and the distributions it imports, file by file.

The list of distributions is `requirements-renderers.in`; what those need in turn is read from their metadata.
"""

from __future__ import annotations

import functools
import hashlib
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rrm.errors import LauncherError

ROOT = Path(__file__).resolve().parents[3]
NAMED = ROOT / "requirements-renderers.in"
SOURCES = ROOT / "renderers"

Buffer = bytes | mmap.mmap

_VERSION_DIGITS = 16
_LEFT_OUT_FOLDERS = frozenset({"__pycache__", "tests", "test"})
_LEFT_OUT_SUFFIXES = frozenset({".pyc", ".pyo", ".pyi", ".pxd", ".h", ".hpp", ".c", ".cpp", ".a", ".lib"})
_LEFT_OUT_METADATA = frozenset({"RECORD", "INSTALLER", "REQUESTED", "WHEEL", "direct_url.json", "sboms"})


@dataclass(frozen=True)
class Entry:
    """A file to be brought: where its content is here, its SHA-256 and its size in bytes."""

    read: Callable[[], Buffer]
    digest: str
    size: int


@dataclass(frozen=True)
class Contents:
    """Files by their path below the folder that the interpreter will import from. Equal files, equal `version`."""

    files: Mapping[str, Entry]

    @functools.cached_property
    def version(self) -> str:
        listed = "".join(f"{path}\0{entry.digest}\n" for path, entry in sorted(self.files.items()))
        return hashlib.sha256(listed.encode()).hexdigest()[:_VERSION_DIGITS]

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.files.values())

    @property
    def manifest(self) -> dict[str, tuple[str, int]]:
        """{path: (SHA-256, size)}"""
        return {path: (entry.digest, entry.size) for path, entry in self.files.items()}


def installed(environment: Mapping[str, str]) -> Contents:
    """The renderers with the distributions of this very environment, for a Python described by PEP 508's markers."""
    files = dict(sources().files)
    for found in closure(environment):
        files |= _files_of(found)
    return Contents(files)


def sources() -> Contents:
    """The package `renderers` alone."""
    paths = (path for path in SOURCES.rglob("*") if path.is_file() and _is_needed(path.relative_to(ROOT)))
    return Contents({path.relative_to(ROOT).as_posix(): on_disk(path) for path in paths})


def named() -> list[Requirement]:
    """The distributions that the renderers import themselves."""
    lines = (line.partition("#")[0].strip() for line in NAMED.read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line]


def closure(environment: Mapping[str, str]) -> list[Distribution]:
    """What is named and all that it needs there, as installed here. LauncherError names what is not installed."""
    found: dict[str, Distribution] = {}
    waiting = named()
    while waiting:
        wanted = waiting.pop()
        if canonicalize_name(wanted.name) in found:
            continue
        try:
            one = distribution(wanted.name)
        except PackageNotFoundError:
            raise LauncherError(
                f"{wanted.name} is not installed beside this manager, so it cannot be brought to a site. Install"
                " requirements.txt anew."
            ) from None
        found[canonicalize_name(wanted.name)] = one
        waiting += needed_by(one, environment)
    return [found[name] for name in sorted(found)]


def needed_by(one: Distribution, environment: Mapping[str, str]) -> Iterator[Requirement]:
    """What a distribution without extras needs in an environment."""
    for text in one.requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({**environment, "extra": ""}):
            yield requirement


def on_disk(path: Path) -> Entry:
    status = path.stat()
    digest, size = _digest_of(path, status.st_mtime_ns, status.st_size)
    return Entry(functools.partial(_mapped, path), digest, size)


def _mapped(path: Path) -> Buffer:
    """Not read into memory: one of the files has 180 MB."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""


@functools.lru_cache(maxsize=8192)
def _digest_of(path: Path, _changed: int, size: int) -> tuple[str, int]:
    """Read once in a process for each version of a file: there are some hundred megabytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), size


def _files_of(found: Distribution) -> dict[str, Entry]:
    if found.files is None:
        raise LauncherError(f"{found.name} has no list of its files, so it cannot be brought to a site.")
    inside = (file for file in found.files if ".." not in file.parts and _is_needed(file))
    return {file.as_posix(): on_disk(Path(str(file.locate()))) for file in inside}


def needed(paths: Iterable[str]) -> list[str]:
    """Those of a distribution's files that its import needs."""
    return [path for path in paths if _is_needed(PurePosixPath(path))]


def _is_needed(path: PurePosixPath | Path) -> bool:
    """Whether importing needs the file, or its licence wants it along: no tests, no headers, no compiled leftovers."""
    if path.parts[0].endswith(".dist-info"):
        return not _LEFT_OUT_METADATA.intersection(path.parts)
    return not _LEFT_OUT_FOLDERS.intersection(path.parts) and path.suffix not in _LEFT_OUT_SUFFIXES
