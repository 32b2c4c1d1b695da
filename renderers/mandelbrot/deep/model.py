"""The render model of a deep view: its reference orbit with the tables that the kernel needs, and drawing with it."""

import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from renderers.mandelbrot.deep import native
from renderers.mandelbrot.deep.bla import Level, levels
from renderers.mandelbrot.deep.layout import BLOCK, ENTRY, NEAR, PADDING, WIDE_ENTRY, state_slots
from renderers.mandelbrot.deep.orbit import Orbit, precision, reference_orbit
from renderers.mandelbrot.deep.reach import NEVER, reaches
from renderers.mandelbrot.deep.scaled import Doubles, Scaled
from renderers.mandelbrot.kernel import Window
from renderers.mandelbrot.tile import Counts, Flag, Smooth

TABLES_KEPT = 2  # for so many shapes of image
WIDE = -963  # views with a corner closer than 2^WIDE to their centre, 1e-290, need more than a double's exponent


@dataclass(frozen=True)
class Reference:
    """What the orbit depends on; `radius` gives its precision."""

    digest: str
    center: tuple[Fraction, Fraction]
    radius: Fraction
    max_iter: int
    escape_radius: float

    @property
    def bits(self) -> int:
        return precision(self.radius)

    @property
    def estimated_seconds(self) -> float:
        """What computing the orbit takes at most, on a machine of our days."""
        return self.max_iter * (0.6e-6 + 1.2e-9 * self.bits)

    def orbit(self, stopped: Callable[[], bool] = lambda: False) -> Orbit:
        """Compute it: half a microsecond to several for each step. Raises OrbitInterrupted when stopped."""
        return reference_orbit(self.center, self.bits, self.max_iter, self.escape_radius, stopped)


@dataclass(frozen=True)
class DeepView:
    """Pixel (row r, column c) samples centre + (c - width/2 + across)·dx + i·(r - height/2 + up)·dy.

    The centre is that of the reference orbit; `shift` is (across, up), how many pixels the view's own is from it.
    """

    dx: Scaled
    dy: Scaled
    width: int
    height: int
    shift: tuple[float, float] = (0.0, 0.0)

    def finer(self, factor: int) -> "DeepView":
        """The view of an image so many times as large."""
        across, up = self.shift
        width, height, shift = factor * self.width, factor * self.height, (factor * across, factor * up)
        return DeepView(self.dx.over(factor), self.dy.over(factor), width, height, shift)

    def columns(self, window: Window) -> tuple[Doubles, int]:
        """How far each column is from the centre: doubles, and the power of two that they are to be multiplied by."""
        numbers = np.arange(window.col0, window.col0 + window.cols, dtype=np.float64) - 0.5 * self.width
        numbers += self.shift[0]
        return numbers * self.dx.mantissa, self.dx.exponent

    def rows(self, window: Window) -> tuple[Doubles, int]:
        """The same of the rows."""
        numbers = np.arange(window.row0, window.row0 + window.rows, dtype=np.float64) - 0.5 * self.height
        numbers += self.shift[1]
        return numbers * self.dy.mantissa, self.dy.exponent

    @property
    def farthest(self) -> Scaled:
        """The power of two next above the distance of the corners."""
        columns, rows = 0.5 * self.width + abs(self.shift[0]), 0.5 * self.height + abs(self.shift[1])
        across = math.frexp(columns * self.dx.mantissa)[1] + self.dx.exponent
        up = math.frexp(rows * self.dy.mantissa)[1] + self.dy.exponent
        return Scaled(0.5, max(across, up) + 2)


@dataclass(frozen=True)
class Tables:
    """What the kernel reads beside the orbit, for all views that reach as far as `exponent` says; 2^exponent."""

    starts: NDArray[np.int64]
    entries: Doubles
    wide_entries: Doubles
    bounds: Doubles

    @property
    def size_bytes(self) -> int:
        return self.entries.nbytes + self.wide_entries.nbytes + self.bounds.nbytes

    @classmethod
    def of(cls, orbit: Orbit, farthest: Scaled) -> "Tables":
        """Make them: 0.2 µs for each step of the orbit."""
        table = levels(orbit, farthest)
        starts = np.cumsum([0, *(len(level) for level in table)], dtype=np.int64)
        wide = farthest.exponent < WIDE
        entries = np.concatenate([np.empty((0, ENTRY)), *map(_entries, table)])
        wide_entries = np.concatenate([np.empty((0, WIDE_ENTRY)), *(_wide_entries(level) for level in table if wide)])
        return cls(starts, entries, wide_entries, _bounds(orbit, table, farthest))


def _entries(level: Level) -> Doubles:
    return np.stack([level.r.doubles(), *level.a.doubles(), *level.b.doubles()], axis=1)


def _wide_entries(level: Level) -> Doubles:
    columns = (level.r.m, level.r.e, level.a.re, level.a.im, level.a.e, level.b.re, level.b.im, level.b.e)
    slots = [column if column.dtype == np.float64 else column.astype(np.int64).view(np.float64) for column in columns]
    return np.stack(slots, axis=1)


def _bounds(orbit: Orbit, table: list[Level], farthest: Scaled) -> Doubles:
    bounds = np.full((len(orbit.twice) // BLOCK + PADDING, 2), NEVER)
    found = reaches(orbit, float(farthest))
    bounds[: len(found), 0] = found
    if table:
        bounds[: len(table[0]), 1] = table[0].r.doubles()
    return bounds


class DeepModel:
    """A loaded model. Safe to use from several threads; `load_seconds` is what it took to get it."""

    def __init__(self, reference: Reference, orbit: Orbit) -> None:
        self.reference = reference
        self.orbit = orbit
        self.load_seconds = 0.0
        self._lock = threading.Lock()
        self._tables: OrderedDict[Scaled, Tables] = OrderedDict()

    @property
    def size_bytes(self) -> int:
        """What it takes in memory: 16 bytes for each step of the orbit, and 6 to 9 for each of its tables."""
        with self._lock:
            return self.orbit.size_bytes + sum(tables.size_bytes for tables in self._tables.values())

    def tables(self, farthest: Scaled) -> Tables:
        """Those for views that reach so far; made on first use, the last TABLES_KEPT are kept."""
        with self._lock:
            if farthest not in self._tables:
                self._tables[farthest] = Tables.of(self.orbit, farthest)
            self._tables.move_to_end(farthest)
            while len(self._tables) > TABLES_KEPT:
                self._tables.popitem(last=False)
            return self._tables[farthest]

    def render_tile(
        self,
        view: DeepView,
        window: Window,
        counts_out: Counts,
        smooth_out: Smooth,
        stop: Flag,
        *,
        max_iter: int | None = None,
    ) -> bool:
        """Fill the two contiguous rows x cols arrays; False when `stop[0]` was set from another thread meanwhile.

        Another `max_iter` than the reference's may not be larger, unless its orbit ends by escaping.
        """
        tables, orbit, reference = self.tables(view.farthest), self.orbit, self.reference
        offsets = _Offsets(view, window, wide=len(tables.wide_entries) > 0)
        state = _aligned(state_slots(native.lanes(), native.GROUPS))
        arrays: list[NDArray[Any]] = [orbit.twice, tables.bounds, tables.entries, tables.starts, offsets.xs, offsets.ys]
        arrays += [counts_out, smooth_out, stop, state]
        arrays += [orbit.tiny, tables.wide_entries, offsets.wide_xs, offsets.wide_ys]
        limit = max_iter or reference.max_iter
        sizes = (len(orbit.tiny), orbit.last, limit, len(tables.starts) - 1, window.cols, window.rows)
        numbers = (reference.escape_radius, *orbit.center, offsets.floor)
        pointers = (array.ctypes.data for array in arrays)
        return bool(native.perturb()(*pointers, *sizes, offsets.exponent, *numbers))


class _Offsets:
    """How far the pixels of a window are from the centre, as the kernel wants them."""

    def __init__(self, view: DeepView, window: Window, *, wide: bool) -> None:
        (xs, ex), (ys, ey) = view.columns(window), view.rows(window)
        self.exponent = max(ex, ey)
        self.wide_xs, self.wide_ys = np.ldexp(xs, ex - self.exponent), np.ldexp(ys, ey - self.exponent)
        self.floor = 2.0**NEAR if wide else 0.0
        self.xs: Doubles = np.zeros(len(xs)) if wide else np.ldexp(xs, ex)
        self.ys: Doubles = np.zeros(len(ys)) if wide else np.ldexp(ys, ey)


def _aligned(slots: int) -> Doubles:
    """Zeros that begin where a cache line does."""
    room = np.zeros(slots + 8)
    start = -room.ctypes.data % 64 // 8
    return room[start : start + slots]
