"""Where a job's results lie, and how a file comes to its name only when it is whole."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

DRAFT_SUFFIX = ".draft"
_open_drafts: set[Path] = set()
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,127}")


class JobFiles:
    """The paths of one job's results below `root`, the folder that holds one folder for each job.

    Ids become file names, so only letters, digits, `-` and `_` are taken; ValueError otherwise.
    """

    def __init__(self, root: Path, job_id: object) -> None:
        self.folder = root / _name(job_id)
        self.ranges = self.folder / "ranges"
        self.image = self.folder / "image.png"
        self.counts = self.folder / "counts.npy"
        self.smooth = self.folder / "smooth.npy"
        self.painted = self.folder / "painted"
        self.pyramid = self.folder / "pyramid"

    def range(self, lease_id: object) -> Path:
        """The uploaded bundle of one lease."""
        return self.ranges / f"{_name(lease_id)}.rrmb"

    def painted_row(self, row: int) -> Path:
        """The bundle of a row of tiles whose picture was painted here."""
        return self.painted / f"{row}.rrmb"

    def array(self, kind: str) -> Path:
        """The composed array: kind is "counts" or "smooth"."""
        return {"counts": self.counts, "smooth": self.smooth}[kind]

    def export(self, name: str) -> Path:
        """The results in another format, such as smooth.tiff."""
        return self.folder / name

    def pyramid_tile(self, level: int, col: int, row: int) -> Path:
        """One Deep Zoom tile; row 0 is the top of the picture."""
        return self.pyramid / str(level) / f"{col}_{row}.png"

    def remove(self) -> None:
        """Delete everything the job has. Safe to repeat; the folder leaves its name before its content goes."""
        doomed = draft_path(self.folder)
        with suppress(FileNotFoundError):
            self.folder.rename(doomed)
        discard(doomed)


def draft_path(target: Path) -> Path:
    """A fresh name beside `target` (same file system, so that a rename is atomic)."""
    return target.with_name(f".{target.name}.{secrets.token_hex(6)}{DRAFT_SUFFIX}")


@contextmanager
def drafted(target: Path) -> Iterator[Path]:
    """A path to write to; it becomes `target`, file or folder, when the block ends well, and vanishes when not."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = draft_path(target)
    _open_drafts.add(draft)
    try:
        yield draft
        publish(draft, target)
    finally:
        _open_drafts.discard(draft)
        discard(draft)


def abandon_drafts(folder: Path) -> None:
    """Delete what this process is writing in `folder`, for one that is about to end in the middle of it."""
    for draft in [draft for draft in list(_open_drafts) if draft.parent == folder]:
        discard(draft)


def publish(draft: Path, target: Path) -> None:
    """Give a whole file or folder its name, in place of what had it."""
    if draft.is_dir():
        _publish_folder(draft, target)
    else:
        draft.replace(target)


def _publish_folder(draft: Path, target: Path) -> None:
    # rename() does not replace a folder that has content: the old one steps aside first. Another process may do the
    # same at the same moment, hence the loop; whoever comes last stays.
    while not _renamed(draft, target):
        aside = draft_path(target)
        with suppress(FileNotFoundError):
            target.rename(aside)
        discard(aside)


def _renamed(draft: Path, target: Path) -> bool:
    try:
        draft.rename(target)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
            return False
        raise
    return True


def discard(path: Path) -> None:
    """Delete a file or folder that may already be gone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def clear_drafts(root: Path, older_than: timedelta) -> int:
    """Delete what killed processes left half-written below `root` (all jobs); say how many entries went.

    `older_than` must exceed the time a living process may take between the last write to a draft and giving it its
    name: an hour is ample.
    """
    limit = time.time() - older_than.total_seconds()
    removed = 0
    for entry in _drafts(root):
        if _last_written(entry) < limit:
            discard(Path(entry.path))
            removed += 1
    return removed


def _drafts(root: Path) -> Iterator[os.DirEntry[str]]:
    for job in _entries(root):
        inside = () if job.name.endswith(DRAFT_SUFFIX) else (*_entries(job), *_entries(Path(job.path, "ranges")))
        yield from (entry for entry in (job, *inside) if entry.name.endswith(DRAFT_SUFFIX))


def _entries(folder: Path | os.DirEntry[str]) -> list[os.DirEntry[str]]:
    """What is in a folder; nothing if it is no folder, or gone."""
    try:
        return list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _last_written(entry: os.DirEntry[str]) -> float:
    """When the entry, or for a folder any folder right inside it, was last written to; 0 if it is gone."""
    try:
        times = [entry.stat().st_mtime]
        if entry.is_dir():
            times += [inner.stat().st_mtime for inner in os.scandir(entry.path)]
    except FileNotFoundError:
        return 0.0
    return max(times)


def _name(value: object) -> str:
    text = str(value)
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} cannot be a file name")
    return text
