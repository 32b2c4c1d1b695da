"""At the site nothing passes that is not exactly what was announced, and errors say what to do."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from pathlib import Path

import pytest

from rrm.launchers.shipping import receiving
from rrm.launchers.shipping.receiving import Trouble


def test_a_file_that_arrives_changed_is_refused(tmp_path: Path) -> None:
    announced = [hashlib.sha256(b"good").hexdigest(), 4]

    receiving.write_checked(io.BytesIO(b"good"), str(tmp_path / "a"), announced)
    for arrived in (b"evil", b"good and more", b"goo"):
        with pytest.raises(Trouble, match="arrived changed"):
            receiving.write_checked(io.BytesIO(arrived), str(tmp_path / "b"), announced)


@pytest.mark.parametrize("path", ["../up", "a/../../up", "/etc/passwd", "."])
def test_a_path_that_leads_elsewhere_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(Trouble, match="outside"):
        receiving.placed(str(tmp_path / "lib"), path)


@pytest.mark.parametrize(
    ("number", "said", "passes"),
    [
        (errno.ENOSPC, "The disk that holds /home/r/.rrm is used up: make room", True),
        (errno.EDQUOT, "quota for the disk that holds /home/r/.rrm is used up: make room", True),
        (errno.EROFS, "cannot be written to", False),
        (errno.EACCES, "`directory`", False),
        (errno.EIO, "Input/output error", True),
    ],
)
def test_what_the_system_says_becomes_something_to_do(number: int, said: str, passes: bool) -> None:
    trouble = receiving.explanation(OSError(number, os.strerror(number)), "/home/r/.rrm")

    assert said in str(trouble)
    assert trouble.passes is passes
