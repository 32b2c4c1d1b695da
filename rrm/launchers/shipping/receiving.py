"""Runs at a site: takes files from standard input or from another version, and lets none pass that is not as announced.

Only the standard library, and nothing that Python 3.6 does not have.
"""

import errno
import hashlib
import json
import os
import shutil
import signal
import sys
import tarfile
import zlib
from collections.abc import Iterator
from io import BufferedReader
from typing import IO, Any, cast

PIECE = 1 << 20
SILENCE_SECONDS = 120
INPUT = cast("BufferedReader", sys.stdin.buffer)


class Trouble(Exception):
    """Why it cannot be done, with what to do; `passes` if it may pass without anybody doing anything about RRM."""

    def __init__(self, sentence: str, passes: bool = False) -> None:
        super().__init__(sentence)
        self.passes = passes


def link(root: str, lib: str, kept: "dict[str, str]") -> "Iterator[tuple[str, Any]]":
    """Give files that another version has a second name; yields (path, [digest, size])."""
    manifests = {version: read_json(os.path.join(root, version, "manifest.json")) for version in set(kept.values())}
    for path, version in kept.items():
        source, place = os.path.join(root, version, "lib", path), placed(lib, path)
        try:
            os.link(source, place)
        except OSError:  # not every file system has links
            shutil.copyfile(source, place)
        yield path, manifests[version][path]


def unpack(lib: str, manifest: "dict[str, Any]", kept: "dict[str, str]") -> "dict[str, Any]":
    """The files on standard input, each as large and with the digest that was announced; all of them, no others."""
    missing = {path: expected for path, expected in manifest.items() if path not in kept}
    arrived = set()
    cut = "The connection ended in the middle; nothing was changed."
    try:
        with tarfile.open(fileobj=Input(), mode="r|gz") as archive:  # type: ignore[call-overload]
            for member in archive:
                if member.name not in missing or not member.isfile():
                    raise Trouble(f"The manager sent {member.name!r}, which it had not announced.")
                write_checked(archive.extractfile(member), placed(lib, member.name), missing[member.name])
                arrived.add(member.name)
        drain()
    except (tarfile.TarError, EOFError, zlib.error):
        raise Trouble(cut, passes=True) from None
    if arrived != set(missing):
        raise Trouble(cut, passes=True)
    return missing


def write_checked(source: "IO[bytes]", place: str, expected: "list[Any]") -> None:
    digest, size = hashlib.sha256(), 0
    with open(place, "wb") as file:
        for piece in iter(lambda: source.read(PIECE), b""):
            digest.update(piece)
            size += len(piece)
            file.write(piece)
    if [digest.hexdigest(), size] != expected:
        raise Trouble(f"{os.path.basename(place)} arrived changed; nothing was installed.", passes=True)


class Input:
    """Standard input, which gives up when nothing comes for long, because the lock is held meanwhile."""

    def read(self, size: int = PIECE) -> bytes:
        signal.signal(signal.SIGALRM, silent)
        signal.alarm(SILENCE_SECONDS)
        try:
            return INPUT.read1(size)
        finally:
            signal.alarm(0)


def silent(number: int, frame: Any) -> None:
    raise Trouble(f"Nothing came for {SILENCE_SECONDS} s; nothing was changed.", passes=True)


def drain() -> None:
    """Read what is still being sent: a sender that is cut off could lose its whole connection."""
    while Input().read():
        pass


def placed(lib: str, path: str) -> str:
    """Where a file belongs; its folder is made."""
    place = os.path.normpath(os.path.join(lib, path))
    if not place.startswith(lib + os.sep):
        raise Trouble(f"The manager named a file outside of its folder: {path!r}.")
    os.makedirs(os.path.dirname(place), mode=0o755, exist_ok=True)
    return place


def explanation(error: OSError, folder: str) -> Trouble:
    """An error of the operating system, with what to do."""
    where = error.filename or folder
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        full = "The disk" if error.errno == errno.ENOSPC else "The account's quota for the disk"
        do = "make room there, or choose another `directory` for the site."
        return Trouble(f"{full} that holds {folder} is used up: {do}", passes=True)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        do = "set the site's `directory` to a folder that the account may write to."
        return Trouble(f"{where} cannot be written to ({error.strerror}): {do}")
    return Trouble(f"{where}: {error.strerror or error}", passes=True)


def digest_of(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(PIECE), b""):
            digest.update(piece)
    return digest.hexdigest()


def read_json(path: str) -> Any:
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def write_json(path: str, content: Any) -> None:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file)
