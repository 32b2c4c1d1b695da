"""The node as a process."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from renderers import __version__
from renderers.mandelbrot.native import load
from tests.unit.renderers.manager_server import LAUNCH_TOKEN, Manager, endless_lease, lease_document, serving
from tests.unit.renderers.processes import ROOT, launched


@contextmanager
def node(manager: Manager, *options: str, token: str = LAUNCH_TOKEN) -> Iterator["subprocess.Popen[str]"]:
    load()  # the code is kept, so that the process does not compile
    command = [sys.executable, "-m", "renderers", "mandelbrot", "--manager", manager.url, "--threads", "1", *options]
    process = launched(command, token, RRM_NODE_NAME="rrm-from-environment")
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def manager() -> Iterator[Manager]:
    with serving(Manager(leases=[lease_document("a")])) as running:
        yield running


def test_a_node_starts_works_and_drains_on_sigterm(manager: Manager) -> None:
    with node(manager) as process:
        manager.wait_for(lambda: "a" in manager.uploads)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
        assert process.returncode == 0
        assert manager.bodies("goodbye") == [{"reason": "done"}]
        assert manager.bodies("register")[0]["node"] == "rrm-from-environment"
        assert manager.bodies("register")[0]["pid"] == process.pid
        assert LAUNCH_TOKEN not in log


def test_the_token_is_read_from_a_file(manager: Manager, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(LAUNCH_TOKEN + "\n")
    with node(manager, "--token-file", str(tmp_path / "token"), "--name", "rrm-named", token="") as process:
        manager.wait_for(lambda: "a" in manager.uploads)
        assert manager.bodies("register")[0]["node"] == "rrm-named"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


@pytest.mark.parametrize("signals", [[signal.SIGTERM, signal.SIGTERM], [signal.SIGINT]])
def test_a_second_sigterm_or_sigint_leaves_at_once(manager: Manager, signals: list[signal.Signals]) -> None:
    manager.leases[:] = [endless_lease()]
    with node(manager) as process:
        manager.wait_for(lambda: any(beat["leases"] for beat in manager.bodies("heartbeat")))
        process.send_signal(signals[0])
        for number in signals[1:]:  # two that come together are one
            assert process.stderr is not None
            while "draining" not in process.stderr.readline():
                assert process.poll() is None
            process.send_signal(number)
        process.communicate(timeout=60)
        assert process.returncode == 130
        assert not manager.uploads


def test_a_refused_token_ends_the_process_with_4(manager: Manager) -> None:
    with node(manager, token="wrong") as process:
        _, log = process.communicate(timeout=60)
        assert process.returncode == 4
        assert "wrong" not in log


def test_the_version_is_printed() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "renderers", "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == __version__


def test_warm_makes_the_kernel_ready() -> None:
    load()
    result = subprocess.run(
        [sys.executable, "-m", "renderers", "warm"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert re.match(r"kernel ready in \d+\.\d\d s, kept in /", result.stdout)


def test_warm_says_what_this_machine_does_not_have() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "renderers", "warm"],
        cwd=ROOT,
        env={**os.environ, "RRM_KERNEL": "vax"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("RRM_KERNEL=vax: this machine has auto, ")


def test_a_node_that_is_ended_after_a_while_leaves_in_order_before(manager: Manager, tmp_path: Path) -> None:
    told = tmp_path / "exit.json"
    with node(manager, "--lifetime", "2", "--exit-file", str(told)) as process:
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert manager.bodies("register")[0]["lifetime_seconds"] == 2.0
    assert manager.bodies("goodbye") == [{"reason": "done"}]
    assert {"code": 0, "reason": "done"}.items() <= json.loads(told.read_text()).items()


def test_the_warning_of_a_scheduler_drains(manager: Manager) -> None:
    with node(manager) as process:
        manager.wait_for(lambda: "a" in manager.uploads)
        process.send_signal(signal.SIGUSR1)
        process.communicate(timeout=60)
        assert process.returncode == 0
