"""Loaded render models that nodes leave here, so that the next node fetches one rather than computing it again.

A file is what a node saved, byte for byte: it ends with the SHA-256 of all before it, and the node that fetches it
checks that and whose model it is. Only a node that works on a model may leave it, and the first to come is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from django.conf import settings

from rrm.domain.states import LeaseState
from rrm.errors import BadBundle, Forbidden, NotFound, TooLarge
from rrm.farm.models import Node
from rrm.results.layout import drafted

_CHUNK = 2**20
_DIGEST = hashlib.sha256().digest_size


def found(digest: str) -> Path:
    """The file of a loaded model. Raises NotFound."""
    path = _path(digest)
    try:
        os.utime(path)  # those unused for longest make room
    except FileNotFoundError:
        raise NotFound("Nobody has left this model here.") from None
    return path


def keep(node: Node, digest: str, body: BinaryIO) -> None:
    """Take what a node has loaded. Raises Forbidden, TooLarge, or BadBundle for a file that was cut or changed."""
    if not node.leases.filter(state=LeaseState.ACTIVE, job__model__digest=digest).exists():
        raise Forbidden("A node may leave a model that it works on.")
    path = _path(digest)
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with drafted(path) as draft:
        _receive(body, draft)
    _make_room(path)


def _path(digest: str) -> Path:
    folder: Path = settings.RRM.data_dir / "models"
    return folder / digest


def _receive(body: BinaryIO, draft: Path) -> None:
    """Write the body, and see that its last bytes are the digest of the others."""
    digest, tail, size = hashlib.sha256(), b"", 0
    with draft.open("wb") as file:
        while chunk := body.read(_CHUNK):
            size += len(chunk)
            if size > settings.RRM.max_body_bytes:
                raise TooLarge(f"A loaded model may have {settings.RRM.max_body_bytes} bytes.")
            file.write(chunk)
            tail += chunk
            digest.update(tail[:-_DIGEST])
            tail = tail[-_DIGEST:]
    if tail != digest.digest():
        raise BadBundle("The file does not end with the SHA-256 of what it holds.")


def _make_room(newest: Path) -> None:
    """Forget the models unused for longest, but not the newest."""
    room = settings.RRM.model_cache_bytes
    files = [(path.stat(), path) for path in newest.parent.iterdir() if path.suffix == ""]
    for status, path in sorted(files, key=lambda entry: entry[0].st_mtime, reverse=True):
        room -= status.st_size
        if room < 0 and path != newest:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
