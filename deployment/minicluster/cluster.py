"""A whole test site in one folder: a Slurm cluster behind a login host, and plain SSH hosts beside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployment.minicluster.daemons import CannotStart, free_ports
from deployment.minicluster.slurm import PARTITIONS, Slurm, Timing, ports_needed
from deployment.minicluster.sshd import SshHost, account

_NOTE = "cluster.json"


@dataclass
class MiniCluster:
    """`login` is the host where Slurm's commands are; `hosts` know nothing of Slurm."""

    folder: Path
    slurm: Slurm
    login: SshHost
    hosts: list[SshHost]

    @classmethod
    def at(cls, folder: Path, *, nodes: int = 2, hosts: int = 2, timing: Timing | None = None) -> MiniCluster:
        """The cluster that a folder remembers, or a new one on free ports."""
        folder.mkdir(parents=True, exist_ok=True)
        note = folder / _NOTE
        if note.exists():
            known = json.loads(note.read_text())
        else:
            ports = free_ports(ports_needed(nodes) + 1 + hosts)
            known = {"nodes": nodes, "slurm": ports[: ports_needed(nodes)], "ssh": ports[ports_needed(nodes) :]}
            note.write_text(json.dumps(known))
        slurm = Slurm(folder / "slurm", "mini", known["slurm"], known["nodes"], timing or Timing())
        login, *others = known["ssh"]
        return cls(
            folder,
            slurm,
            SshHost(folder / "login", login, account(), slurm.environment),
            [SshHost(folder / f"host{number}", port, account(), {}) for number, port in enumerate(others, 1)],
        )

    def start(self) -> None:
        """Nothing happens to what runs already. A start that fails leaves nothing running. Raises CannotStart."""
        try:
            self.slurm.start()
            for host in (self.login, *self.hosts):
                host.start()
        except CannotStart:
            self.stop()
            raise

    def stop(self) -> None:
        for host in (self.login, *self.hosts):
            host.stop()
        self.slurm.stop()

    @property
    def is_running(self) -> bool:
        return self.slurm.controller.is_alive and all(host.daemon.is_alive for host in (self.login, *self.hosts))

    def described(self) -> dict[str, Any]:
        """Everything that a person or a program needs to use it."""
        return {
            "slurm": {**_described(self.login), "partitions": PARTITIONS, "nodes": self.slurm.node_names},
            "hosts": [_described(host) for host in self.hosts],
            "slurm_conf": str(self.slurm.config),
        }


def _described(host: SshHost) -> dict[str, Any]:
    return {
        "host": "127.0.0.1",
        "port": host.port,
        "username": host.account,
        "key_file": str(host.key_file),
        "host_key": host.host_key,
    }


@contextmanager
def running_cluster(folder: Path, **options: Any) -> Iterator[MiniCluster]:
    """A cluster that is gone afterwards, with everything that it kept. Raises CannotStart."""
    cluster = MiniCluster.at(folder, **options)
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
