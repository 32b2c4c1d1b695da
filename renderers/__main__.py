"""Command line of a renderer node: `python -m renderers mandelbrot --manager URL`, and `external`, `warm`, `view`."""

import argparse
import contextlib
import json
import logging
import os
import random
import signal
import socket
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from renderers import __version__

if TYPE_CHECKING:
    from renderers.agent import Agent
    from renderers.client import ManagerClient
    from renderers.external import ExternalNode
    from renderers.models import HeldModels
    from renderers.node import Exit, Identity
    from renderers.streaming.server import SessionServer

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
MARGINS, LONGEST_MARGIN = (0.05, 0.15), 300.0  # of a lifetime, and seconds, before the end

NODE_LINES = "%(asctime)s %(levelname)s node: %(message)s"  # told from those of the program that it runs
CLOSE_SECONDS = 1.0
MEGABYTE = 1 << 20
DISK_PER_MEMORY = 4  # files of orbits may take so many times what orbits in memory may


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the answer is the exit code."""
    options = _parser().parse_args(arguments)
    lines = NODE_LINES if options.command == "external" else "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(level=options.log_level, format=lines, stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if options.command == "view":
        return _view(options)
    return _warm() if options.command == "warm" else _serve(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m renderers", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    node = commands.add_parser("mandelbrot", help="render for a manager until told to leave")
    _add_node_options(node)
    node.add_argument(
        "--model-memory",
        type=int,
        default=os.environ.get("RRM_MODEL_MEMORY", "1024"),
        metavar="MB",
        help="orbits of deep views to keep (default: $RRM_MODEL_MEMORY, or 1024)",
    )
    external = commands.add_parser("external", help="run any program that answers HTTP, for a manager")
    _add_node_options(external)
    _add_program_options(external)
    warm = commands.add_parser(
        "warm", help="compile the kernel for this processor and keep it, so that nodes start fast"
    )
    view = commands.add_parser("view", help="what people who book a node see, without a manager, on this machine alone")
    view.add_argument("--port", type=int, default=0, metavar="N", help="where it answers (default: a free port)")
    for command in (node, view):
        command.add_argument(
            "--threads", type=int, default=0, metavar="N", help="cores to use (default: all it may use)"
        )
    for command in (node, external, warm, view):
        command.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    return parser


def _add_node_options(node: argparse.ArgumentParser) -> None:
    manager = node.add_mutually_exclusive_group(required=True)
    manager.add_argument("--manager", metavar="URL", help="root of the manager, e.g. http://127.0.0.1:9000")
    manager.add_argument("--manager-file", type=Path, metavar="PATH", help="a file that holds this URL")
    node.add_argument(
        "--name", default=os.environ.get("RRM_NODE_NAME"), help="name of the node (default RRM_NODE_NAME)"
    )
    node.add_argument("--token-file", default="-", metavar="PATH", help="launch token; - is standard input (default)")
    node.add_argument(
        "--lifetime", type=float, metavar="SECONDS", help="it is ended after so long, and leaves in order before"
    )
    node.add_argument("--exit-file", type=Path, metavar="PATH", help="where it writes how it ended, as JSON")


def _add_program_options(external: argparse.ArgumentParser) -> None:
    external.add_argument("--command", dest="program", required=True, help="what to run, in words as a shell has them")
    external.add_argument(
        "--parameters", default="", metavar="TEXT", help="more words; ${rest_port}, ${rest_hostname}, … are filled in"
    )
    external.add_argument("--schema", default="rest", metavar="NAME", help="what ${rest_schema} stands for")
    external.add_argument("--no-graceful-exit", action="store_true", help="do not PUT /v1/exit before it is ended")
    external.add_argument("--no-wait", action="store_true", help="do not wait until it answers PUT /registry")
    external.add_argument("--hostname", metavar="NAME", help="how others reach this machine (default: its name)")


def _warm() -> int:
    from renderers.mandelbrot.cache import cache_folder
    from renderers.mandelbrot.deep.native import perturb
    from renderers.mandelbrot.native import UnknownPath, load

    started = time.perf_counter()
    try:
        load()
        perturb()
    except UnknownPath as error:
        print(error, file=sys.stderr)
        return 1
    print(f"kernel ready in {time.perf_counter() - started:.2f} s, kept in {cache_folder()}")
    return 0


def _view(options: argparse.Namespace) -> int:
    from renderers.streaming.alone import view

    return view(options.port, options.threads)


def _serve(options: argparse.Namespace) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # before any thread exists: all of them leave signals to one
    token = _read_token(options.token_file)
    agent = _external_node(options, token) if options.command == "external" else _agent(options, token)
    threading.Thread(target=_obey_signals, args=(agent,), name="signals", daemon=True).start()
    if options.lifetime:
        _leave_before(options.lifetime, agent)
    outcome = agent.run()
    if options.exit_file:
        _tell_end(options.exit_file, outcome)
    if not agent.close(CLOSE_SECONDS):
        logging.shutdown()
        os._exit(outcome)  # a core still computes; ending the interpreter under it would crash
    return outcome


def _agent(options: argparse.Namespace, token: str) -> "Agent":
    from renderers.agent import Agent
    from renderers.client import ManagerClient

    client = ManagerClient(options.manager or options.manager_file, token)
    cores = options.threads if options.threads > 0 else len(os.sched_getaffinity(0))
    identity, models = _identity(options, cores), _models(options.model_memory * MEGABYTE)
    side = _session_side(client, identity, models, token)
    return Agent(client, replace(identity, address=side.address if side else None), models, side)


def _session_side(
    client: "ManagerClient", identity: "Identity", models: "HeldModels", token: str
) -> "SessionServer | None":
    """What shows the node to people. Where it cannot be had the node renders all the same."""
    from renderers.streaming.place import place_for
    from renderers.streaming.server import SessionServer, key_of, missing

    try:
        if lacking := missing():
            raise OSError(f"{' and '.join(lacking)} cannot be imported")
        place = place_for(client.manager_host, identity.hostname)
        return SessionServer(place, key_of(token), identity.cores, models)
    except OSError as error:
        logging.getLogger(__name__).warning("nobody can look at what this node draws: %s", error)
        return None


def _external_node(options: argparse.Namespace, token: str) -> "ExternalNode":
    from renderers.client import ManagerClient
    from renderers.external import ExternalNode
    from renderers.program import Program

    identity = _identity(options, len(os.sched_getaffinity(0)))
    if options.hostname:
        identity = replace(identity, hostname=options.hostname)
    program = Program(
        options.program,
        options.parameters,
        options.schema + identity.name,
        graceful_exit=not options.no_graceful_exit,
        wait_until_running=not options.no_wait,
    )
    job = os.environ.get("SLURM_JOB_ID", identity.name)
    return ExternalNode(ManagerClient(options.manager or options.manager_file, token), identity, program, job)


def _identity(options: argparse.Namespace, cores: int) -> "Identity":
    from renderers.node import Identity

    hostname = socket.gethostname()
    name = options.name or f"{hostname}-{os.getpid()}"
    machine = os.environ.get("SLURMD_NODENAME", "")
    return Identity(name, hostname, __version__, cores, os.getpid(), machine=machine, lifetime=options.lifetime)


def _leave_before(lifetime: float, agent: "Agent | ExternalNode") -> None:
    """Drain some time before the end; nodes that began together do not all leave at once."""
    margin = min(LONGEST_MARGIN, lifetime * random.uniform(*MARGINS))  # noqa: S311 - spread, not cryptography
    timer = threading.Timer(max(0.0, lifetime - margin), agent.drain, ["its time is nearly over"])
    timer.daemon = True
    timer.start()


def _tell_end(path: Path, outcome: "Exit") -> None:
    """Leave word of how the node ended, whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        draft.write_text(json.dumps({"code": int(outcome), "reason": outcome.name.lower(), "at": time.time()}))
        draft.replace(path)


def _models(memory: int) -> "HeldModels":
    from renderers.mandelbrot.cache import cache_folder
    from renderers.mandelbrot.deep.storage import OrbitFolder
    from renderers.models import HeldModels

    return HeldModels(memory=memory, folder=OrbitFolder(cache_folder() / "orbits", DISK_PER_MEMORY * memory))


def _obey_signals(agent: "Agent | ExternalNode") -> None:
    """The first SIGTERM drains, and so does SIGUSR1, by which schedulers warn; another, or SIGINT, leaves at once."""
    while True:
        number = signal.sigwait(SIGNALS)
        if number == signal.SIGUSR1 or (number == signal.SIGTERM and not agent.draining):
            agent.drain(signal.Signals(number).name)
        else:
            agent.abandon(signal.Signals(number).name)


def _read_token(path: str) -> str:
    """The first line of the file or of standard input."""
    if path == "-":
        return sys.stdin.readline().strip()
    return Path(path).read_text(encoding="utf-8").strip()


if __name__ == "__main__":
    sys.exit(main())
