"""What reaching a site costs: the SSH connection, commands and streams on it, and nodes on a host and as Slurm jobs.

Also how soon such nodes work: from a render job that wakes the whole service to the node's start and its first lease.

python -m benchmarks sites [--json FILE] [--quick] [--repeats 200]

Against real daemons on the loopback (deployment/minicluster; as root), side by side with OpenSSH's own client. Times
are medians, in milliseconds unless said otherwise.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks import _command
from deployment.minicluster.cluster import MiniCluster, running_cluster
from deployment.minicluster.sshd import SshHost
from rrm.launchers.base import Batch, Launcher, Liveness, NodeSpec
from rrm.launchers.bootstrap import Renderers
from rrm.launchers.connection import Connection, Target
from rrm.launchers.slurm.launcher import SlurmLauncher
from rrm.launchers.ssh import SshLauncher
from tests.acceptance.stack import Client, running_rrm
from tests.cluster.sites import clear, register

PYTHON = "/usr/bin/python3"
STREAM_BYTES = 256 * 2**20
Figures = dict[str, Any]


def target_of(host: SshHost) -> Target:
    folder = f".rrm-bench-{os.getpid()}"
    return Target(
        "bench", "127.0.0.1", host.port, host.account, host.key_file, host.host_key, python=PYTHON, directory=folder
    )


def milliseconds(act: Callable[[], object], repeats: int) -> list[float]:
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        act()
        found.append(1e3 * (time.perf_counter() - began))
    return sorted(found)


def of_connection(host: SshHost, repeats: int) -> Figures:
    connection = Connection(target_of(host))

    def anew() -> None:
        other = Connection(target_of(host))
        other.run(["true"])
        other.close()

    connection.run(["true"])
    commands = milliseconds(lambda: connection.run(["true"]), repeats)
    calls = milliseconds(lambda: connection.call("def main(r): return r", 1), repeats // 4)
    figures = {
        "first_command_ms": statistics.median(milliseconds(anew, max(3, repeats // 10))),
        "command_ms": statistics.median(commands),
        "command_p95_ms": commands[int(0.95 * len(commands))],
        "call_ms": statistics.median(calls),
        "openssh_command_ms": statistics.median(milliseconds(lambda: openssh(host), max(3, repeats // 10))),
        "tunnel_MB_per_s": tunnel(connection),
    }
    connection.close()
    return figures


def openssh(host: SshHost) -> None:
    """One command by OpenSSH's client: a new connection each time."""
    checks = ("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")
    place = ("-i", str(host.key_file), "-p", str(host.port), f"{host.account}@127.0.0.1")
    subprocess.run(["ssh", "-q", *checks, *place, "true"], check=True, stdin=subprocess.DEVNULL)


def tunnel(connection: Connection) -> float:
    """Megabytes a second from the host through a listening port of it to this process."""
    got = threading.Event()

    def drain(listener: socket.socket) -> None:
        stream, _ = listener.accept()
        with stream:
            while stream.recv(2**18):
                pass
        got.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=drain, args=(listener,), daemon=True).start()
        forward = connection.listen("127.0.0.1", 0, ("127.0.0.1", listener.getsockname()[1]))
        piece = bytes(2**18)
        began = time.perf_counter()
        with socket.create_connection(("127.0.0.1", forward.port)) as stream:
            for _ in range(STREAM_BYTES // len(piece)):
                stream.sendall(piece)
        got.wait(60)
        took = time.perf_counter() - began
    connection.unlisten(forward)
    return STREAM_BYTES / 1e6 / took


def of_launcher(launcher: Launcher, repeats: int) -> Figures:
    """Start, survey and stop nodes that do nothing, one after another."""
    rows = [_one_node(launcher, number) for number in range(repeats)]
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def _one_node(launcher: Launcher, number: int) -> Figures:
    command = (PYTHON, "-c", "import time; time.sleep(600)")
    spec = NodeSpec(f"rrm-bench-{number}", "bench", "http://127.0.0.1:9", "token", command=command, batch=Batch())
    began = time.perf_counter()
    handle = launcher.launch(spec)
    launched = time.perf_counter()
    while launcher.survey([handle]).nodes[handle["name"]].liveness is not Liveness.RUNNING:
        time.sleep(0.05)
    runs = time.perf_counter()
    seconds = milliseconds(lambda: launcher.survey([handle]), 5)
    stopping = time.perf_counter()
    while not launcher.stop(handle, timedelta(seconds=5)):
        time.sleep(0.1)
    return {
        "launch_ms": 1e3 * (launched - began),
        "running_ms": 1e3 * (runs - began),
        "survey_ms": statistics.median(seconds),
        "stop_ms": 1e3 * (time.perf_counter() - stopping),
    }


def of_service(cluster: MiniCluster, folder: Path, repeats: int) -> Figures:
    """How soon nodes work that the whole service starts because there is a job; the renderers are there already."""
    found: Figures = {}
    with running_rrm(folder / "rrm") as stack, stack.client() as client:
        for kind, site, host in (("ssh", "one", cluster.hosts[0]), ("slurm", "slurm", cluster.login)):
            place = Path(pwd.getpwnam(host.account).pw_dir) / target_of(host).directory / kind
            reach = {"kind": kind, "gateway": "127.0.0.1", "connection": "tunnel"}
            register(stack, client, site, host, directory=f"{target_of(host).directory}/{kind}", **reach)
            resource = {"id": kind, "sites": [site], "max_nodes": 1, "queue": "batch", "memory": 500}
            client.call("POST", "resource/", json=resource)
            # The first brings the renderers and fills their cache.
            rows = [_woken(client, kind, site, place) for _ in range(repeats + 1)][1:]
            found |= {f"{kind}_{name}": statistics.median(row[name] for row in rows) for name in rows[0]}
    return found


def _woken(client: Client, kind: str, site: str, place: Path) -> Figures:
    """One node for one picture. Its folder at the site tells when it was accepted and when it began to run."""
    asked = time.time()
    job = client.finished(client.submit(resource=kind, model="burst", width=512, height=512), 120)
    node = client.get(f"node/?site={site}")["results"][0]
    (folder,) = place.glob(f"*/nodes/{node['name']}")
    began = (folder / ("claim" if kind == "slurm" else "pid.json")).stat().st_mtime
    accepted = json.loads((folder / "job.json").read_text())["at"] if kind == "slurm" else began
    log = client.content(f"node/{node['id']}/log?stream=err&tail=1000").decode()
    first = next(line for line in log.splitlines() if f"of job {job['id']}" in line)
    leased = datetime.strptime(first[:23], "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp()
    clear(client, site)
    return {"accepted_ms": 1e3 * (accepted - asked), "first_lease_ms": 1e3 * (leased - began)}


def figures_of(cluster: MiniCluster, repeats: int) -> Figures:
    found = of_connection(cluster.hosts[0], repeats)
    nowhere = Renderers("none", "/nowhere", PYTHON)
    launchers: dict[str, Launcher] = {
        "ssh": SshLauncher(Connection(target_of(cluster.hosts[0])), lambda _: nowhere),
        "slurm": SlurmLauncher(Connection(target_of(cluster.login)), lambda _: nowhere, poll_interval=timedelta(0)),
    }
    for kind, launcher in launchers.items():
        found |= {f"{kind}_{name}": value for name, value in of_launcher(launcher, max(2, repeats // 40)).items()}
    return found


def show(found: Figures) -> None:
    print(f"a first command, with the login   {found['first_command_ms']:8.1f} ms")
    print(f"the same by OpenSSH's client      {found['openssh_command_ms']:8.1f} ms")
    print(f"a command on the open connection  {found['command_ms']:8.1f} ms, p95 {found['command_p95_ms']:.1f}")
    print(f"a Python program over there       {found['call_ms']:8.1f} ms")
    print(f"through a tunnel                  {found['tunnel_MB_per_s']:8.0f} MB/s\n")
    print(f"{'':8}{'launch':>10}{'running':>10}{'survey':>10}{'stop':>10}")
    for kind in ("ssh", "slurm"):
        row = (found[f"{kind}_{name}_ms"] for name in ("launch", "running", "survey", "stop"))
        print(f"{kind:8}" + "".join(f"{value:7.0f} ms" for value in row))
    print(f"\n{'':8}{'from a job to the node accepted':>36}{'from its start to its first lease':>36}")
    for kind in ("ssh", "slurm"):
        print(f"{kind:8}{found[f'{kind}_accepted_ms']:33.0f} ms{found[f'{kind}_first_lease_ms']:33.0f} ms")


def main() -> None:
    parser = _command.parser(__doc__, quick="a tenth of the repeats")
    parser.add_argument("--repeats", type=int, default=200)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="rrm-bench-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        with running_cluster(folder) as cluster, contextlib.ExitStack() as left:
            home = Path(pwd.getpwnam(cluster.login.account).pw_dir) / target_of(cluster.login).directory
            left.callback(shutil.rmtree, home, ignore_errors=True)
            repeats = options.repeats // 10 if options.quick else options.repeats
            found = figures_of(cluster, repeats)
            found |= of_service(cluster, folder, max(2, repeats // 40))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show(found)
    _command.keep(found, options)


if __name__ == "__main__":
    main()
