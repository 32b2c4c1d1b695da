"""Runs at a site: looks at what is there, says what is missing, and puts a new version of the renderers in place.

Only the standard library, and nothing that Python 3.6 does not have. `main` answers one request; one to install is
followed by the files, a gzipped tar, on standard input. What goes wrong is answered as {"trouble": a sentence,
"passes": whether it may pass by itself}, and nothing is left of what failed.

    DIRECTORY/INSTALLATION/renderers/VERSION/lib/…   what the interpreter imports
                                    /VERSION/manifest.json, installed.json
                                    /current         a link to the version that new nodes use
                                    /lock            held while anything is changed here
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from rrm.launchers.shipping.receiving import (
    PIECE,
    Trouble,
    digest_of,
    drain,
    explanation,
    link,
    read_json,
    unpack,
    write_json,
)

VERSION = re.compile(r"[0-9a-f]{16}\Z")
UNFINISHED = (".incoming-", ".removed-")
SECRET_OR_LONG = ("token", "out.log", "err.log")
PROBE_SECONDS = 10
TEST_SECONDS = 120
PIP_SECONDS = 900
KEPT_VERSIONS = 2
MEGABYTE = 1e6


def main(request: "dict[str, Any]") -> "dict[str, Any]":
    """The answer to {"op": "look" | "plan" | "install", "folder": DIRECTORY/INSTALLATION, …}."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # leave through every `finally`
    folder = os.path.join(os.path.expanduser("~"), os.path.expanduser(request["folder"]))
    try:
        return OPERATIONS[request["op"]](os.path.join(folder, "renderers"), request)
    except Trouble as trouble:
        return {"trouble": str(trouble), "passes": trouble.passes}
    except OSError as error:
        explained = explanation(error, folder)
        return {"trouble": str(explained), "passes": explained.passes}


def look(root: str, request: "dict[str, Any]") -> "dict[str, Any]":
    """Which Pythons there are, which versions are installed and which of them is current."""
    found = (probed(name, request["probe"]) for name in request["pythons"])
    return {
        "root": root,
        "pythons": [python for python in found if python],
        "installed": installed(root),
        "current": current(root),
    }


def plan(root: str, request: "dict[str, Any]") -> "dict[str, Any]":
    """{path: version that has the same file} of the manifest; then it is certain that the rest has room there.

    With a `base` it has every file of that version but the renderers' own.
    """
    prepare(root)
    with locked(root, request["wait"]):
        sweep(root)
    kept = {}  # type: dict[str, str]
    wanted = request["manifest"]
    for version in sorted(installed(root)):
        there = read_json(os.path.join(root, version, "manifest.json"))
        if version == request["base"]:
            kept.update({path: version for path in there if not path.startswith("renderers/")})
        same = [path for path in wanted if path not in kept and wanted[path] == there.get(path)]
        lib = os.path.join(root, version, "lib")
        kept.update({path: version for path in same if is_intact(os.path.join(lib, path), wanted[path])})
    missing = sum(size for path, (_, size) in wanted.items() if path not in kept)
    require_space(root, missing + request["more"])
    return {"kept": kept}


def is_intact(path: str, expected: "list[Any]") -> bool:
    """Whether a file is still what was installed: some sites add their own certificates, for one, to what they find."""
    with contextlib.suppress(OSError):
        return [digest_of(path), os.path.getsize(path)] == expected
    return False


def install(root: str, request: "dict[str, Any]") -> "dict[str, Any]":
    """Unpack standard input beside the final place, check and try it, and only then give it its name."""
    version = request["version"]
    prepare(root)
    with locked(root, request["wait"]):
        sweep(root)
        is_there = version in installed(root)
        if is_there:
            drain()
            use_python(root, version, request["record"])
        else:
            build(root, version, request)
        before = switch(root, version)
        record = installed(root)[version]
        removed = prune(root, {version, before})
        return {"did": "switched" if is_there else "installed", "record": record, "removed": removed}


def use_python(root: str, version: str, record: "dict[str, Any]") -> None:
    """Note another interpreter that new nodes of this version are started with."""
    place = os.path.join(root, version, "installed.json")
    changed = {name: record[name] for name in ("python", "python_version")}
    write_json(place + ".new", dict(read_json(place), **changed))
    os.replace(place + ".new", place)


def build(root: str, version: str, request: "dict[str, Any]") -> None:
    incoming = tempfile.mkdtemp(prefix=UNFINISHED[0], dir=root)
    try:
        lib = os.path.join(incoming, "lib")
        os.mkdir(lib)
        manifest = dict(link(root, lib, request["kept"]))
        manifest.update(unpack(lib, request["manifest"], request["kept"]))
        if request["requirements"]:
            pip(request["record"]["python"], lib, request["requirements"])
            manifest = measured(lib)
        test = tried(request["record"]["python"], lib)
        size = sum(size for _, size in manifest.values())
        record = dict(request["record"], bytes=size, files=len(manifest), test=test, at=time.time())
        write_json(os.path.join(incoming, "manifest.json"), manifest)
        write_json(os.path.join(incoming, "installed.json"), record)
        os.rename(incoming, os.path.join(root, version))
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def probed(name: str, probe: str) -> "dict[str, Any] | None":
    """What the interpreter of this name says of itself; nothing when there is none.

    It is known by the place where it was found, not by what it calls itself: that may be a script which sets things up.
    """
    executable = shutil.which(os.path.expanduser(name))
    try:
        done = run([executable or name, "-I", "-c", probe], PROBE_SECONDS)
        return dict(json.loads(done.stdout), name=name, executable=executable) if done.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def installed(root: str) -> "dict[str, dict[str, Any]]":
    """{version: its record}"""
    found = {}
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(root):
            if VERSION.match(name):
                with contextlib.suppress(FileNotFoundError, ValueError):
                    found[name] = read_json(os.path.join(root, name, "installed.json"))
    return found


def current(root: str) -> str:
    try:
        return os.readlink(os.path.join(root, "current"))
    except OSError:
        return ""


def prepare(root: str) -> None:
    """Make the folder; refuse one that somebody else could fill, because what lies there is executed."""
    os.makedirs(root, mode=0o700, exist_ok=True)
    for folder in (root, os.path.dirname(root)):
        status = os.stat(folder)
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise Trouble(
                f"{folder} can be written to by others, who could replace the renderers: run `chmod go-w {folder}`"
                " there, or choose another `directory` for the site."
            )
    if os.statvfs(root).f_flag & os.ST_NOEXEC:
        raise Trouble(
            f"{root} lies on a file system that is mounted noexec, where no compiled library can be loaded: choose"
            " another `directory` for the site."
        )


def require_space(root: str, size: int) -> None:
    status = os.statvfs(root)
    free = status.f_bavail * status.f_frsize
    if free < size:
        raise Trouble(
            f"The disk that holds {root} has {free / MEGABYTE:.0f} MB free and the renderers need"
            f" {size / MEGABYTE:.0f} MB: make room there, or choose another `directory` for the site.",
            passes=True,
        )


@contextlib.contextmanager
def locked(root: str, seconds: float) -> "Iterator[None]":
    """One at a time; the end of a process gives the lock back. File systems without locks have to do without."""
    descriptor = os.open(os.path.join(root, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        wait_for(descriptor, root, time.time() + seconds)
        yield
    finally:
        os.close(descriptor)


def wait_for(descriptor: int, root: str, end: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.time() > end:
                raise Trouble(f"Renderers are being installed in {root} already; try later.", passes=True) from None
            time.sleep(0.05)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
                raise
            return


def sweep(root: str) -> None:
    """Remove what an interrupted installation left."""
    for name in os.listdir(root):
        if name.startswith(UNFINISHED):
            shutil.rmtree(os.path.join(root, name), ignore_errors=True)


def pip(python: str, lib: str, requirements: str) -> None:
    """Install pinned distributions, each with its digest, from the index that pip is set up to use there."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(requirements)
        file.flush()
        chosen = ["--require-hashes", "--only-binary=:all:", "--no-deps", "--requirement", file.name]
        quiet = ["--quiet", "--no-input", "--disable-pip-version-check", "--no-compile", "--retries=1", "--timeout=10"]
        done = run([python, "-m", "pip", "install", "--target", lib, *quiet, *chosen], PIP_SECONDS)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise Trouble("pip could not install the distributions there: " + " ".join(said[-2:])[:600])


def measured(lib: str) -> "dict[str, Any]":
    """The manifest of what lies below a folder."""
    paths = [os.path.join(folder, name) for folder, _, names in os.walk(lib) for name in names]
    return {os.path.relpath(path, lib): [digest_of(path), os.path.getsize(path)] for path in paths}


def tried(python: str, lib: str, seconds: float = TEST_SECONDS) -> "dict[str, Any]":
    """Import everything that a node imports and render one tile, as a node would."""
    environment = dict(os.environ, PYTHONPATH=lib, PYTHONNOUSERSITE="1")
    failed = f"The renderers do not run there with {python}: "
    try:
        done = run([python, "-m", "renderers.selftest"], seconds, cwd=lib, env=environment)
        if done.returncode == 0:
            return dict(json.loads(done.stdout))
    except (ValueError, subprocess.TimeoutExpired) as error:
        raise Trouble(failed + str(error)) from None
    said = (done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}").splitlines()[-1]
    raise Trouble(failed + said[:400])


def switch(root: str, version: str) -> str:
    """Let new nodes use this version; those that run keep theirs. The answer is what was current before."""
    before = current(root)
    draft = os.path.join(root, UNFINISHED[0] + "current")
    with contextlib.suppress(FileNotFoundError):
        os.remove(draft)
    os.symlink(version, draft)
    os.replace(draft, os.path.join(root, "current"))
    return before


def prune(root: str, kept: "set[str]") -> "list[str]":
    """Remove the oldest versions that no node uses; of those not to be kept, the newest fill up to KEPT_VERSIONS."""
    others = {name: record.get("at", 0) for name, record in installed(root).items() if name not in kept}
    spare = max(0, KEPT_VERSIONS - len(kept - {""}))
    old = sorted(others, key=lambda name: float(others[name]), reverse=True)[spare:]
    unused = [name for name in old if not is_used(root, name)]
    for name in unused:
        doomed = tempfile.mkdtemp(prefix=UNFINISHED[1], dir=root)
        os.rename(os.path.join(root, name), os.path.join(doomed, name))
        shutil.rmtree(doomed, ignore_errors=True)
    return unused


def is_used(root: str, version: str) -> bool:
    """Whether a node runs from this version: a process here, or one elsewhere whose folder here names it."""
    nodes = os.path.join(os.path.dirname(root), "nodes")
    folders = os.listdir(nodes) if os.path.isdir(nodes) else []
    if any(has_started(os.path.join(nodes, name), version) for name in folders):
        return True
    return any(mentions(f"/proc/{pid}/environ", version) for pid in os.listdir("/proc") if pid.isdigit())


def has_started(folder: str, version: str) -> bool:
    """Whether the node of this folder has not ended, and a file there names the version that it was started with."""
    if not os.path.isdir(folder) or os.path.exists(os.path.join(folder, "exit.json")):
        return False
    return any(mentions(os.path.join(folder, name), version) for name in os.listdir(folder))


def mentions(path: str, word: str) -> bool:
    if os.path.basename(path) in SECRET_OR_LONG or not os.path.isfile(path):
        return False
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return word.encode() in file.read(PIECE)
    return False


def run(command: "list[str]", seconds: float, **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        timeout=seconds,
        check=False,
        **options,
    )


def test(root: str, request: "dict[str, Any]") -> "dict[str, Any]":
    """Try an installed version without changing anything."""
    return tried(request["python"], os.path.join(root, request["version"], "lib"), request["seconds"])


OPERATIONS = {"look": look, "plan": plan, "install": install, "test": test}
