"""The renderer without a manager: all tiles of an image on all cores, encoded, and nothing else."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass

from benchmarks.whole.inputs import Input
from renderers.mandelbrot.native import load
from renderers.mandelbrot.render import Renderer, Work


@dataclass(frozen=True)
class Spent:
    """Wall and processor seconds, and the bytes of all tiles."""

    wall: float
    cpu: float
    size: int


def render(view: Input, outputs: tuple[str, ...], threads: int | None = None) -> Spent:
    """Render and encode every tile once. The code is ready and the threads wait before the clock starts."""
    load()
    over = threading.Event()
    works: list[Work] = []

    def ended(work: Work) -> None:
        works.append(work)
        over.set()

    renderer = Renderer(threads or len(os.sched_getaffinity(0)), lambda: None, ended)
    lease = view.lease(outputs)
    began, cpu = time.perf_counter(), time.process_time()
    renderer.submit(lease)
    over.wait()
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    renderer.close(5.0)
    (work,) = works
    assert work.error is None, work.error
    strips = sum(len(chunk) for row in work.rows for chunk, _ in row.strips)
    return Spent(wall, cpu, strips + sum(len(part) for result in work.results for part in result.parts.values()))
