"""What Python imports first in every process of the service that `benchmarks.stickiness` starts.

Nodes take one core, and every load computes: no orbit is read from a file. With RRM_BENCH_POLICY=least-loaded whichever
node is free gets the job that is first in turn, whatever it holds.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Any


def _node() -> None:
    from renderers.mandelbrot.deep.storage import OrbitFolder

    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[os.getpid() % len(cores)]})
    OrbitFolder.get = lambda *_: None  # type: ignore[method-assign]
    OrbitFolder.put = lambda *_: None  # type: ignore[method-assign]
    OrbitFolder.receive = lambda *_: None  # type: ignore[method-assign]


def _manager() -> None:
    from rrm.domain import scheduling

    shipped = scheduling.choose

    def choose(node: Any, jobs: Any, holders: Any, now: Any, **more: Any) -> Any:
        """As if nobody held anything: the first in turn. What the node holds is warm all the same, and counted so."""
        choice = shipped(replace(node, held=frozenset()), jobs, type(holders).of(()), now, **more)
        if choice is None or choice.model not in node.held:
            return choice
        return replace(choice, reason=scheduling.Reason.WARM)

    scheduling.choose = choose


if "renderers" in sys.orig_argv:
    _node()
elif os.environ.get("RRM_BENCH_POLICY") == "least-loaded":
    _manager()
