"""Command line of a renderer node: `python -m renderers mandelbrot --manager URL` and `python -m renderers warm`."""

import argparse
import logging
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from renderers import __version__

if TYPE_CHECKING:
    from renderers.agent import Agent
    from renderers.models import HeldModels

SIGNALS = (signal.SIGTERM, signal.SIGINT)

CLOSE_SECONDS = 1.0
MEGABYTE = 1 << 20
DISK_PER_MEMORY = 4  # files of orbits may take so many times what orbits in memory may


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the answer is the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=options.log_level, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    return _warm() if options.command == "warm" else _serve(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m renderers", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    node = commands.add_parser("mandelbrot", help="render for a manager until told to leave")
    node.add_argument("--manager", required=True, metavar="URL", help="root of the manager, e.g. http://127.0.0.1:9000")
    node.add_argument(
        "--name", default=os.environ.get("RRM_NODE_NAME"), help="name of the node (default RRM_NODE_NAME)"
    )
    node.add_argument("--token-file", default="-", metavar="PATH", help="launch token; - is standard input (default)")
    node.add_argument("--threads", type=int, default=0, metavar="N", help="cores to use (default: all it may use)")
    node.add_argument(
        "--model-memory", type=int, default=1024, metavar="MB", help="orbits of deep views to keep (default 1024)"
    )
    warm = commands.add_parser(
        "warm", help="compile the kernel for this processor and keep it, so that nodes start fast"
    )
    for command in (node, warm):
        command.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    return parser


def _warm() -> int:
    from renderers.mandelbrot.cache import cache_folder
    from renderers.mandelbrot.deep.native import perturb
    from renderers.mandelbrot.native import load

    started = time.perf_counter()
    load()
    perturb()
    print(f"kernel ready in {time.perf_counter() - started:.2f} s, kept in {cache_folder()}")
    return 0


def _serve(options: argparse.Namespace) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # before any thread exists: all of them leave signals to one
    token = _read_token(options.token_file)
    from renderers.agent import Agent, Identity
    from renderers.client import ManagerClient

    cores = options.threads if options.threads > 0 else len(os.sched_getaffinity(0))
    hostname = socket.gethostname()
    name = options.name or f"{hostname}-{os.getpid()}"
    identity = Identity(name, hostname, __version__, cores, os.getpid())
    agent = Agent(ManagerClient(options.manager, token), identity, _models(options.model_memory * MEGABYTE))
    threading.Thread(target=_obey_signals, args=(agent,), name="signals", daemon=True).start()
    outcome = agent.run()
    if not agent.close(CLOSE_SECONDS):
        logging.shutdown()
        os._exit(outcome)  # a core still computes; ending the interpreter under it would crash
    return outcome


def _models(memory: int) -> "HeldModels":
    from renderers.mandelbrot.cache import cache_folder
    from renderers.mandelbrot.deep.storage import OrbitFolder
    from renderers.models import HeldModels

    return HeldModels(memory=memory, folder=OrbitFolder(cache_folder() / "orbits", DISK_PER_MEMORY * memory))


def _obey_signals(agent: "Agent") -> None:
    """The first SIGTERM drains; a second one, or SIGINT, leaves at once."""
    while True:
        number = signal.sigwait(SIGNALS)
        if number == signal.SIGTERM and not agent.draining:
            agent.drain("SIGTERM")
        else:
            agent.abandon(signal.Signals(number).name)


def _read_token(path: str) -> str:
    """The first line of the file or of standard input."""
    if path == "-":
        return sys.stdin.readline().strip()
    return Path(path).read_text(encoding="utf-8").strip()


if __name__ == "__main__":
    sys.exit(main())
