"""What only processes of this machine can show: whose a pid is, what a node inherits, what is kept of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rrm.errors import LauncherError
from rrm.launchers.base import Liveness, agent_command
from rrm.launchers.local import FOLDERS_KEPT, LocalLauncher
from tests.contracts.launched import GRACE, introduction, spec, state, until


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalLauncher]:
    launcher = LocalLauncher(tmp_path, log_bytes=1000)
    yield launcher
    for handle in launcher.survey([]).strays.values():
        launcher.stop(handle, timedelta())


def test_the_shipped_agent_is_told_all_but_its_token() -> None:
    command = agent_command(replace(spec(), command=()), sys.executable)
    assert command[1:] == (
        "-m", "renderers", "mandelbrot", "--manager", "http://127.0.0.1:9", "--name", "rrm-1", "--token-file", "-",
    )  # fmt: skip


def test_a_process_that_took_over_the_pid_is_not_the_node_and_is_never_signalled(local: LocalLauncher) -> None:
    handle = local.launch(spec())
    stranger = {**handle, "start": handle["start"] - 1}
    assert state(local, stranger) is Liveness.GONE
    local.stop(stranger, timedelta())
    assert state(local, {**handle, "boot": "another-boot"}) is Liveness.GONE
    assert state(local, handle) is Liveness.RUNNING


def test_a_zombie_is_gone(local: LocalLauncher) -> None:
    from rrm.launchers.detach import boot_id, state_and_start

    child = subprocess.Popen(["sleep", "600"])
    handle = {"name": "rrm-z", "pid": child.pid, "start": state_and_start(child.pid)[1], "boot": boot_id()}
    assert state(local, handle) is Liveness.RUNNING
    child.kill()
    until(lambda: state_and_start(child.pid)[0] == "Z")
    assert state(local, handle) is Liveness.GONE
    child.wait()


def test_without_the_kernels_word_nothing_is_known_and_nothing_is_done(local: LocalLauncher, tmp_path: Path) -> None:
    handle = local.launch(spec())
    blind = LocalLauncher(tmp_path, proc=tmp_path / "no-proc")
    assert state(blind, handle) is Liveness.UNKNOWN
    found = blind.survey([])
    assert "cannot tell" in found.problem
    assert not found.strays
    for act in (lambda: blind.stop(handle, GRACE), lambda: blind.launch(spec())):
        with pytest.raises(LauncherError, match="cannot tell"):
            act()
    assert state(local, handle) is Liveness.RUNNING


def test_an_entry_that_cannot_be_read_is_unknown(local: LocalLauncher, tmp_path: Path) -> None:
    handle = local.launch(spec())
    proc = tmp_path / "proc"
    (proc / "sys/kernel/random").mkdir(parents=True)
    (proc / "sys/kernel/random/boot_id").write_text(handle["boot"])
    (proc / str(handle["pid"])).mkdir()
    (proc / str(handle["pid"]) / "stat").write_text("1 (cut")
    assert state(LocalLauncher(tmp_path, proc=proc), handle) is Liveness.UNKNOWN


def test_a_command_name_with_parentheses_and_spaces_is_read_right(local: LocalLauncher, tmp_path: Path) -> None:
    odd = tmp_path / "a) Z 0 (b"
    odd.write_text("#!/bin/sh\nread token\nwhile :; do sleep 0.05; done\n")
    odd.chmod(0o700)
    assert state(local, local.launch(replace(spec(), command=(str(odd),)))) is Liveness.RUNNING


def test_logs_stay_bounded_while_the_node_writes_on(local: LocalLauncher, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    program = f"""
import os, time
for i in range(1000): print(i)
while not os.path.exists({str(go_on)!r}): time.sleep(0.01)
print('last')
time.sleep(600)
"""
    handle = local.launch(spec(program=program))
    log = tmp_path / "nodes/rrm-1/out.log"
    until(lambda: log.stat().st_size == 3890)
    state(local, handle)
    assert log.stat().st_size == 500
    go_on.touch()
    until(lambda: local.logs(handle, "out", 2) == "999\nlast\n")


def test_a_node_inherits_no_file_and_its_folder_is_private(local: LocalLauncher, tmp_path: Path) -> None:
    handle = local.launch(spec())
    files = introduction(local, handle)["files"]
    assert isinstance(files, list)
    assert [number for number in files if number < 3] == [0, 1, 2]
    assert len(files) == 4  # the fourth is the listing itself
    modes = [path.stat().st_mode & 0o077 for path in [tmp_path / "nodes/rrm-1", *(tmp_path / "nodes/rrm-1").iterdir()]]
    assert set(modes) == {0}


def test_folders_of_nodes_long_gone_are_forgotten(local: LocalLauncher, tmp_path: Path) -> None:
    kept = local.launch(spec("rrm-kept"))
    for number in range(FOLDERS_KEPT + 5):
        folder = tmp_path / f"nodes/rrm-{number}"
        folder.mkdir()
        (folder / "pid.json").write_text(json.dumps({"name": folder.name, "pid": 2**22 + 1, "start": 1, "boot": "old"}))
        os.utime(folder, (1000 + number, 1000 + number))
    os.utime(tmp_path / "nodes/rrm-kept", (1, 1))
    local.launch(spec("rrm-new"))
    left = {folder.name for folder in (tmp_path / "nodes").iterdir()}
    assert len(left) == FOLDERS_KEPT + 1
    assert {"rrm-kept", "rrm-new", f"rrm-{FOLDERS_KEPT + 4}"} <= left
    assert "rrm-0" not in left
    assert state(local, kept) is Liveness.RUNNING
