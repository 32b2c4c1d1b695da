"""The kernel by generated machine code: one object per formula and instruction set."""

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from renderers.mandelbrot.formulas import MANDELBROT, Formula
from renderers.mandelbrot.simd.machine_code import loaded
from renderers.mandelbrot.simd.pixels import FUNCTIONS, pixels_text
from renderers.mandelbrot.simd.render import kernel_text
from renderers.mandelbrot.simd.state import JOB, PADDING
from renderers.mandelbrot.simd.target import Target, host_target
from renderers.mandelbrot.tile import Tile

C_TYPES = {"double": ctypes.c_double, "i64": ctypes.c_int64, "ptr": ctypes.c_void_p}


class Job(ctypes.Structure):
    """What the compiled kernel reads."""

    _fields_ = [(name, C_TYPES[str(kind)]) for name, kind in JOB.items()]


class SimdPath:
    """Renders and paints with one instruction set of this processor."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._target: Target = host_target(name)
        self._kernels: dict[str, Callable[[Any], int]] = {}

    def load(self) -> None:
        """Compile, or find compiled, what every node needs."""
        self.kernel(MANDELBROT)
        self.function("paint")

    def kernel(self, formula: Formula) -> Callable[[Any], int]:
        """The compiled kernel of a formula; Julia sets share it."""
        found = self._kernels.get(formula.name)
        if found is None:
            target, plain = self._target, Formula(formula.family, formula.power)
            code = loaded(f"kernel-{formula.name}", lambda: kernel_text(target.plan, plain), target)
            found = self._kernels.setdefault(formula.name, code.function("render", ctypes.c_void_p))
        return found

    def render(self, tile: Tile) -> bool:
        """Fill the tile; False when its stop flag was raised meanwhile."""
        xs = np.concatenate((tile.xs, np.zeros(PADDING)))
        return self.run(tile, xs, only_unset=False)

    def run(self, tile: Tile, xs: Any, *, only_unset: bool, survivors: Any = None) -> bool:
        """Run the kernel once; `xs` has PADDING more doubles."""
        job = self._job(tile, xs)
        job.only_unset = int(only_unset)
        return bool(self.kernel(tile.formula)(ctypes.addressof(job)))

    def _job(self, tile: Tile, xs: Any) -> Job:
        return Job(
            xs=xs.ctypes.data,
            ys=tile.ys.ctypes.data,
            counts=tile.counts.ctypes.data,
            smooth=tile.smooth.ctypes.data,
            stop=tile.stop.ctypes.data,
            cols=len(tile.xs),
            rows=len(tile.ys),
            limit=tile.max_iter,
            radius2=tile.radius2,
            is_julia=tile.formula.julia is not None,
            cx=tile.formula.julia[0] if tile.formula.julia else 0.0,
            cy=tile.formula.julia[1] if tile.formula.julia else 0.0,
            knows_components=tile.formula == MANDELBROT and tile.knows_components,
        )

    @functools.cached_property
    def _pixels(self) -> Any:
        target = self._target
        plan = target.plan
        return loaded("pixels", lambda: pixels_text(plan.lanes, has_masks=plan.has_masks), target)

    def function(self, name: str) -> Callable[..., int]:
        """The compiled function of painting or encoding."""
        made: Callable[..., int] = self._pixels.function(name, *FUNCTIONS[name])
        return made
