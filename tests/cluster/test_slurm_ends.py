"""What ends a node that is a job of a real Slurm cluster, and what is said about it."""

from __future__ import annotations

from datetime import datetime, timedelta

from deployment.minicluster.cluster import MiniCluster
from rrm.launchers.base import Handle, Liveness
from rrm.launchers.slurm import SlurmLauncher
from tests.cluster.slurm_nodes import WORKS, comes_to, look, spec, until, works

GREEDY = "import time; held = b'x' * 400_000_000; time.sleep(600)"


def test_a_job_with_a_time_limit_says_when_it_ends(
    shared_cluster: MiniCluster, out_of_time: tuple[SlurmLauncher, list[Handle]]
) -> None:
    launcher, handles = out_of_time
    ends_at = comes_to(launcher, handles[0], Liveness.RUNNING).ends_at
    began = shared_cluster.slurm.ask("squeue", "-h", "-j", handles[0]["job"], "-o", "%S")
    assert ends_at == datetime.fromisoformat(began).astimezone() + timedelta(minutes=1)


def test_an_end_has_its_reason(cluster: MiniCluster, launcher: SlurmLauncher) -> None:
    programs = {"exits": "import sys; sys.exit(3)", "finishes": "pass", "greedy": GREEDY, "cancelled": WORKS}
    handles = {what: launcher.launch(spec(program)) for what, program in programs.items()}
    comes_to(launcher, handles["cancelled"], Liveness.RUNNING)
    cluster.slurm.ask("scancel", handles["cancelled"]["job"])
    reasons = {what: comes_to(launcher, handle, Liveness.GONE).reason for what, handle in handles.items()}
    assert "exit code 3" in reasons["exits"]
    assert "exit code 0" in reasons["finishes"]
    assert "more memory" in reasons["greedy"]
    assert "cancelled" in reasons["cancelled"]
    again = {what: look(launcher, handle) for what, handle in handles.items()}
    assert {what: seen.reason for what, seen in again.items()} == reasons


def test_an_end_is_still_known_when_the_scheduler_has_forgotten_the_job(
    cluster: MiniCluster, launcher: SlurmLauncher
) -> None:
    held = launcher.launch(spec(extra_directives=("--hold",)))
    cancelled = works(launcher)
    assert "held" in look(launcher, held).reason
    for handle in (held, cancelled):
        cluster.slurm.ask("scancel", handle["job"])
        comes_to(launcher, handle, Liveness.GONE)
    until(lambda: held["job"] not in cluster.slurm.ask("squeue", "-h", "--states=all", "-o", "%i").split(), 120)
    assert "cancelled" in look(launcher, held).reason
    assert "cancelled" in look(launcher, cancelled).reason


def test_a_node_whose_machine_fails_is_gone(cluster: MiniCluster, launcher: SlurmLauncher) -> None:
    handle = works(launcher, extra_directives=("--nodelist=mini-n2",))
    cluster.slurm.slurmd(2).kill()
    assert "machine of its job failed" in comes_to(launcher, handle, Liveness.GONE, 120).reason


def test_a_job_that_was_put_back_into_the_queue_is_gone_and_does_not_run_again(
    cluster: MiniCluster, launcher: SlurmLauncher
) -> None:
    handle = works(launcher, skip_directives=("--no-requeue",), extra_directives=("--requeue",))
    cluster.slurm.ask("scontrol", "requeue", handle["job"])
    seen = comes_to(launcher, handle, Liveness.GONE)
    assert "put back into the queue" in seen.reason
    until(lambda: launcher.survey([]).strays == {})
    assert launcher.logs(handle, "out", 9) == "ready\n"


def test_a_preempted_node_is_gone_and_says_why(cluster: MiniCluster, launcher: SlurmLauncher) -> None:
    handle = works(launcher, partition="batch", extra_directives=("--nodelist=mini-n1", "--mem=1500"))
    first = launcher.launch(spec(partition="high", extra_directives=("--nodelist=mini-n1", "--mem=1500")))
    assert "higher priority" in comes_to(launcher, handle, Liveness.GONE).reason
    comes_to(launcher, first, Liveness.RUNNING)


def test_a_job_that_can_never_start_says_so(launcher: SlurmLauncher) -> None:
    handle = launcher.launch(spec(nodes=9))
    until(lambda: "will not start by itself" in look(launcher, handle).reason)
    assert look(launcher, handle).liveness is Liveness.PENDING
