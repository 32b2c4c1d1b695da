"""Where machine code is kept."""

from pathlib import Path

import pytest

from renderers.mandelbrot.cache import cache_folder


def test_the_chosen_folder_is_made_private_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RRM_KERNEL_CACHE", str(tmp_path / "kernels"))
    assert cache_folder() == tmp_path / "kernels"
    assert (tmp_path / "kernels").stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_may_write_to_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared, own = tmp_path / "shared", tmp_path / "own"
    shared.mkdir()
    shared.chmod(0o777)
    monkeypatch.setenv("RRM_KERNEL_CACHE", str(shared))
    monkeypatch.setenv("XDG_CACHE_HOME", str(own))
    assert cache_folder() == own / "rrm" / "kernels"


def test_a_folder_that_cannot_be_made_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RRM_KERNEL_CACHE", str(tmp_path / "file" / "kernels"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "rrm" / "kernels"
