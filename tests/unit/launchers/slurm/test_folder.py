"""What is done in a node's folder without a question to the scheduler."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from rrm.launchers import logs
from rrm.launchers.base import Liveness, Observation
from rrm.launchers.slurm import surveying
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


CANCELLED = "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-11-21T08:22:00 ***\n"


@pytest.mark.parametrize(
    ("stopping", "log", "reason"),
    [
        ({"forced": False}, "", "Ended as it was told to."),
        ({"forced": True}, CANCELLED, "Ended as it was told to."),
        ({"forced": False}, CANCELLED, "Cancelled by root."),
        (
            {"forced": False},
            f"slurmstepd: error: exceeded memory limit\n{CANCELLED}",
            "Its job needed more memory than it had asked for.",
        ),
        (None, CANCELLED.replace(" ***", " DUE TO TIME LIMIT ***"), "Its job reached its time limit."),
    ],
)
def test_a_job_that_somebody_else_cancelled_does_not_count_as_told_to_end_though_it_was_seen_off(
    tmp_path: Path, stopping: dict[str, bool] | None, log: str, reason: str
) -> None:
    folder = NodeFolder(tmp_path, "rrm-1")
    folder.path.mkdir(parents=True)
    (folder.path / "err.log").write_text(log)
    folder.mark("exit", job="7", status=143, told="yes")
    if stopping is not None:
        folder.mark("stopping", job="7", at=1.0, **stopping)
    assert surveying._noted(folder, "7", Observation(Liveness.GONE, "Cancelled by root.")).reason == reason


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
