"""Which path of the kernel this process takes: generated code for the widest vectors there are, or a portable one.

$RRM_KERNEL names another: avx512, avx512vl, avx2, sse2, neon, numba or numpy.
"""

import contextlib
import functools
import importlib.util
import logging
import os
import threading
from collections.abc import Callable
from typing import Any, Protocol

from renderers.mandelbrot.portable.path import PORTABLE, PortablePath
from renderers.mandelbrot.tile import Tile

simd: Any = None
with contextlib.suppress(ImportError, OSError):  # there are machines without a wheel of llvmlite
    from renderers.mandelbrot.simd import path as simd

log = logging.getLogger(__name__)

VARIABLE = "RRM_KERNEL"
_choosing = threading.Lock()


class Path(Protocol):
    """One way to compute tiles and pictures. All give the same bytes."""

    name: str

    def load(self) -> None:
        """Make everything ready that is needed for most jobs."""

    def render(self, tile: Tile) -> bool:
        """Fill the tile; False when its stop flag was raised meanwhile."""

    def function(self, name: str) -> Callable[..., int]:
        """A function of painting or encoding: paint, sub_filter or average."""


class UnknownPath(ValueError):
    """$RRM_KERNEL names something that this machine does not have."""


def load() -> None:
    """Choose the path and make it ready: milliseconds, or half a second for the first time on a type of processor."""
    path().load()


def path() -> Path:
    """The path of this process."""
    with _choosing:
        return _chosen(os.environ.get(VARIABLE, "auto"))


def function(name: str) -> Callable[..., int]:
    """The function of painting or encoding of this process's path."""
    return _function(path().name, name)


@functools.cache
def _function(_path_name: str, name: str) -> Callable[..., int]:
    return path().function(name)


@functools.cache
def _chosen(wanted: str) -> Path:
    if wanted == "auto":
        return _first_that_works()
    if wanted not in names():
        raise UnknownPath(f"{VARIABLE}={wanted}: this machine has auto, {', '.join(names())}")
    return made(wanted)


def names() -> list[str]:
    """The paths that this machine has, the fastest first."""
    return [*_generated(), *_portable()]


def made(name: str) -> Path:
    """The path of this name."""
    chosen: Path = PortablePath(name) if name in PORTABLE else simd.SimdPath(name)
    return chosen


def _first_that_works() -> Path:
    for name in _generated():
        try:
            best = made(name)
            best.load()
        except (RuntimeError, OSError):  # LLVM's errors, and a cache that cannot be read
            log.warning("the kernel for %s cannot be built; a slower one is used", name, exc_info=True)
        else:
            return best
    return made(_portable()[0])


def _generated() -> list[str]:
    """Instruction sets of this processor, the fastest first; none without llvmlite."""
    return [] if simd is None else list(simd.available())


def _portable() -> list[str]:
    return [name for name in PORTABLE if importlib.util.find_spec(name) is not None]
