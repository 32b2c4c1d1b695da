"""Does rendering work on this machine? `python -m renderers.selftest` renders one tile and tells of it in JSON.

Everything that a node imports is imported. Exit status 1: the tile is wrong, or none could be rendered.
"""

import contextlib
import hashlib
import importlib
import json
import os
import platform
import sys
import time
from typing import Any

import numpy as np

from renderers import __version__
from renderers.mandelbrot.deep.native import NoGenerator, perturb
from renderers.mandelbrot.kernel import Limits, View, Window, render_tile
from renderers.mandelbrot.native import load, path

IMPORTED_BY_NODES = ("renderers.agent", "renderers.client", "renderers.models")
SIZE = 64
# of *burst*, with the count of every pixel as the definition has it
VIEW = View(-2.5, -1.25, 3.5 / 2048, 2.5 / 2048)
WINDOW = Window(900, 700, SIZE, SIZE)
LIMITS = Limits(1000, 2.0)
DIGEST = "f264ced28926dfd9"


def main() -> int:
    """Print {version, python, kernel, cores, ok, seconds}; the answer is the exit code."""
    began = time.perf_counter()
    for module in IMPORTED_BY_NODES:
        importlib.import_module(module)
    load()
    with contextlib.suppress(NoGenerator):  # shallow views do not need it
        perturb()
    ok = _tile_digest() == DIGEST
    found: dict[str, Any] = {
        "version": __version__,
        "python": platform.python_version(),
        "kernel": path().name,
        "cores": len(os.sched_getaffinity(0)),
        "ok": ok,
        "seconds": round(time.perf_counter() - began, 3),
    }
    sys.stdout.write(json.dumps(found) + "\n")
    return 0 if ok else 1


def _tile_digest() -> str:
    counts, smooth = np.zeros((SIZE, SIZE), np.uint32), np.zeros((SIZE, SIZE), np.float32)
    render_tile(VIEW, WINDOW, LIMITS, counts, smooth, np.zeros(1, np.uint8))
    return hashlib.sha256(counts.astype("<u4").tobytes()).hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main())
