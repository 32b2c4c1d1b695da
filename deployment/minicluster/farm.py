"""A populate file for RRM that makes the test cluster's login host and its plain hosts sites of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from deployment.minicluster.cluster import MiniCluster
from deployment.minicluster.sshd import SshHost

_COLOURS = ("#f97316", "#16a34a", "#e11d48", "#8b5cf6")
_PYTHON = "/usr/bin/python3"


def run(cluster: MiniCluster) -> int:
    """Start the cluster, tell RRM of it, and run RRM until it ends; its exit code. The cluster stays."""
    data = Path(os.environ.get("RRM_DATA", "var")).resolve()
    cluster.start()
    environment = {**os.environ, "RRM_DATA": str(data)}
    file = data / "minicluster.yaml"
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(populate_file(cluster, data / "keys"), sort_keys=False))
    manage = [sys.executable, "manage.py"]
    for command in (["migrate", "--verbosity", "0"], ["populate", "deployment/populate/embedded.yaml"]):
        subprocess.run([*manage, *command], env=environment, check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*manage, "populate", str(file)], env=environment, check=True)
    os.execve(sys.executable, [*manage, "run"], environment)  # noqa: S606 - no shell is wanted


def populate_file(cluster: MiniCluster, keys: Path) -> dict[str, Any]:
    """Sections of the file; the hosts' keys are copied into RRM's key directory."""
    keys.mkdir(mode=0o700, exist_ok=True)
    hosts = {f"host{number}": host for number, host in enumerate(cluster.hosts, 1)}
    sites = {"minicluster": _site("Slurm on this machine", cluster.login, 0, kind="slurm", gateway="127.0.0.1")}
    for number, (name, host) in enumerate(hosts.items(), 1):
        sites[name] = _site(f"SSH host {number}", host, number, kind="ssh")
    for name, host in {"minicluster": cluster.login, **hosts}.items():
        shutil.copy(host.key_file, keys / name)
        (keys / name).chmod(0o600)
        sites[name]["identity"] = name
    resource = {
        "name": "Mandelbrot on a cluster and hosts",
        "sites": [*sites],
        "queue": "batch",
        "memory": 400,
        "max_nodes": len(sites),
    }
    return {"sites": sites, "resources": {"everywhere": resource}}


def _site(name: str, host: SshHost, number: int, **more: str) -> dict[str, Any]:
    return {
        "name": name,
        "color": _COLOURS[number % len(_COLOURS)],
        "host": "127.0.0.1",
        "port": host.port,
        "username": host.account,
        "host_key": host.host_key,
        "connection": "tunnel",
        "python": _PYTHON,
        "directory": f".rrm-minicluster-{number}",
        "max_nodes": 1,
        **more,
    }
