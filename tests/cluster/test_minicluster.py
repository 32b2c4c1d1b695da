"""The test cluster itself: real daemons that start, break as they are told to, and leave nothing behind."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deployment.minicluster.cluster import MiniCluster
from deployment.minicluster.daemons import CannotStart
from deployment.minicluster.sshd import SshHost
from rrm.errors import SiteUnavailable
from rrm.launchers.connection import Connection
from tests.cluster.sites import is_over
from tests.hosts import target_of


@pytest.fixture
def shell(cluster: MiniCluster) -> Iterator[Connection]:
    """The login host, as the account sees it."""
    connection = Connection(target_of(cluster.login))
    yield connection
    connection.close()


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.1)


def asked(shell: Connection, *command: str) -> str:
    done = shell.run(command)
    return (done.stdout + done.stderr).decode().strip()


def test_a_job_runs_as_the_account_on_a_node_of_the_cluster(cluster: MiniCluster, shell: Connection) -> None:
    out = f"/tmp/{cluster.folder.name}.out"
    job = asked(shell, "sbatch", "--parsable", "--wrap", "echo $SLURMD_NODENAME $(id -un)", "-o", out)
    until(lambda: job not in asked(shell, "squeue", "-h", "-o", "%A"))
    until(lambda: asked(shell, "cat", out))
    assert asked(shell, "cat", out).split() in ([name, cluster.login.account] for name in cluster.slurm.node_names)
    asked(shell, "rm", out)


def test_it_has_the_partitions_and_nodes_that_it_says(cluster: MiniCluster, shell: Connection) -> None:
    said = cluster.described()["slurm"]
    assert set(asked(shell, "sinfo", "-h", "-o", "%R").split()) == set(said["partitions"])
    assert asked(shell, "sinfo", "-h", "-N", "-p", "batch", "-o", "%N").split() == said["nodes"]


def test_starting_it_again_changes_nothing(cluster: MiniCluster) -> None:
    before = [cluster.slurm.controller.pid, cluster.slurm.slurmd(1).pid, cluster.login.daemon.pid]
    cluster.start()
    assert [cluster.slurm.controller.pid, cluster.slurm.slurmd(1).pid, cluster.login.daemon.pid] == before
    assert None not in before


def test_a_command_fails_as_it_is_told_to_and_is_healed(cluster: MiniCluster, shell: Connection) -> None:
    before = cluster.slurm.asked("squeue")
    cluster.slurm.fault("squeue", "echo 'Socket timed out on send/recv operation' >&2; exit 1")
    assert "Socket timed out" in asked(shell, "squeue")
    cluster.slurm.heal()
    assert "JOBID" in asked(shell, "squeue")
    assert cluster.slurm.asked("squeue") == before + 2


def test_a_controller_that_was_killed_comes_back(cluster: MiniCluster) -> None:
    cluster.slurm.controller.kill()
    assert not cluster.slurm.controller.is_alive
    cluster.slurm.start_controller()
    until(lambda: "is UP" in cluster.slurm.ask("scontrol", "ping"))


def test_a_node_that_is_killed_is_down_and_comes_back(cluster: MiniCluster) -> None:
    def state() -> str:
        return cluster.slurm.ask("sinfo", "-h", "-n", cluster.slurm.node_names[0], "-p", "batch", "-o", "%t")

    cluster.slurm.slurmd(1).kill()
    until(lambda: state().startswith("down"), 90)
    cluster.slurm.start_slurmd(1)
    until(lambda: state() == "idle", 90)


@pytest.mark.parametrize("number", [0, 1])
def test_plain_hosts_know_nothing_of_slurm(cluster: MiniCluster, number: int) -> None:
    host: SshHost = cluster.hosts[number]
    connection = Connection(target_of(host))
    assert connection.run(["sh", "-c", "echo ${SLURM_CONF:-none}"]).stdout == b"none\n"
    connection.close()


def test_an_end_leaves_nothing_and_a_new_start_finds_its_place(tmp_path: Path) -> None:
    folder = Path("/var/tmp") / f"rrm-{tmp_path.name}"
    again = MiniCluster.at(folder, nodes=1, hosts=1)
    try:
        again.start()
        connection = Connection(target_of(again.login))
        assert connection.run(["sbatch", "--wrap", "sleep 60", "-o", "/dev/null"]).status == 0
        pids = [
            again.slurm.controller.pid,
            again.slurm.slurmd(1).pid,
            again.login.daemon.pid,
            again.hosts[0].daemon.pid,
        ]
        again.stop()
        with pytest.raises(SiteUnavailable):
            connection.run(["true"])
        assert None not in pids
        assert all(is_over(pid) for pid in pids if pid)
        assert MiniCluster.at(folder).described() == again.described()
        again.slurm.start()
        assert again.slurm.ask("squeue", "-h") == ""
        again.slurm.controller.kill()
        again.start()
        assert again.is_running
    finally:
        again.stop()
        shutil.rmtree(folder)


def test_a_port_that_is_taken_is_said(cluster: MiniCluster, tmp_path: Path) -> None:
    taken = SshHost(Path("/var/tmp") / f"rrm-{tmp_path.name}", cluster.login.port, cluster.login.account, {})
    with pytest.raises(CannotStart, match="sshd does not"):
        taken.start()
    taken.stop()
    shutil.rmtree(taken.folder)
