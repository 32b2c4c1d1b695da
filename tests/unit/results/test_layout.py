"""Result files have fixed places, appear whole or not at all, and leave nothing behind."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from threading import Thread
from uuid import uuid4

import pytest

from rrm.results.layout import JobFiles, clear_drafts, draft_path, drafted, publish


def folder_of(path: Path, text: str) -> Path:
    (path / "0").mkdir(parents=True)
    (path / "0" / "0_0.png").write_text(text)
    return path


def test_everything_of_a_job_lies_in_its_folder(tmp_path: Path) -> None:
    job, lease = uuid4(), uuid4()
    files = JobFiles(tmp_path, job)
    assert files.range(lease) == tmp_path / str(job) / "ranges" / f"{lease}.rrmb"
    assert files.image == tmp_path / str(job) / "image.png"
    assert files.array("smooth") == tmp_path / str(job) / "smooth.npy"
    assert files.pyramid_tile(3, 1, 2) == tmp_path / str(job) / "pyramid" / "3" / "1_2.png"


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "x" * 200, "a\0b"])
def test_an_id_that_would_lead_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a file name"):
        JobFiles(tmp_path, name)
    with pytest.raises(ValueError, match="cannot be a file name"):
        JobFiles(tmp_path, "job").range(name)


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "image.png"
    with drafted(target) as draft:
        draft.write_text("half")
        assert draft.parent == target.parent
        assert not target.exists()
        draft.write_text("whole")
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_a_failure_keeps_the_old_file_and_no_draft(tmp_path: Path) -> None:
    target = tmp_path / "image.png"
    target.write_text("old")

    def interrupted() -> None:
        with drafted(target) as draft:
            draft.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_a_folder_replaces_the_one_that_has_its_name(tmp_path: Path) -> None:
    target = folder_of(tmp_path / "pyramid", "old")
    with drafted(target) as draft:
        folder_of(draft, "new")
    assert (target / "0" / "0_0.png").read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_folders_published_at_the_same_time_leave_one_whole(tmp_path: Path) -> None:
    target = tmp_path / "pyramid"
    drafts = [folder_of(draft_path(target), str(number)) for number in range(20)]
    threads = [Thread(target=publish, args=(draft, target)) for draft in drafts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(tmp_path.iterdir()) == [target]
    assert (target / "0" / "0_0.png").read_text().isdigit()


def test_removing_a_job_is_complete_and_may_be_repeated(tmp_path: Path) -> None:
    files = JobFiles(tmp_path, "job")
    folder_of(files.pyramid, "x")
    files.remove()
    files.remove()
    assert list(tmp_path.iterdir()) == []


def test_there_is_nothing_to_clear_before_the_first_job(tmp_path: Path) -> None:
    assert clear_drafts(tmp_path / "jobs", timedelta(0)) == 0


def test_only_drafts_that_nobody_writes_to_any_more_are_cleared(tmp_path: Path) -> None:
    files, hour_ago = JobFiles(tmp_path, "job"), time.time() - 3600
    folder_of(files.pyramid, "x")
    files.ranges.mkdir()
    kept = [files.range("lease"), draft_path(files.image), draft_path(files.range("fresh"))]
    old = [draft_path(files.counts), draft_path(files.range("lease"))]
    for path in (*kept, *old):
        path.write_text("x")
    old_folders = [folder_of(draft_path(files.pyramid), "old"), folder_of(draft_path(files.folder), "removed")]
    in_use = folder_of(draft_path(files.pyramid), "in use")
    for path in (kept[0], *old, in_use, *old_folders, *(folder / "0" for folder in old_folders)):
        os.utime(path, (hour_ago, hour_ago))
    assert clear_drafts(tmp_path, timedelta(minutes=10)) == 4
    assert all(path.exists() for path in (*kept, in_use, files.pyramid))
    assert not any(path.exists() for path in (*old, *old_folders))
