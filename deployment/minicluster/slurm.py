"""One Slurm cluster: munged, slurmctld and several slurmd, all on this machine's loopback and private to one folder."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deployment.minicluster.daemons import CannotStart, Daemon, program, until

PARTITIONS = ("batch", "short", "high")
_CONFIG = """\
ClusterName={name}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={owner}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/munge.sock
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=5,sched_min_interval=0,bf_window=1440
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=100
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MinJobAge={timing.min_job_age}
KillWait={timing.kill_wait}
InactiveLimit=0
SlurmctldTimeout=30
SlurmdTimeout={timing.slurmd_timeout}
MessageTimeout=10
Waittime=0
SlurmctldDebug=info
SlurmdDebug=info
{nodes}
PartitionName=batch Nodes={names} Default=YES MaxTime=INFINITE State=UP PriorityTier=10
PartitionName=short Nodes={names} MaxTime=00:01:00 State=UP PriorityTier=20
PartitionName=high Nodes={names} MaxTime=INFINITE State=UP PriorityTier=100 PreemptMode=OFF
"""
_WRAPPED = ("squeue", "sbatch", "scancel", "sacct", "sinfo")
_WRAPPER = """\
#!/bin/sh
# What the test cluster's faults do before, or in place of, the real command; see {folder}/faults.
echo "$(date +%s.%N) {command} $*" >>{folder}/log/asked
fault={folder}/faults/{command}
if [ -r "$fault" ]; then . "$fault"; fi
exec {real} "$@"
"""
_READY_SECONDS = 60.0
_UP = {"idle", "mix", "alloc", "comp"}


@dataclass(frozen=True)
class Timing:
    """Seconds after which Slurm forgets a finished job, kills a stubborn one, and calls a silent node down."""

    min_job_age: int = 300
    kill_wait: int = 5
    slurmd_timeout: int = 15


@dataclass
class Slurm:
    """Everything of it lies under `folder`. The machine is shown as `nodes` nodes of 4 processors each."""

    folder: Path
    name: str
    ports: Sequence[int]
    nodes: int = 2
    timing: Timing = field(default_factory=Timing)

    @property
    def config(self) -> Path:
        return self.folder / "slurm.conf"

    @property
    def environment(self) -> dict[str, str]:
        """What a session needs to talk to this cluster; the programs it finds first may be made to fail."""
        return {"SLURM_CONF": str(self.config), "PATH": f"{self.folder}/bin:/usr/local/bin:/usr/bin:/bin"}

    @property
    def node_names(self) -> list[str]:
        return [f"{self.name}-n{number}" for number in range(1, self.nodes + 1)]

    @property
    def controller(self) -> Daemon:
        return Daemon("slurmctld", self.folder / "run/slurmctld.pid")

    def slurmd(self, number: int) -> Daemon:
        """The daemon of node `number`, counted from 1."""
        return Daemon("slurmd", self.folder / f"run/slurmd-{self.name}-n{number}.pid")

    @property
    def _munged(self) -> Daemon:
        return Daemon("munged", self.folder / "munge/munged.pid")

    def start(self) -> None:
        """Nothing happens when it runs. Raises CannotStart."""
        if os.geteuid() != 0:
            raise CannotStart("A Slurm cluster is started as root: slurmd has to become the users whose jobs it runs.")
        for name, package in (("munged", "munge"), ("slurmctld", "slurmctld"), ("slurmd", "slurmd")):
            program(name, package)
        if not (self.controller.is_alive and self._munged.is_alive):
            self._prepare()
            self._start_munge()
            self.start_controller()
        for number in range(1, self.nodes + 1):
            self.start_slurmd(number)
        if not until(lambda: self._up() == self.nodes, _READY_SECONDS):
            raise CannotStart(f"Not all nodes are up: {self.ask('sinfo', '-N')}; see {self.folder}/log")

    def stop(self) -> None:
        """Cancel what runs and end every daemon, in an order that leaves nothing behind."""
        with contextlib.suppress(subprocess.SubprocessError):
            if self.controller.is_alive:
                jobs = self.ask("squeue", "-h", "-o", "%A").split()
                self.ask("scancel", "--full", *jobs) if jobs else ""
                until(lambda: not self.ask("squeue", "-h"), 10)
        for number in range(1, self.nodes + 1):
            self.slurmd(number).stop()
        self.controller.stop()
        self._munged.stop()

    def start_controller(self) -> None:
        if not self.controller.is_alive:
            self.controller.start([program("slurmctld", "slurmctld"), "-f", str(self.config)])
            until(lambda: self.ask("scontrol", "ping").count("is UP"), 30)

    def start_slurmd(self, number: int) -> None:
        daemon = self.slurmd(number)
        if not daemon.is_alive:
            name = self.node_names[number - 1]
            (self.folder / "spool" / name).mkdir(parents=True, exist_ok=True)
            daemon.start([program("slurmd", "slurmd"), "-f", str(self.config), "-N", name])

    def ask(self, command: str, *arguments: str) -> str:
        """What the real client program prints, run as ourselves."""
        done = subprocess.run(
            [program(command, "slurm-client"), *arguments],
            env={**os.environ, "SLURM_CONF": str(self.config)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=30,
        )
        return done.stdout.strip()

    def fault(self, command: str, shell: str) -> None:
        """Have `command` run this shell text first, whoever calls it at the site; it may end it."""
        (self.folder / "faults" / command).write_text(shell)

    def heal(self) -> None:
        """Undo every fault of `fault`."""
        for path in (self.folder / "faults").iterdir():
            path.unlink()

    def asked(self, command: str) -> int:
        """How often somebody at the site has called a command."""
        log = self.folder / "log/asked"
        return sum(line.split()[1] == command for line in log.read_text().splitlines()) if log.exists() else 0

    def _up(self) -> int:
        """How many nodes take jobs or have some; one that does not answer has a mark behind its state."""
        states = self.ask("sinfo", "-h", "-N", "-p", "batch", "-o", "%N %t").splitlines()
        return sum(line.split()[-1] in _UP for line in states if line)

    def _prepare(self) -> None:
        for name in ("log", "run", "spool", "state", "munge", "bin", "faults"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
            (self.folder / name).chmod(0o755)
        self.folder.chmod(0o755)
        user = _service_user("slurm")
        for name in ("state", "log", "run"):
            shutil.chown(self.folder / name, user)
        shutil.rmtree(self.folder / "state")  # what an earlier run, perhaps a killed one, remembered
        (self.folder / "state").mkdir()
        shutil.chown(self.folder / "state", user)
        self.config.write_text(
            _CONFIG.format(
                name=self.name,
                host=socket.gethostname().split(".")[0],
                ports=self.ports,
                folder=self.folder,
                user=user,
                owner="root",
                timing=self.timing,
                nodes="\n".join(self._node_lines()),
                names=",".join(self.node_names),
            )
        )
        (self.folder / "log/asked").touch()
        (self.folder / "log/asked").chmod(0o666)
        for command in _WRAPPED:
            real = program(command, "slurm-client")
            wrapper = self.folder / "bin" / command
            wrapper.write_text(_WRAPPER.format(folder=self.folder, command=command, real=real))
            wrapper.chmod(0o755)

    def _node_lines(self) -> list[str]:
        host = socket.gethostname().split(".")[0]
        return [
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 RealMemory=2000 State=UNKNOWN"
            for name, port in zip(self.node_names, self.ports[2:], strict=True)
        ]

    def _start_munge(self) -> None:
        if self._munged.is_alive:
            return
        user, home = _service_user("munge"), self.folder / "munge"
        key = home / "munge.key"
        if not key.exists():
            key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        for path in (home, key):
            shutil.chown(path, user)
        names = {"key-file": "munge.key", "socket": "munge.sock", "pid-file": "munged.pid", "log-file": "munged.log"}
        options = [f"--{option}={home}/{name}" for option, name in {**names, "seed-file": "munged.seed"}.items()]
        runuser = program("runuser", "util-linux")
        self._munged.start([runuser, "-u", user, "--", program("munged", "munge"), "--force", *options])


def ports_needed(nodes: int) -> int:
    return 2 + nodes


def _service_user(name: str) -> str:
    try:
        return pwd.getpwnam(name).pw_name
    except KeyError:
        raise CannotStart(f"There is no user {name}; its Debian package makes it: {name}.") from None


Fault = Callable[[Slurm], None]
