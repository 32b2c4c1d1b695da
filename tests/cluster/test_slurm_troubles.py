"""What a real Slurm cluster refuses, and what is only trouble: nobody is declared lost, and one job is left."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from deployment.minicluster.cluster import MiniCluster, running_cluster
from rrm.errors import LauncherError, SiteUnavailable
from rrm.launchers.base import Handle, Liveness, NodeSpec
from rrm.launchers.connection import Connection
from rrm.launchers.slurm import SlurmLauncher
from tests.cluster.slurm_nodes import GRACE, comes_to, launcher_on, look, spec, until, works
from tests.far_end import FarEnd
from tests.hosts import target_of


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ({"partition": "no-such-partition"}, "nvalid partition"),
        ({"memory": 10**7}, "not available"),
        ({"extra_directives": ("--no-such-option",)}, "unrecognized option"),
        ({"reservation": "none"}, "reservation"),
    ],
)
def test_what_slurm_refuses_is_told_in_its_words(launcher: SlurmLauncher, batch: dict[str, Any], words: str) -> None:
    wanted = spec(**batch)
    with pytest.raises(LauncherError, match=words) as refused:
        launcher.launch(wanted)
    assert not isinstance(refused.value, SiteUnavailable)
    assert look(launcher, {"name": wanted.name}).liveness is Liveness.GONE


def test_too_many_jobs_are_a_refusal(cluster: MiniCluster, launcher: SlurmLauncher) -> None:
    said = "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit)"
    cluster.slurm.fault("sbatch", f"echo '{said}' >&2; exit 1")
    with pytest.raises(LauncherError, match=r"refused the job: Job violates accounting"):
        launcher.launch(spec())


@pytest.mark.parametrize(
    "fault",
    [
        "echo 'slurm_load_jobs error: Socket timed out on send/recv operation' >&2; exit 0",
        "echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2; exit 1",
        "exit 0",
        '/usr/bin/squeue "$@" | head -c 150; exit 0',
        "kill -9 $$",
    ],
)
def test_an_answer_that_is_none_declares_nobody_lost(cluster: MiniCluster, launcher: SlurmLauncher, fault: str) -> None:
    handle = works(launcher)
    cluster.slurm.fault("squeue", fault)
    found = launcher.survey([handle])
    assert found.nodes[handle["name"]].liveness is Liveness.UNKNOWN
    assert "scheduler does not answer" in found.problem
    assert not found.strays
    cluster.slurm.heal()
    assert look(launcher, handle).liveness is Liveness.RUNNING


def test_a_controller_that_is_down_is_waited_for(cluster: MiniCluster, launcher: SlurmLauncher) -> None:
    handle, wanted = works(launcher), spec()
    cluster.slurm.controller.stop()
    with ThreadPoolExecutor(2) as pool:
        asked, started = pool.submit(launcher.survey, [handle]), pool.submit(launcher.launch, wanted)
        with pytest.raises(SiteUnavailable, match="does not answer"):
            started.result()
        assert "scheduler does not answer" in asked.result().problem
        assert asked.result().nodes[handle["name"]].liveness is Liveness.UNKNOWN
    cluster.slurm.start_controller()
    assert look(launcher, handle).liveness is Liveness.RUNNING
    comes_to(launcher, launcher.launch(wanted), Liveness.RUNNING)


def test_a_folder_that_may_not_be_written_is_a_refusal_and_a_full_disk_is_trouble(
    cluster: MiniCluster, launcher: SlurmLauncher
) -> None:
    account = pwd.getpwnam(cluster.login.account)
    folder = Path(account.pw_dir) / launcher._connection.target.folder
    folder.mkdir(parents=True)
    with pytest.raises(LauncherError, match="Permission denied") as refused:
        launcher.launch(spec())
    assert not isinstance(refused.value, SiteUnavailable)
    mounted = ["mount", "-t", "tmpfs", "-o", f"size=64k,uid={account.pw_uid},mode=700", "none", str(folder)]
    if subprocess.run(mounted, check=False, capture_output=True).returncode:
        pytest.skip("no file system of our own can be mounted here")
    try:
        (folder / "filler").write_bytes(b"x" * 48 * 1024)
        with contextlib.suppress(OSError), (folder / "filler").open("ab") as file:
            while True:
                file.write(b"x" * 512)
                file.flush()
        wanted = spec()
        with pytest.raises(SiteUnavailable, match="No space left"):
            launcher.launch(wanted)
        (folder / "filler").unlink()
        handle = launcher.launch(wanted)
        comes_to(launcher, handle, Liveness.RUNNING)
        launcher.stop(handle, GRACE)
        comes_to(launcher, handle, Liveness.GONE)
        assert cluster.slurm.ask("squeue", "-h", f"--name={wanted.name}") == ""
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
def test_a_scheduler_that_forgot_everything_and_counts_anew_confuses_nobody(tmp_path: Path) -> None:
    with running_cluster(Path("/var/tmp") / f"rrm-{tmp_path.name}-{os.getpid()}", nodes=1, hosts=0) as own:
        launcher = launcher_on(Connection(target_of(own.login)))
        running = works(launcher)
        held = launcher.launch(spec(extra_directives=("--hold",)))
        own.slurm.controller.stop()
        shutil.rmtree(own.slurm.folder / "state")
        (own.slurm.folder / "state").mkdir()
        shutil.chown(own.slurm.folder / "state", "slurm")
        own.slurm.start_controller()
        later = launcher.launch(spec())
        assert later["job"] == running["job"]
        assert look(launcher, held).liveness is Liveness.UNKNOWN
        comes_to(launcher, running, Liveness.GONE)
        comes_to(launcher, held, Liveness.GONE, 120)
        until(lambda: look(launcher, later).liveness in {Liveness.RUNNING, Liveness.GONE}, 150)
        if look(launcher, later).liveness is Liveness.GONE:
            # The machine still had the old job of that number: Slurm aborts that, and now and then the new one with it.
            later = launcher.launch(spec())
            comes_to(launcher, later, Liveness.RUNNING)
        launcher.stop(later, GRACE)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_cuts_of_the_submission_leave_one_job_each(cluster: MiniCluster, launcher: SlurmLauncher) -> None:
    """The far end dies at any moment, the connection breaks at any moment, sbatch lies in every way."""
    chance = random.Random(4)
    account = pwd.getpwnam(cluster.login.account)
    environment = {**cluster.login.environment, "HOME": account.pw_dir}
    target = launcher._connection.target
    unsure = [FarEnd(target, environment, account=account, after=chance.uniform(0.02, 0.16)) for _ in range(60)]
    attempts = [(spec(), launcher_on(line)) for line in unsure]
    with ThreadPoolExecutor(3) as pool:
        lost = sum(pool.map(lambda attempt: _tried(attempt[1], attempt[0]), attempts))
    names = [wanted for wanted, _ in attempts]
    for fault in SUBMIT_FAULTS:
        cluster.slurm.fault("sbatch", fault)
        wanted = [spec() for _ in range(5)]
        lost += sum(_tried(launcher, one) for one in wanted)
        names += wanted
        cluster.slurm.heal()
    for _ in range(20):
        wanted_now = spec()
        cut = threading.Timer(chance.uniform(0.0, 0.1), cluster.login.cut_sessions)
        cut.start()
        lost += _tried(launcher, wanted_now)
        cut.join()
        names.append(wanted_now)
    assert len(names) == 100
    assert lost >= 50, "too few of the cuts broke anything"
    handles = {wanted.name: _insisted(launcher, wanted) for wanted in names}
    listed = cluster.slurm.ask("squeue", "-h", "--states=all", "-o", "%j %i").splitlines()
    jobs = [tuple(line.split()) for line in listed if line.split()[0] in handles]
    assert sorted(jobs) == sorted((name, handle["job"]) for name, handle in handles.items())
    assert launcher.survey([]).strays == handles


SUBMIT_FAULTS = (
    'sbatch_real=/usr/bin/sbatch; $sbatch_real "$@" >/dev/null; kill -9 $PPID; exit 0',
    "kill -9 $PPID; exit 1",
    '/usr/bin/sbatch "$@" >/dev/null; echo "sbatch: error: Batch job submission failed: Socket timed out" >&2; exit 1',
    "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1",
)


def _tried(launcher: SlurmLauncher, wanted: NodeSpec) -> bool:
    """Whether the answer of this attempt was lost."""
    try:
        launcher.launch(wanted)
    except SiteUnavailable:
        return True
    return False


def _insisted(launcher: SlurmLauncher, wanted: NodeSpec) -> Handle:
    for _ in range(50):
        with contextlib.suppress(SiteUnavailable):
            return launcher.launch(wanted)
        time.sleep(0.5)
    raise AssertionError("the site never answered")


def test_two_jobs_of_one_node_become_one(cluster: MiniCluster, launcher: SlurmLauncher) -> None:
    handle = works(launcher)
    folder = Path(pwd.getpwnam(cluster.login.account).pw_dir) / launcher._connection.target.folder
    home = folder / "nodes" / handle["name"]
    connection = launcher._connection
    assert isinstance(connection, Connection)
    done = connection.run(["sh", "-c", f"cd {home} && sbatch --parsable batch.sh"])
    double = done.stdout.decode().strip()
    until(lambda: double not in cluster.slurm.ask("squeue", "-h", "-o", "%i").split())
    assert launcher.survey([]).strays == {handle["name"]: handle}
    assert launcher.logs(handle, "out", 9) == "ready\n"
