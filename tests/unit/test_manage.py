"""`manage.py`: an environment that cannot be used ends it with one line."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "manage.py"


def manage(tmp_path: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
    return subprocess.run(
        [sys.executable, str(PROGRAM), *arguments],
        env={**inherited, "RRM_DATA": str(tmp_path), **environ},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RRM_PORT", "abc"),
        ("RRM_PORT", "99999"),
        ("RRM_DATA", "/proc/x"),
        ("RRM_DATA", "/dev/null"),
        ("DATABASE_URL", "foo"),
        ("DATABASE_URL", "postgres://rrm:pass/word@db:5432/rrm"),
        ("REDIS_URL", "http://localhost:6379"),
        ("RRM_TRUSTED_ORIGINS", "example.org"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_in_one_line(tmp_path: Path, name: str, value: str) -> None:
    ended = manage(tmp_path, "check", **{name: value})

    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("rrm: ")
    assert ended.stderr.count("\n") == 1
    assert name in ended.stderr


def test_without_a_command_too(tmp_path: Path) -> None:
    assert manage(tmp_path, RRM_PORT="abc").returncode == 2


def test_a_good_environment_runs_the_command(tmp_path: Path) -> None:
    ended = manage(tmp_path, "check")

    assert ended.returncode == 0
    assert "no issues" in ended.stdout


@pytest.mark.parametrize("command", [["migrate"], ["plan", "--explain"]])
def test_a_database_that_cannot_be_reached_is_told_in_two_lines(tmp_path: Path, command: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    ended = manage(tmp_path, *command, DATABASE_URL=f"postgres://rrm:s3cret@127.0.0.1:{port}/rrm")

    assert ended.returncode == 2
    first, second = ended.stderr.splitlines()
    assert f"DATABASE_URL, postgres://rrm:…@127.0.0.1:{port}/rrm, cannot be reached: " in first
    assert "refused" in first
    assert second == "Start it, or correct DATABASE_URL, and run this again."
    assert "s3cret" not in ended.stderr


@pytest.mark.parametrize("command", [["check_farm"]])
def test_a_database_without_tables_is_told_with_the_command_that_makes_them(tmp_path: Path, command: list[str]) -> None:
    ended = manage(tmp_path, *command)

    assert ended.returncode == 2
    first, second = ended.stderr.splitlines()
    assert f"DATABASE_URL, sqlite:///{tmp_path}/rrm.sqlite3, lacks " in first
    assert second == "Run: ./manage.py migrate"
