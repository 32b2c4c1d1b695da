"""What is done in a node's folder without a question to the scheduler."""

from __future__ import annotations

import threading
from pathlib import Path

from rrm.launchers import logs
from rrm.launchers.slurm.cancelling import cancel
from rrm.launchers.slurm.folder import NodeFolder


def test_a_member_of_a_job_that_somebody_else_cancelled_is_not_noted_as_told_to_end(tmp_path: Path) -> None:
    folder = NodeFolder(tmp_path, "rrm-1")
    folder.path.mkdir(parents=True)
    handle = {"name": "rrm-1.1", "of": "rrm-1", "job": "7", "machines": 2, "member": 1}
    ending = threading.Timer(0.1, lambda: folder.mark("exit", job="7", status=137, told=""))
    ending.start()

    assert cancel(tmp_path, handle, 10, "rrm:x", proven=True)

    assert folder.read("stopping") == {}


def test_a_log_that_outgrew_its_limit_keeps_its_end_and_who_appends_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "err.log"
    with path.open("a") as writer:
        writer.write("old\n" * 100 + "new\n" * 25)
        writer.flush()
        logs.trim(tmp_path, 200)
        writer.write("last\n")
    assert path.read_text() == "new\n" * 25 + "last\n"
    assert logs.tail(path, 2) == "new\nlast\n"
    assert logs.tail(tmp_path / "out.log", 2) == ""
