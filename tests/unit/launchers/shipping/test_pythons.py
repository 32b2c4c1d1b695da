"""Which Python at a site is taken, and when what is installed here works there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rrm.errors import LauncherError
from rrm.launchers.shipping import contents, pythons
from rrm.launchers.shipping.pythons import Python

HERE = Python(
    "", "/venv/python", "cpython", (3, 11, 7), "cpython-311-x86_64-linux-gnu", "x86_64", ("glibc", 2, 36), True
)
SAME = replace(HERE, name="python3.11", executable="/usr/bin/python3.11", version=(3, 11, 2))
NEWER = replace(
    HERE, name="python3.12", executable="/opt/3.12", version=(3, 12, 1), soabi="cpython-312-x86_64-linux-gnu"
)
OLD = replace(
    HERE, name="python3", executable="/usr/bin/python3", version=(3, 6, 8), soabi="cpython-36m-x86_64-linux-gnu"
)
NEEDS = (2, 28)


def test_another_patch_release_is_as_good() -> None:
    assert pythons.is_alike(SAME, HERE, NEEDS)


@pytest.mark.parametrize(
    "there",
    [
        NEWER,
        replace(SAME, machine="aarch64"),
        replace(SAME, soabi="cpython-311t-x86_64-linux-gnu"),
        replace(SAME, libc=("other", 0, 0)),
        replace(SAME, libc=("glibc", 2, 17)),
    ],
)
def test_another_version_machine_or_c_library_is_not(there: Python) -> None:
    assert not pythons.is_alike(there, HERE, NEEDS)


def test_the_one_that_is_like_ours_is_taken_before_the_newest() -> None:
    assert pythons.choose([OLD, NEWER, SAME], "python3", HERE, NEEDS) is SAME
    assert pythons.choose([OLD, NEWER], "python3", HERE, NEEDS) is NEWER


def test_only_old_ones_are_listed_with_what_to_do() -> None:
    with pytest.raises(LauncherError, match=r"found Python 3\.6\.8 \(/usr/bin/python3\).*set the site's `python`"):
        pythons.choose([OLD], "python3", HERE, NEEDS)


def test_another_name_than_the_usual_stands_alone() -> None:
    assert pythons.candidates("/opt/python/bin/python3") == ["/opt/python/bin/python3"]
    assert pythons.candidates("python3")[0] == "python3"
    assert "python3.11" in pythons.candidates("python3")


def test_what_is_installed_here_works_here() -> None:
    own = pythons.here()

    assert own.is_usable
    assert pythons.is_alike(own, own, pythons.libc_needed(contents.closure(own.environment), own))
