"""Getting the renderers to a site: which version belongs there, whether it is there, and bringing it.

The files of this manager's own environment are carried over the site's connection when the Python there can use them;
otherwise pinned distributions come from wheels that an operator gives, or from the index that the site's pip reaches.
A version is named by a digest of what it consists of, so that bringing it twice is the same as once.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import posixpath
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rrm.errors import LauncherError, SiteUnavailable
from rrm.launchers import far
from rrm.launchers.connection import Connection, Target
from rrm.launchers.shipping import contents, installer, pins, probe, pythons, receiving, wheels
from rrm.launchers.shipping.contents import Contents
from rrm.launchers.shipping.pythons import Python
from rrm.launchers.shipping.stream import Progress, packed

LOOK_SECONDS = 30.0
INSTALL_SECONDS = 1800.0
LOCK_SECONDS = 600.0
KNOWN_FOR = 300.0
TROUBLE_FOR = 10.0
_PIP_BYTES = 400_000_000  # what the distributions take, roughly: they are not known before pip has them


@dataclass(frozen=True)
class Renderers:
    """An installed version: PYTHONPATH=`lib` `python` -m renderers … runs it at the site."""

    version: str
    lib: str
    python: str


@dataclass(frozen=True)
class Report:
    """What a bootstrap did. `did` is "installed", "switched" (it was there, and was not current) or "nothing"."""

    renderers: Renderers
    did: str
    way: str
    python: Python
    seconds: float
    sent: int = 0
    packed: int = 0
    size: int = 0
    files: int = 0
    removed: Sequence[str] = ()
    test: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Found:
    """What is at a site, and what should be: `version` of what is made by `way`, for `python`."""

    root: str
    python: Python
    version: str
    way: str
    current: str
    installed: Mapping[str, Mapping[str, Any]]
    carried: Contents
    requirements: str = ""  # for pip there
    kind: str = ""  # a digest of the distributions, where they are not those of this environment
    base: str = ""  # a version there with the same distributions

    @property
    def is_ready(self) -> bool:
        record = self.installed.get(self.version, {})
        return self.current == self.version and record.get("python") == self.python.executable

    @property
    def renderers(self) -> Renderers:
        return Renderers(self.version, posixpath.join(self.root, self.version, "lib"), self.python.executable)


def ensure_renderers(connection: Connection) -> Renderers:
    """The current version of the renderers at the site, brought there if need be: once, whoever asks meanwhile.

    Raises SiteUnavailable for what may pass by itself, a full disk among it, and LauncherError for what somebody has to
    mend.
    """
    return _known.get(connection)


def forget(target: Target) -> None:
    """Look again before the next node: what was installed may be gone."""
    _known.forget(target)


def bootstrap(connection: Connection, *, wheel_folder: Path | None = None, progress: Progress | None = None) -> Report:
    """Bring the renderers to the site, or find them there. Raises as `ensure_renderers` does."""
    began = time.monotonic()
    found = look(connection, wheel_folder)
    report = Report(found.renderers, "nothing", found.way, found.python, 0.0)
    if not found.is_ready:
        report = _bring(connection, found, progress or _silent)
    forget(connection.target)
    return replace(report, seconds=time.monotonic() - began)


def look(connection: Connection, wheel_folder: Path | None = None, seconds: float = LOOK_SECONDS) -> Found:
    """What is there and what should be; one question. LauncherError: nothing can be brought, with what to do."""
    said = _look(connection, seconds)
    own = pythons.here()
    needs = pythons.libc_needed(contents.closure(own.environment), own)
    python = pythons.choose(_pythons_of(said), connection.target.python, own, needs)
    there = {"root": said["root"], "python": python, "current": said["current"], "installed": said["installed"]}
    if pythons.is_alike(python, own, needs):
        carried = contents.installed(python.environment)
        return Found(version=carried.version, way="carried", carried=carried, **there)
    return _for_other_python(there, python, wheel_folder)


def requirements(connection: Connection) -> str:
    """The pinned distributions for the Python at the site, as pip reads them."""
    own = pythons.here()
    there = _pythons_of(_look(connection))
    return pins.as_text(pins.needed(pythons.choose(there, connection.target.python, own, (0, 0)).environment))


def try_out(connection: Connection, renderers: Renderers, seconds: float) -> dict[str, Any]:
    """Render one tile with an installed version: {version, python, kernel, cores, ok, seconds}."""
    asked = {"op": "test", "version": renderers.version, "python": renderers.python, "seconds": seconds}
    return _ask(connection, asked, seconds + 2)


def _look(connection: Connection, seconds: float = LOOK_SECONDS) -> dict[str, Any]:
    names = pythons.candidates(connection.target.python)
    return _ask(connection, {"op": "look", "pythons": names, "probe": inspect.getsource(probe)}, seconds)


def _pythons_of(said: Mapping[str, Any]) -> list[Python]:
    """The interpreters that were found at a site."""
    return [Python.from_report(report) for report in said["pythons"]]


def _for_other_python(there: Mapping[str, Any], python: Python, wheel_folder: Path | None) -> Found:
    """Its own distributions: those of a version that is there, else wheels that were given, else pip there."""
    wanted = pins.needed(python.environment)
    text, sources = pins.as_text(wanted), contents.sources()
    kind = hashlib.sha256(f"{text}\n{python.tag}".encode()).hexdigest()
    version = hashlib.sha256(f"{sources.version}\n{kind}".encode()).hexdigest()[:16]
    base = next((name for name, record in there["installed"].items() if record.get("kind") == kind), "")
    facts = {**there, "version": version, "kind": kind}
    if base:
        return Found(way="renewed", carried=sources, base=base, **facts)
    if wheel_folder is not None:
        files = {**sources.files, **wheels.unpacked(wheel_folder, wanted, python).files}
        return Found(way="wheels", carried=Contents(files), **facts)
    if python.has_pip:
        return Found(way="index", carried=sources, requirements=text, **facts)
    raise LauncherError(
        f"{python} at the site differs from the manager's {pythons.here()}, so what is installed here does not work"
        f" there, and it has no pip. {wheels.how_to_fetch(python)}"
    )


def _plan(connection: Connection, found: Found) -> tuple[dict[str, str], list[str]]:
    """{path: version there that has the same file}, and the paths that have to be sent."""
    if found.version in found.installed:
        return {}, []
    manifest = found.carried.manifest
    more = _PIP_BYTES if found.way == "index" else 0
    request = {"op": "plan", "manifest": manifest, "base": found.base, "more": more, "wait": LOCK_SECONDS}
    kept = _ask(connection, request, INSTALL_SECONDS)["kept"]
    return kept, [path for path in manifest if path not in kept]


def _bring(connection: Connection, found: Found, progress: Progress) -> Report:
    """Ask which files are missing, send them, and have them checked, tried and named."""
    kept, missing = _plan(connection, found)
    sent = _Counted(packed(found.carried, missing, progress))
    record = {
        "way": found.way,
        "kind": found.kind,
        "python": found.python.executable,
        "python_version": ".".join(map(str, found.python.version)),
    }
    answer = _install(
        connection,
        found,
        {
            "op": "install",
            "version": found.version,
            "manifest": found.carried.manifest,
            "kept": kept,
            "requirements": found.requirements,
            "record": record,
            "wait": LOCK_SECONDS,
        },
        sent,
    )
    told = answer["record"]
    return Report(
        renderers=found.renderers,
        did=answer["did"],
        way=found.way,
        python=found.python,
        seconds=0.0,
        sent=sent.bytes,
        packed=sum(found.carried.files[path].size for path in missing),
        size=told["bytes"],
        files=told["files"],
        removed=answer["removed"],
        test=told["test"],
    )


def _install(
    connection: Connection, found: Found, request: Mapping[str, Any], files: Iterable[bytes]
) -> dict[str, Any]:
    try:
        return _ask(connection, request, INSTALL_SECONDS, files)
    except SiteUnavailable:
        raise
    except LauncherError as error:
        if found.way != "index":
            raise
        raise LauncherError(f"{error.detail} {wheels.how_to_fetch(found.python)}") from None


def _ask(
    connection: Connection,
    request: Mapping[str, Any],
    timeout: float = LOOK_SECONDS,
    files: Iterable[bytes] = (),
) -> dict[str, Any]:
    """Have `shipping/far.py` answer there. What it cannot do is raised, by whether it may pass by itself."""
    asked = {**request, "folder": connection.target.folder}
    answer: dict[str, Any] = connection.call(_far_end(), asked, timeout, files)
    if "trouble" in answer:
        raise (SiteUnavailable if answer["passes"] else LauncherError)(answer["trouble"])
    return answer


@functools.cache
def _far_end() -> str:
    return far.bundle(installer, receiving)


def _silent(_done: int, _total: int) -> None:
    """Progress that nobody looks at."""


class _Counted:
    """Passes pieces on and counts their bytes."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self.bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece = next(self._pieces)
        self.bytes += len(piece)
        return piece


class _Known:
    """What this process knows of each site: asked once for all that wait, kept for minutes, troubles for seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sites: dict[Target, _Site] = {}

    def get(self, connection: Connection) -> Renderers:
        return self._site(connection.target).get(connection)

    def forget(self, target: Target) -> None:
        self._site(target).until = 0.0

    def _site(self, target: Target) -> _Site:
        with self._lock:
            return self._sites.setdefault(target, _Site())


class _Site:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answer: Renderers | LauncherError = LauncherError()
        self.until = 0.0

    def get(self, connection: Connection) -> Renderers:
        with self._lock:
            if time.monotonic() >= self.until:
                self._learn(connection)
            if isinstance(self._answer, LauncherError):
                raise self._answer
            return self._answer

    def _learn(self, connection: Connection) -> None:
        try:
            self._answer, known_for = bootstrap(connection).renderers, KNOWN_FOR
        except LauncherError as error:
            self._answer, known_for = error, TROUBLE_FOR
        self.until = time.monotonic() + known_for


_known = _Known()
