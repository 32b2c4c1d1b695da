"""What every launcher promises (`rrm.launchers.base`), on every launcher there is, with real processes.

A new kind of site adds a line to `LAUNCHERS`: how to make its launcher, and how a test learns the pid of a node. The
SSH host is a real sshd on this machine, so that the processes can be looked at.
"""

from __future__ import annotations

import json
import os
import pwd
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from deployment.minicluster.cluster import MiniCluster
from deployment.minicluster.sshd import SshHost
from rrm.errors import LauncherError
from rrm.launchers.base import Handle, Launcher, Liveness, Survey
from rrm.launchers.connection import Connection, Target
from rrm.launchers.local import LocalLauncher
from rrm.launchers.slurm import SlurmLauncher
from rrm.launchers.ssh import SshLauncher
from tests.contracts.launched import BROUGHT, GRACE, PROGRAM, TOKEN, Site, introduction, spec, state, until
from tests.fake_slurm import FakeSlurm
from tests.far_end import FarEnd
from tests.hosts import target_of

STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + PROGRAM
WITH_CHILD = "import subprocess; subprocess.Popen(['sleep', '613'])\n" + PROGRAM
WITH_ESCAPED_GROUP = "import subprocess; subprocess.Popen(['sleep', '614'], process_group=0)\n" + PROGRAM


def _pid(handle: Handle) -> int:
    return int(handle["pid"])


def _local(request: pytest.FixtureRequest) -> Site:
    folder = request.getfixturevalue("tmp_path")
    return Site(LocalLauncher(folder), lambda: LocalLauncher(folder), _pid)


def _ssh(request: pytest.FixtureRequest) -> Site:
    host: SshHost = request.getfixturevalue("ssh_host")
    target = target_of(host)

    def made() -> Launcher:
        return SshLauncher(Connection(target), lambda _connection: BROUGHT)

    return Site(made(), made, _pid, python="/usr/bin/python3")


def _slurm(request: pytest.FixtureRequest) -> Site:
    cluster: MiniCluster = request.getfixturevalue("shared_cluster")
    target = target_of(cluster.login)
    return _scheduled(lambda: Connection(target), Path(pwd.getpwnam(cluster.login.account).pw_dir) / target.folder)


def _slurm_fake(request: pytest.FixtureRequest) -> Site:
    fake = FakeSlurm(request.getfixturevalue("tmp_path"))
    target = Target(site="fake", host=str(fake.folder), python=sys.executable, installation="tests")
    return _scheduled(lambda: FarEnd(target, fake.environment), fake.folder / target.folder)


def _scheduled(line: Callable[[], Connection | FarEnd], folder: Path) -> Site:
    nodes = folder / "nodes"

    def made() -> Launcher:
        never = timedelta()
        return SlurmLauncher(line(), lambda _connection: BROUGHT, poll_interval=never, doubt=never)

    def pid(handle: Handle) -> int:
        start = nodes / handle["name"] / "start.json"
        until(lambda: start.exists() and json.loads(start.read_text())["job"] == handle["job"])
        return int(json.loads(start.read_text())["pid"])

    return Site(made(), made, pid, python="/usr/bin/python3", is_prompt=False)


LAUNCHERS = {"local": _local, "ssh": _ssh, "slurm": _slurm, "slurm-fake": _slurm_fake}


@pytest.fixture(params=LAUNCHERS)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    made = LAUNCHERS[request.param](request)
    yield made
    for handle in made.launcher.survey([]).strays.values():
        made.launcher.stop(handle, timedelta())


def test_a_launched_node_runs_until_it_is_stopped(site: Site) -> None:
    handle = site.launcher.launch(site.spec())
    site.comes_to(handle, Liveness.RUNNING)
    introduction(site.launcher, handle)
    site.end(handle)


def test_a_handle_is_json_and_finds_the_node_after_a_restart(site: Site) -> None:
    handle = json.loads(json.dumps(site.launcher.launch(site.spec())))
    restarted = site.restarted()
    site.comes_to(handle, Liveness.RUNNING, restarted)
    site.end(handle, launcher=restarted)


def test_a_second_launch_of_a_name_adopts_the_living_process(site: Site) -> None:
    first = site.launcher.launch(site.spec())
    assert site.launcher.launch(site.spec()) == first
    assert site.restarted().launch(site.spec()) == first


def test_launches_of_one_name_at_the_same_moment_start_one_process(site: Site) -> None:
    with ThreadPoolExecutor(4) as pool:
        handles = list(pool.map(lambda _: site.restarted().launch(site.spec()), range(4)))
    assert handles == [handles[0]] * 4


def test_a_name_whose_process_has_gone_can_be_launched_again(site: Site) -> None:
    first = site.launcher.launch(site.spec())
    pid = site.pid(first)
    site.end(first)
    second = site.launcher.launch(site.spec())
    assert site.pid(second) != pid
    site.comes_to(second, Liveness.RUNNING)
    assert state(site.launcher, first) is Liveness.GONE


def test_the_token_comes_on_standard_input_and_shows_nowhere(site: Site) -> None:
    handle = site.launcher.launch(site.spec())
    assert introduction(site.launcher, handle)["token"] == TOKEN
    shown = [Path(f"/proc/{site.pid(handle)}/{file}").read_bytes() for file in ("cmdline", "environ")]
    assert all(TOKEN.encode() not in text for text in [*shown, json.dumps(handle).encode()])
    assert TOKEN not in repr(site.spec())


def test_the_node_gets_its_settings_and_no_secret_of_the_manager(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://rrm:secret@db/rrm")
    monkeypatch.setenv("RRM_SECRET_KEY", "s" * 50)
    handle = site.launcher.launch(site.spec(COLOUR="blue", RRM_NODE_NAME="another"))
    environment = introduction(site.launcher, handle)["environment"]
    assert isinstance(environment, dict)
    assert environment["COLOUR"] == "blue"
    assert environment["RRM_NODE_NAME"] == "rrm-1"
    assert {"PATH", "RRM_DATA"} <= environment.keys()
    assert not {"DATABASE_URL", "RRM_SECRET_KEY"} & environment.keys()


def test_a_node_is_nobodys_zombie_and_has_a_session_of_its_own(site: Site) -> None:
    if not site.is_prompt:
        pytest.skip("its scheduler keeps account of what a node starts, and sessions of its own would hide it")
    handle = site.launcher.launch(site.spec())
    pid = site.pid(handle)
    assert os.getsid(pid) == os.getpgid(pid) == pid
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def test_a_node_that_ends_by_itself_or_by_force_is_gone(site: Site) -> None:
    short = site.launcher.launch(site.spec("rrm-short", "print('done')"))
    killed = site.launcher.launch(site.spec("rrm-killed"))
    os.kill(site.pid(killed), signal.SIGKILL)
    until(lambda: state(site.launcher, short) is state(site.launcher, killed) is Liveness.GONE)
    assert site.launcher.logs(short, "out", 10) == "done\n"


def test_a_survey_answers_for_every_node_asked_for(site: Site) -> None:
    running = site.launcher.launch(site.spec())
    site.comes_to(running, Liveness.RUNNING)
    found = site.launcher.survey([running, {"name": "never-launched"}])
    assert {name: seen.liveness for name, seen in found.nodes.items()} == {
        "rrm-1": Liveness.RUNNING,
        "never-launched": Liveness.GONE,
    }
    assert (found.strays, found.problem) == ({}, "")


def test_a_launch_whose_answer_was_lost_is_found_by_name(site: Site) -> None:
    handle = site.launcher.launch(site.spec())
    site.comes_to({"name": "rrm-1"}, Liveness.RUNNING)
    assert site.launcher.survey([]).strays == {"rrm-1": handle}
    site.launcher.stop({"name": "rrm-1"}, GRACE)
    site.comes_to(handle, Liveness.GONE)


def test_strays_are_found_and_the_gone_and_the_known_are_not(site: Site) -> None:
    assert site.launcher.survey([]) == Survey({})
    handles = {name: site.launcher.launch(site.spec(name)) for name in ("rrm-1", "rrm-2", "rrm-3")}
    site.end(handles.pop("rrm-2"))
    assert site.restarted().survey([]).strays == handles
    assert site.restarted().survey([handles.pop("rrm-1")]).strays == handles


def test_stopping_is_idempotent(site: Site) -> None:
    handle = site.launcher.launch(site.spec())
    for _ in range(3):
        site.end(handle)
    assert site.launcher.stop(handle, GRACE)
    assert site.launcher.stop({"name": "never-launched"}, GRACE)


def test_a_node_that_will_not_end_is_killed_after_the_grace(site: Site) -> None:
    handle = site.launcher.launch(site.spec(program=STUBBORN))
    introduction(site.launcher, handle)
    begin = time.monotonic()
    site.end(handle, timedelta(seconds=0.3))
    assert time.monotonic() - begin >= 0.3


@pytest.mark.parametrize(("program", "seconds"), [(WITH_CHILD, "613"), (WITH_ESCAPED_GROUP, "614")])
def test_nothing_that_a_node_started_outlives_its_stop(site: Site, program: str, seconds: str) -> None:
    handle = site.launcher.launch(site.spec(program=program))
    introduction(site.launcher, handle)
    session = os.getsid(site.pid(handle))
    assert sleepers(session, seconds)
    site.end(handle)
    until(lambda: not sleepers(session, seconds))  # a process that was killed needs a moment to be gone


def sleepers(session: int, seconds: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == f"sleep\0{seconds}\0".encode() and os.getsid(int(path.parent.name)) == session:
                found.append(int(path.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def test_what_cannot_be_started_is_an_error_that_says_why(site: Site) -> None:
    hopeless = replace(site.spec(), command=("/no-such-program",))
    if site.is_prompt:
        with pytest.raises(LauncherError, match="no-such-program"):
            site.launcher.launch(hopeless)
    else:
        site.comes_to(site.launcher.launch(hopeless), Liveness.GONE)
        assert "no-such-program" in site.launcher.logs({"name": "rrm-1"}, "err", 1)
        assert "exit code 127" in site.launcher.survey([{"name": "rrm-1"}]).nodes["rrm-1"].reason
    assert state(site.launcher, {"name": "rrm-1"}) is Liveness.GONE
    site.comes_to(site.launcher.launch(site.spec()), Liveness.RUNNING)


def test_logs_give_the_last_lines_of_each_stream(site: Site) -> None:
    program = (
        "import sys; [print(i) for i in range(5)]; print('\\u00e9', file=sys.stderr); sys.stdout.buffer.write(b'\\xff')"
    )
    handle = site.launcher.launch(site.spec(program=program))
    until(lambda: state(site.launcher, handle) is Liveness.GONE)
    assert site.launcher.logs(handle, "out", 3) == "3\n4\n\ufffd\n"
    assert site.launcher.logs(handle, "err", 100) == "é\n"
    assert site.launcher.logs(handle, "out", 0) == ""
    assert site.launcher.logs({"name": "never-launched"}, "out", 9) == ""


@pytest.mark.parametrize("name", ["", "../up", "a/b", "Upper", "-dash", "a" * 101, "a b", "a\n"])
def test_a_name_that_could_lead_astray_is_refused(name: str) -> None:
    with pytest.raises(LauncherError):
        spec(name)
