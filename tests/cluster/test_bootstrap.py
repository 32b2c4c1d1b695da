"""Bringing the renderers to a real host over SSH, and everything that may go wrong on the way."""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from deployment.minicluster.sshd import SshHost
from renderers import __version__
from rrm.errors import LauncherError, SiteUnavailable
from rrm.launchers.base import Liveness, NodeSpec
from rrm.launchers.bootstrap import Report, bootstrap, ensure_renderers, forget
from rrm.launchers.connection import Connection, Target
from rrm.launchers.shipping import contents
from rrm.launchers.ssh import SshLauncher
from tests.hosts import running_host, target_of

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def host() -> Iterator[SshHost]:
    with running_host() as one:
        yield one


@pytest.fixture
def target(host: SshHost) -> Target:
    return target_of(host)


@pytest.fixture(scope="module")
def furnished(host: SshHost) -> tuple[Target, Report]:
    """A site that has the renderers, and what bringing them said."""
    target = target_of(host)
    return target, bootstrap(Connection(target))


def home_of(host: SshHost) -> Path:
    return Path(pwd.getpwnam(host.account).pw_dir)


def root_of(host: SshHost, target: Target) -> Path:
    return home_of(host) / target.folder / "renderers"


def left_in(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()} - {"lock"} if root.is_dir() else set()


def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("file systems are mounted by root alone")


@contextlib.contextmanager
def mounted(place: Path, account: str, options: str) -> Iterator[None]:
    """A small file system of the account's own."""
    place.mkdir()
    user = pwd.getpwnam(account)
    owner = f"uid={user.pw_uid},gid={user.pw_gid},mode=700"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"{options},{owner}", "rrm-test", str(place)], check=False)
    if done.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_the_renderers_are_brought_and_render_there(host: SshHost, furnished: tuple[Target, Report]) -> None:
    target, report = furnished

    assert (report.did, report.way) == ("installed", "carried")
    assert report.test is not None
    assert report.test["ok"] is True
    assert 0 < report.sent < report.size
    assert report.size > 1e6
    command = ["env", f"PYTHONPATH={report.renderers.lib}", report.renderers.python, "-m", "renderers", "--version"]
    assert Connection(target).run(command).stdout.decode().strip() == __version__
    assert left_in(root_of(host, target)) == {report.renderers.version, "current"}


def test_nothing_is_taken_from_the_account_or_its_python(furnished: tuple[Target, Report]) -> None:
    target, report = furnished
    program = "import numpy, httpx, llvmlite; print(*(m.__file__ for m in (numpy, httpx, llvmlite)))"
    command = ["env", f"PYTHONPATH={report.renderers.lib}", report.renderers.python, "-c", program]

    places = Connection(target).run(command).stdout.decode().split()

    assert len(places) == 3
    assert all(place.startswith(report.renderers.lib) for place in places)


def test_a_second_time_changes_nothing_and_takes_a_moment(furnished: tuple[Target, Report]) -> None:
    target, before = furnished
    again = bootstrap(Connection(target))

    assert (again.did, again.sent) == ("nothing", 0)
    assert again.renderers == before.renderers


def test_another_version_sends_only_what_differs(host: SshHost, furnished: tuple[Target, Report]) -> None:
    target, before = furnished
    with contextlib.ExitStack() as undo:
        extra = contents.SOURCES / "new_in_this_version.py"
        extra.write_text("NEW = True\n")
        undo.callback(extra.unlink)
        newer = bootstrap(Connection(target))

    assert newer.renderers.version != before.renderers.version
    assert newer.sent < before.sent / 50
    assert newer.size > before.size
    assert os.readlink(root_of(host, target) / "current") == newer.renderers.version
    back = bootstrap(Connection(target))
    assert back.did == "switched"
    assert back.renderers == before.renderers
    assert left_in(root_of(host, target)) == {newer.renderers.version, back.renderers.version, "current"}


def test_versions_that_no_node_uses_are_removed_in_the_end(host: SshHost, target: Target) -> None:
    root = root_of(host, target)
    bootstrap(Connection(target))
    connection = Connection(target)
    for version, node in (("a" * 16, ""), ("b" * 16, "rrm-runs"), ("c" * 16, "rrm-ended")):
        where = f"{target.folder}/renderers/{version}"
        record, manifest = f"echo '{{\"at\": 1}}' > {where}/installed.json", f"echo '{{}}' > {where}/manifest.json"
        files = [f"mkdir -p {where}", record, manifest]
        if node:
            folder = f"{target.folder}/nodes/{node}"
            files += [f"mkdir -p {folder}", f"echo export PYTHONPATH={where}/lib > {folder}/job.sh"]
        if node == "rrm-ended":
            files.append(f"echo 0 > {target.folder}/nodes/{node}/exit.json")
        assert connection.run(["sh", "-c", " && ".join(files)]).status == 0
    connection.run(["ln", "-sfn", "a" * 16, f"{target.folder}/renderers/current"])

    report = bootstrap(Connection(target))

    assert report.did == "switched"
    assert report.removed == ["c" * 16]
    assert left_in(root) == {report.renderers.version, "a" * 16, "b" * 16, "current"}


def test_one_that_is_cut_leaves_nothing_and_the_next_succeeds(host: SshHost, target: Target) -> None:
    def cut(done: int, total: int) -> None:
        if done > total / 2:
            host.cut_sessions()

    with pytest.raises(SiteUnavailable):
        bootstrap(Connection(target), progress=cut)

    deadline = time.monotonic() + 60
    while left_in(root_of(host, target)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left_in(root_of(host, target)) == set()
    assert bootstrap(Connection(target)).did == "installed"


def test_what_a_killed_one_left_is_swept_up(host: SshHost, target: Target) -> None:
    connection = Connection(target)
    root = f"{target.folder}/renderers"
    made = f"mkdir -p {root}/.incoming-half/lib && chmod -R go-w {target.folder}"
    assert connection.run(["sh", "-c", made]).status == 0

    report = bootstrap(connection)

    assert left_in(root_of(host, target)) == {report.renderers.version, "current"}


def test_two_at_once_install_once(host: SshHost, target: Target) -> None:
    found: list[Report] = []
    threads = [threading.Thread(target=lambda: found.append(bootstrap(Connection(target)))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(report.did for report in found) == ["installed", "switched"]
    assert left_in(root_of(host, target)) == {found[0].renderers.version, "current"}


def test_launches_ask_the_site_once_for_all_nodes(furnished: tuple[Target, Report]) -> None:
    target, report = furnished
    connection = Connection(replace(target, site="launches"))
    asked = [ensure_renderers(connection) for _ in range(3)]

    assert asked == [report.renderers] * 3
    assert connection.traffic.channels == 1
    forget(connection.target)
    assert ensure_renderers(connection) == report.renderers
    assert connection.traffic.channels == 2


def test_a_launch_brings_the_renderers_by_itself(target: Target) -> None:
    launcher = SshLauncher(Connection(target), ensure_renderers)
    spec = NodeSpec(name="rrm-first", resource="mandelbrot", manager_url="http://127.0.0.1:1", token="secret")

    handle = launcher.launch(spec)

    try:
        assert handle["name"] == "rrm-first"
        deadline = time.monotonic() + 60
        while "manager does not answer" not in launcher.logs(handle, "err", 50) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert "manager does not answer" in launcher.logs(handle, "err", 50)  # it runs, and asks for its manager
        assert launcher.survey([handle]).nodes["rrm-first"].liveness is Liveness.RUNNING
    finally:
        assert launcher.stop(handle, timedelta(seconds=5))


def test_a_full_disk_is_told_before_anything_is_sent(host: SshHost, target: Target) -> None:
    as_root()
    place = home_of(host) / f"{target.directory}-full"
    with mounted(place, host.account, "size=20m"):
        with pytest.raises(SiteUnavailable, match=r"MB free and the renderers need \d+ MB: make room") as told:
            bootstrap(Connection(replace(target, directory=str(place))))
        assert str(place) in told.value.detail
        assert left_in(place / target.installation / "renderers") == set()


def test_a_disk_that_fills_up_meanwhile_is_told_and_nothing_is_left(host: SshHost, target: Target) -> None:
    as_root()
    place = home_of(host) / f"{target.directory}-filling"
    with mounted(place, host.account, "size=600m,nr_inodes=150"):
        with pytest.raises(SiteUnavailable, match="is used up: make room"):
            bootstrap(Connection(replace(target, directory=str(place))))
        assert left_in(place / target.installation / "renderers") == set()


def test_a_disk_on_which_nothing_may_be_executed_is_named(host: SshHost, target: Target) -> None:
    as_root()
    place = home_of(host) / f"{target.directory}-noexec"
    with mounted(place, host.account, "size=600m,noexec"), pytest.raises(LauncherError, match="mounted noexec"):
        bootstrap(Connection(replace(target, directory=str(place))))


def test_a_folder_that_cannot_be_written_to_is_named(host: SshHost, target: Target) -> None:
    as_root()
    place = home_of(host) / f"{target.directory}-locked"
    place.mkdir(mode=0o555)

    with pytest.raises(LauncherError, match=r"cannot be written to \(Permission denied\)") as told:
        bootstrap(Connection(replace(target, directory=str(place))))

    assert str(place) in told.value.detail
    assert not isinstance(told.value, SiteUnavailable)


def test_a_folder_that_others_may_write_to_is_refused(host: SshHost, target: Target) -> None:
    connection = Connection(target)
    made = f"mkdir -p {target.folder} && chmod 777 {target.folder}"
    assert connection.run(["sh", "-c", made]).status == 0

    with pytest.raises(LauncherError, match="chmod go-w"):
        bootstrap(connection)


def test_a_python_that_is_not_there_is_named(target: Target) -> None:
    with pytest.raises(LauncherError, match="/opt/none/python3"):
        bootstrap(Connection(replace(target, python="/opt/none/python3")))


def test_a_host_that_is_away_is_unavailable(target: Target) -> None:
    with pytest.raises(SiteUnavailable):
        ensure_renderers(Connection(replace(target, port=1)))
