"""The session side alone, without a manager: for trying it, and for writing pages against it."""

import logging
import os
import signal
import threading
from dataclasses import replace

from renderers.mandelbrot.native import load
from renderers.streaming.place import ALONE
from renderers.streaming.server import SessionServer, missing

log = logging.getLogger(__name__)

CLOSE_SECONDS = 2.0


def view(port: int, threads: int) -> int:
    """Serve this machine, without a key, until interrupted or asked to exit; the answer is the exit code."""
    if lacking := missing():
        log.error("the session side needs %s", " and ".join(lacking))
        return 1
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    cores = threads if threads > 0 else len(os.sched_getaffinity(0))
    server = SessionServer(replace(ALONE, port=port), None, cores)
    server.start(over.set)
    log.info("http://%s/ answers without a key: camera, frame.jpg, stream, ws", server.address)
    load()
    over.wait()
    server.close(CLOSE_SECONDS)
    return 0
