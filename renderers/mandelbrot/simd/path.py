"""The kernel by generated machine code: one object per formula and instruction set."""

import ctypes
import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from renderers.mandelbrot.formulas import MANDELBROT, Formula
from renderers.mandelbrot.simd.discs import COVER
from renderers.mandelbrot.simd.machine_code import Code, loaded
from renderers.mandelbrot.simd.pixels import FUNCTIONS, pixels_text
from renderers.mandelbrot.simd.render import kernel_text
from renderers.mandelbrot.simd.state import JOB, PADDING, SURVIVOR
from renderers.mandelbrot.simd.target import available, host_target
from renderers.mandelbrot.tile import UNSET, Tile

__all__ = ["SimdPath", "available"]

C_TYPES: dict[str, Any] = {"double": ctypes.c_double, "i64": ctypes.c_int64, "ptr": ctypes.c_void_p}
STRIDES = (
    32,
    8,
)  # of the coarse grids from which discs are sought: the coarse one saves the fine one most of its searches
WORTH = 400  # steps: with a lower limit discs save less than the search for them takes


class Job(ctypes.Structure):
    """What the compiled kernel reads."""

    _fields_ = [(name, C_TYPES[str(kind)]) for name, kind in JOB.items()]


class SimdPath:
    """Renders and paints with one instruction set of this processor."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._target = host_target(name)

    def load(self) -> None:
        """Compile, or find compiled, what every node needs."""
        self._kernel(MANDELBROT)
        self.function("paint")

    def render(self, tile: Tile) -> bool:
        """Fill the tile; False when its stop flag was raised meanwhile."""
        if tile.only_unset:
            return self._run(tile, only_unset=True)
        is_plain = tile.formula != MANDELBROT or not tile.knows_components
        if is_plain or tile.max_iter < WORTH or min(tile.counts.shape) < STRIDES[-1]:
            return self._run(tile)
        tile.counts.fill(UNSET)
        for stride in STRIDES:
            if not self._cover(tile, stride):
                break
        return self._run(tile, only_unset=True)

    def _cover(self, tile: Tile, stride: int) -> int:
        """Render every stride-th pixel and the discs around those that are inside; answers how many were."""
        grid = slice(stride // 2, None, stride)
        counts, smooth = tile.counts[grid, grid].copy(), tile.smooth[grid, grid].copy()
        if counts.size == 0:
            return 0
        coarse = replace(tile, xs=tile.xs[grid].copy(), ys=tile.ys[grid].copy(), counts=counts, smooth=smooth)
        survivors = np.empty(counts.size * SURVIVOR)
        job = self._job(coarse, only_unset=True)
        job.survivors = survivors.ctypes.data
        self._kernel(MANDELBROT)[0](ctypes.addressof(job))
        if job.survived:
            pointers = (array.ctypes.data for array in (survivors, tile.counts, tile.smooth))
            sizes = (job.survived, len(tile.xs), len(tile.ys), len(coarse.xs), stride)
            self._kernel(MANDELBROT)[1](*pointers, *sizes, *_spacing(tile), float(tile.max_iter))
        tile.counts[grid, grid], tile.smooth[grid, grid] = counts, smooth
        return int(job.survived)

    def _run(self, tile: Tile, *, only_unset: bool = False) -> bool:
        job = self._job(tile, only_unset=only_unset)
        return bool(self._kernel(tile.formula)[0](ctypes.addressof(job)))

    def _job(self, tile: Tile, *, only_unset: bool) -> Job:
        constant = tile.formula.julia or (0.0, 0.0)
        xs = np.concatenate((tile.xs, np.zeros(PADDING)))
        job = Job(
            *(array.ctypes.data for array in (xs, tile.ys, tile.counts, tile.smooth, tile.stop)),
            cols=len(tile.xs),
            rows=len(tile.ys),
            limit=tile.max_iter,
            radius2=tile.radius2,
            is_julia=tile.formula.julia is not None,
            cx=constant[0],
            cy=constant[1],
            knows_components=tile.formula == MANDELBROT and tile.knows_components,
            only_unset=only_unset,
        )
        job.memory = xs
        return job

    @functools.cache  # noqa: B019  (there is one path in a process)
    def _kernel(self, formula: Formula) -> tuple[Callable[..., int], Callable[..., int]]:
        """`render` of a formula, and `cover` where it has that. Julia sets share the code."""
        plain, plan = Formula(formula.family, formula.power), self._target.plan
        code = loaded(f"kernel-{plain.name}", lambda: kernel_text(plan, plain), self._target)
        arguments = (C_TYPES[str(kind)] for _, kind in COVER)
        render: Callable[..., int] = code.function("render", ctypes.c_void_p)
        return render, code.function("cover", *arguments) if plain == MANDELBROT else render

    @functools.cached_property
    def _pixels(self) -> Code:
        plan = self._target.plan
        return loaded("pixels", lambda: pixels_text(plan.lanes, has_masks=plan.has_masks), self._target)

    def function(self, name: str) -> Callable[..., int]:
        """The compiled function of painting or encoding."""
        made: Callable[..., int] = self._pixels.function(name, *FUNCTIONS[name])
        return made


def _spacing(tile: Tile) -> tuple[float, float]:
    """Distance of neighbouring columns and rows."""
    across, up = (float(abs(axis[-1] - axis[0])) / (len(axis) - 1) for axis in (tile.xs, tile.ys))
    return across, up
