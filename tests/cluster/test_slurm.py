"""How Slurm is asked for nodes, whose jobs they are, and nodes on several machines."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

from deployment.minicluster.cluster import MiniCluster
from rrm.errors import LauncherError, SiteUnavailable
from rrm.launchers.base import Handle, Liveness, Observation
from rrm.launchers.connection import Connection
from rrm.launchers.slurm import SlurmLauncher, members
from tests.cluster.slurm_nodes import BROUGHT, GRACE, WORKS, comes_to, end_all, launcher_on, look, spec, until, works
from tests.hostile import HOSTILE
from tests.hosts import target_of

LONG = timedelta(hours=1)


def test_jobs_of_others_are_neither_seen_nor_touched(cluster: MiniCluster, launcher: SlurmLauncher) -> None:
    other = launcher_on(Connection(target_of(cluster.login, installation="another")))
    theirs, ours = works(other), works(launcher)
    odd = "rrm-\x1e a|b\nc"
    foreign = cluster.slurm.ask("sbatch", "--parsable", "--wrap", "sleep 60", "-J", odd, "-o", "/dev/null")
    assert launcher.survey([]).strays == {ours["name"]: ours}
    assert launcher.stop({"name": ours["name"], "job": theirs["job"]}, GRACE)
    assert launcher.stop({"name": ours["name"], "job": foreign}, GRACE)
    assert look(launcher, {"name": ours["name"], "job": foreign}).liveness is Liveness.GONE
    assert look(other, theirs).liveness is Liveness.RUNNING
    assert foreign in cluster.slurm.ask("squeue", "-h", "-o", "%i").split()
    cluster.slurm.ask("scancel", foreign)
    end_all(other)


def test_a_job_on_two_machines_is_two_nodes(launcher: SlurmLauncher) -> None:
    program = "import os, sys; print(os.environ['RRM_NODE_NAME'], sys.stdin.read().strip(), flush=True)\n" + WORKS
    handle = launcher.launch(spec(program, nodes=2))
    both = members(handle)
    assert [member["name"] for member in both] == [handle["name"], f"{handle['name']}.1"]
    for member in both:
        said = f"{member['name']} token\nready\n"
        until(partial(_says, launcher, member, said))
    found = launcher.survey(both)
    assert {seen.liveness for seen in found.nodes.values()} == {Liveness.RUNNING}
    assert not found.strays
    assert launcher.survey([]).strays == {handle["name"]: handle}
    launcher.stop(handle, GRACE)
    assert [comes_to(launcher, member, Liveness.GONE).liveness for member in both] == [Liveness.GONE] * 2


def _says(launcher: SlurmLauncher, handle: Handle, text: str) -> bool:
    return launcher.logs(handle, "out", 9) == text


def test_a_member_that_does_not_end_takes_its_job_with_it(launcher: SlurmLauncher) -> None:
    leaves = f"import os, sys\nif os.environ['SLURM_PROCID'] == '1': sys.exit(4)\n{WORKS}"
    handle = launcher.launch(spec(leaves, nodes=2))
    stays, left = members(handle)
    assert "exit code 4" in comes_to(launcher, left, Liveness.GONE).reason
    assert launcher.stop(left, timedelta(seconds=1))
    assert look(launcher, stays).liveness is Liveness.RUNNING
    assert not launcher.stop(stays, timedelta(seconds=1))
    comes_to(launcher, stays, Liveness.GONE)


def test_callers_share_one_question_in_each_interval(cluster: MiniCluster) -> None:
    target = target_of(cluster.login)
    several = [SlurmLauncher(Connection(target), lambda _line: BROUGHT, poll_interval=LONG) for _ in range(3)]
    handles = [several[0].launch(spec()) for _ in range(5)]
    before = cluster.slurm.asked("squeue"), cluster.slurm.asked("sacct")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: several[number % 3].survey(handles), range(60)))
    assert all(not answer.problem and not answer.strays for answer in found)
    late = several[1].launch(spec())
    assert look(several[1], late) == Observation(Liveness.PENDING, "Was submitted a moment ago.")
    for handle in [*handles, late]:
        several[2].stop(handle, timedelta())
    assert (cluster.slurm.asked("squeue") - before[0], cluster.slurm.asked("sacct") - before[1]) == (1, 0)


def test_a_submission_waits_for_no_start(launcher: SlurmLauncher) -> None:
    launcher.survey([])
    begin = time.monotonic()
    held = [launcher.launch(spec(extra_directives=("--hold",))) for _ in range(3)]
    assert time.monotonic() - begin < 60
    assert [look(launcher, handle).liveness for handle in held] == [Liveness.PENDING] * 3


def test_hostile_settings_reach_slurm_as_they_are_or_not_at_all(cluster: MiniCluster, launcher: SlurmLauncher) -> None:
    """The account is a field that this cluster takes as it comes: what it stored is compared."""

    def submitted(text: str) -> tuple[str, Handle] | None:
        try:
            return text, launcher.launch(spec(account=text, extra_directives=("--hold",)))
        except SiteUnavailable:
            raise
        except LauncherError:
            return None

    with ThreadPoolExecutor(3) as pool:
        taken = dict(filter(None, pool.map(submitted, HOSTILE)))
    assert len(taken) >= 30
    listed = cluster.slurm.ask("squeue", "-h", "--states=all", "-o", "%i\x1f%a").splitlines()
    stored = dict(line.split("\x1f") for line in listed)
    assert {text: stored[handle["job"]] for text, handle in taken.items()} == {text: text.lower() for text in taken}
