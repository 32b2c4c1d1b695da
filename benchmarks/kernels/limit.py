"""The limit: exact steps on independent vectors in registers, with no test and nothing kept, emitted like the kernel.

Nothing that computes the counts by these operations can be faster; the best of several numbers of vectors counts.
"""

from __future__ import annotations

import ctypes
import threading
import time
from dataclasses import replace
from typing import Any

from renderers.mandelbrot.formulas import square
from renderers.mandelbrot.simd.emit import Module
from renderers.mandelbrot.simd.machine_code import Code, compiled
from renderers.mandelbrot.simd.state import Plan
from renderers.mandelbrot.simd.target import Target, host_target
from renderers.mandelbrot.simd.values import I64, POINTER, Array, Variable

VECTORS = (4, 5, 6, 7, 8, 10)
UNROLLED = 8
PASSES = 400_000
LONGER = 10  # times as many passes where threads have to start together


class Probe:
    """The limit of one instruction set."""

    def __init__(self, name: str) -> None:
        target = host_target(name)
        self._plans = [replace(target.plan, vectors=count) for count in VECTORS]
        self._runs = [_compiled(target, plan) for plan in self._plans]

    def rates(self) -> list[float]:
        """Iterations per second of each number of vectors, on this thread's processor time."""
        return [_rate(run, plan) for run, plan in zip(self._runs, self._plans, strict=True)]

    def together(self, threads: int) -> float:
        """Iterations per second of so many threads at once, for the best number of vectors; by processor time."""
        rates = self.rates()
        which = rates.index(max(rates))
        run, plan = self._runs[which], self._plans[which]
        workers = [threading.Thread(target=_call, args=(run, plan, LONGER * PASSES)) for _ in range(threads)]
        began = time.process_time()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        spent = (time.process_time() - began) / threads
        return threads * LONGER * PASSES * UNROLLED * plan.all_lanes / spent


def _rate(run: Any, plan: Plan) -> float:
    began = time.thread_time()
    _call(run, plan, PASSES)
    return PASSES * UNROLLED * plan.all_lanes / (time.thread_time() - began)


def _call(run: Any, plan: Plan, passes: int) -> None:
    points = [-0.1 - 0.001 * k for k in range(plan.all_lanes)] + [0.05 + 0.002 * k for k in range(plan.all_lanes)]
    memory = (ctypes.c_double * len(points))(*points)
    run(memory, passes)


def _compiled(target: Target, plan: Plan) -> Any:
    return Code(compiled(_text(plan), target), target).function("probe", ctypes.c_void_p, ctypes.c_int64)


def _text(plan: Plan) -> str:
    module = Module(fused=any(plan.fused), has_masks=plan.has_masks)
    with module.function("probe", [("points", POINTER), ("passes", I64)], exported=True) as (body, (memory, passes)):
        points = Array(body, memory, "double")
        each = range(plan.vectors)
        cx = [points.get(k * plan.lanes, plan.lanes) for k in each]
        cy = [points.get(plan.all_lanes + k * plan.lanes, plan.lanes) for k in each]
        x = [Variable(body, plan.numbers, 0.0) for _ in each]
        y = [Variable(body, plan.numbers, 0.0) for _ in each]
        with body.counted(0, passes):
            values = [(x[k].get(), y[k].get()) for k in each]
            for _ in range(UNROLLED):
                for k in each:
                    body.fused = plan.fused[k % len(plan.fused)]
                    values[k] = square(*values[k], cx[k], cy[k])
            for k in each:
                x[k].set(values[k][0])
                y[k].set(values[k][1])
        for k in each:
            points.set(k * plan.lanes, x[k].get() + y[k].get())
        body.give()
    return module.text()
