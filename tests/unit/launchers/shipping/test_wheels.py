"""Wheels for a Python other than the manager's: the right ones, unchanged, or a sentence with what to do."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from rrm.errors import LauncherError
from rrm.launchers.shipping import wheels
from rrm.launchers.shipping.pins import Pin
from rrm.launchers.shipping.pythons import Python

THERE = Python("python3.12", "/opt/3.12", "cpython", (3, 12, 1), "cpython-312", "x86_64", ("glibc", 2, 28))


def wheel(folder: Path, name: str, **files: str) -> str:
    """A wheel with these files, "__" for "/" in their names; its SHA-256."""
    path = folder / name
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file.replace("__", "/").replace("_dot_", "."), text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_best_wheel_that_works_there_is_taken(tmp_path: Path) -> None:
    digests = {
        wheel(tmp_path, f"pack-1.0-{tag}.whl", pack_dot_py=tag)
        for tag in (
            "py3-none-any",
            "cp312-cp312-manylinux_2_28_x86_64",
            "cp312-cp312-manylinux_2_34_x86_64",
            "cp311-cp311-manylinux_2_17_x86_64",
            "cp312-cp312-manylinux_2_17_aarch64",
        )
    }

    found = wheels.unpacked(tmp_path, [Pin("pack", "1.0", frozenset(digests))], THERE)

    assert bytes(found.files["pack.py"].read()) == b"cp312-cp312-manylinux_2_28_x86_64"


def test_its_libraries_are_put_beside_its_modules_and_its_scripts_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "pack-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("pack/__init__.py", "pack-1.0.data/platlib/pack/lib.so", "pack-1.0.data/scripts/run"):
            archive.writestr(name, name)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()

    found = wheels.unpacked(tmp_path, [Pin("pack", "1.0", frozenset({digest}))], THERE)

    assert set(found.files) == {"pack/__init__.py", "pack/lib.so"}
    assert found.manifest["pack/lib.so"][1] == len("pack-1.0.data/platlib/pack/lib.so")


def test_wheels_that_are_missing_are_all_named_with_how_to_get_them(tmp_path: Path) -> None:
    wheel(tmp_path, "here-1.0-py3-none-any.whl")
    wanted = [Pin("here", "2.0", frozenset()), Pin("gone", "3.1", frozenset())]

    with pytest.raises(LauncherError, match=r"of: here 2\.0, gone 3\.1\..*pip download.*--python-version 3\.12"):
        wheels.unpacked(tmp_path, wanted, THERE)


def test_a_wheel_that_is_not_the_pinned_file_is_refused(tmp_path: Path) -> None:
    wheel(tmp_path, "pack-1.0-py3-none-any.whl", pack_dot_py="evil = True")

    with pytest.raises(LauncherError, match="is not the file"):
        wheels.unpacked(tmp_path, [Pin("pack", "1.0", frozenset({"0" * 64}))], THERE)
