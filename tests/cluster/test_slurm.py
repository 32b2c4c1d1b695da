"""Nodes as jobs of a real Slurm cluster, which is made to fail in every way that clusters do."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from deployment.minicluster.cluster import MiniCluster, running_cluster
from rrm.errors import LauncherError, SiteUnavailable
from rrm.launchers.base import Batch, Handle, Liveness, NodeSpec, Observation
from rrm.launchers.bootstrap import Renderers
from rrm.launchers.connection import Connection
from rrm.launchers.slurm import SlurmLauncher, members
from tests.far_end import FarEnd
from tests.hostile import HOSTILE
from tests.hosts import target_of

GRACE = timedelta(seconds=5)
BROUGHT = Renderers("none", "/nowhere", "/usr/bin/python3")
WORKS = "import time; print('ready', flush=True); time.sleep(600)"
GREEDY = "import time; held = b'x' * 400_000_000; time.sleep(600)"


@pytest.fixture
def launcher(cluster: MiniCluster) -> Iterator[SlurmLauncher]:
    made = _launcher(Connection(target_of(cluster.login)))
    yield made
    _end_all(made)


def _launcher(connection: Any) -> SlurmLauncher:
    return SlurmLauncher(connection, lambda _line: BROUGHT, poll_interval=timedelta(), doubt=timedelta(seconds=1))


def _end_all(launcher: SlurmLauncher) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda handle: launcher.stop(handle, timedelta()), launcher.survey([]).strays.values()))


def spec(program: str = WORKS, name: str = "", **batch: Any) -> NodeSpec:
    command = ("/usr/bin/python3", "-c", program)
    name = name or f"rrm-{secrets.token_hex(5)}"
    return NodeSpec(name, "mandelbrot", "http://127.0.0.1:9", "token", command=command, batch=Batch(**batch))


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.1)


def look(launcher: SlurmLauncher, handle: Handle) -> Observation:
    return launcher.survey([handle]).nodes[handle["name"]]


def comes_to(launcher: SlurmLauncher, handle: Handle, liveness: Liveness, seconds: float = 30) -> Observation:
    until(lambda: look(launcher, handle).liveness is liveness, seconds)
    return look(launcher, handle)


def works(launcher: SlurmLauncher, **batch: Any) -> Handle:
    """A node that has begun to work."""
    handle = launcher.launch(spec(**batch))
    until(lambda: launcher.logs(handle, "out", 1) == "ready\n")
    comes_to(launcher, handle, Liveness.RUNNING)
    return handle


# What ends a node, and what is said about it


@pytest.fixture(scope="module")
def out_of_time(shared_cluster: MiniCluster) -> Iterator[tuple[SlurmLauncher, list[Handle]]]:
    """Nodes whose jobs have the shortest time limit there is; they were launched before everything else."""
    made = _launcher(Connection(target_of(shared_cluster.login, installation="timed")))
    there: dict[str, Any] = {"time_limit": timedelta(minutes=1), "extra_directives": ("--nodelist=mini-n1",)}
    stubborn = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WORKS}"
    yield made, [made.launch(spec(program, **there)) for program in (WORKS, stubborn)]
    _end_all(made)


def test_a_job_with_a_time_limit_says_when_it_ends(out_of_time: tuple[SlurmLauncher, list[Handle]]) -> None:
    launcher, handles = out_of_time
    ends_at = comes_to(launcher, handles[0], Liveness.RUNNING).ends_at
    assert ends_at is not None
    assert abs((ends_at - datetime.now(UTC)).total_seconds() - 60) < 15


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
    until(lambda: held["job"] not in cluster.slurm.ask("squeue", "-h", "--states=all", "-o", "%i").split(), 60)
    assert "cancelled" in look(launcher, held).reason
    assert "cancelled" in look(launcher, cancelled).reason


def test_a_node_whose_machine_fails_is_gone(cluster: MiniCluster, launcher: SlurmLauncher) -> None:
    handle = works(launcher, extra_directives=("--nodelist=mini-n2",))
    cluster.slurm.slurmd(2).kill()
    assert "machine of its job failed" in comes_to(launcher, handle, Liveness.GONE, 60).reason


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


# What is refused, and what is only trouble


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


# Whose jobs they are


def test_jobs_of_others_are_neither_seen_nor_touched(cluster: MiniCluster, launcher: SlurmLauncher) -> None:
    other = _launcher(Connection(target_of(cluster.login, installation="another")))
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
    _end_all(other)


@pytest.mark.slow
def test_a_scheduler_that_forgot_everything_and_counts_anew_confuses_nobody(tmp_path: Path) -> None:
    with running_cluster(Path("/var/tmp") / f"rrm-{tmp_path.name}-{os.getpid()}", nodes=1, hosts=0) as own:
        launcher = _launcher(Connection(target_of(own.login)))
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
        comes_to(launcher, held, Liveness.GONE, 40)
        comes_to(launcher, later, Liveness.RUNNING, 40)
        launcher.stop(later, GRACE)


# One job, whatever breaks


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_hundred_cuts_of_the_submission_leave_one_job_each(cluster: MiniCluster, launcher: SlurmLauncher) -> None:
    """The far end dies at any moment, the connection breaks at any moment, sbatch lies in every way."""
    chance = random.Random(4)
    account = pwd.getpwnam(cluster.login.account)
    environment = {**cluster.login.environment, "HOME": account.pw_dir}
    target = launcher._connection.target
    unsure = [FarEnd(target, environment, account=account, after=chance.uniform(0.02, 0.16)) for _ in range(60)]
    attempts = [(spec(), _launcher(line)) for line in unsure]
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
        time.sleep(0.2)
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


# Several machines


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


# How it is asked


def test_callers_share_one_question_in_each_interval(cluster: MiniCluster) -> None:
    target = target_of(cluster.login)
    several = [SlurmLauncher(Connection(target), lambda _line: BROUGHT) for _ in range(3)]
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


def test_a_submission_is_accepted_within_a_second(launcher: SlurmLauncher) -> None:
    launcher.survey([])
    took = []
    for _ in range(5):
        begin = time.monotonic()
        launcher.launch(spec())
        took.append(time.monotonic() - begin)
    assert sorted(took)[2] < 1, took


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


# Keep this one last: its job was launched first.


def test_a_node_that_reaches_its_time_limit_was_told_and_says_so(
    out_of_time: tuple[SlurmLauncher, list[Handle]],
) -> None:
    launcher, (told, stubborn) = out_of_time
    assert "its time limit was near" in comes_to(launcher, told, Liveness.GONE, 100).reason
    assert "reached its time limit" in comes_to(launcher, stubborn, Liveness.GONE, 100).reason
