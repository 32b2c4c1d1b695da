"""The Mandelbrot kernel: escape counts and smooth values of one tile, in plain IEEE double arithmetic.

Count of a pixel: z = 0; for i = 0, 1, … max_iter - 1: z <- z² + c, and if then |z|² > escape_radius² the count is i.
If no i qualifies the count is max_iter (inside). A step is xx = x·x, yy = y·y, y = 2·(x·y) + ci, x = (xx - yy) + cr.

Smooth value of an outside pixel: count + fraction, fraction = e - log2(log2 |z|), where z is the orbit e - 1 steps after
the escape and e = 4 (fewer where |z| would overflow). Its limit for large e is continuous across the counts and does not
depend on the escape radius; three further steps come within 1.1e-5 of that limit. Inside pixels get max_iter.

How it is fast: pixels live in lanes. All lanes advance by blocks of untested steps, which the compiler turns into vector
instructions; only lanes that are still within the escape radius after a block commit it. An orbit that left the radius
(≥ 2) keeps growing, so no escape is missed. Lanes that did not commit are replayed from the start of the block with a
test on each step, which gives the exact count, and are refilled with fresh pixels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from renderers.mandelbrot.jit import compiled
from renderers.mandelbrot.log2 import log2

Floats = NDArray[np.float64]
Counts = NDArray[np.uint32]
Smooth = NDArray[np.float32]
Flag = NDArray[np.uint8]

LANES = 64
GROUP = 64
BLOCK = 16  # untested steps
HEAD = 24  # tested steps before a pixel gets a lane: most pixels of an overview leave here
WAITING = 6  # lanes that may wait for their replay before the lanes are gone through
FURTHER = 4.0  # smooth value: the escaping step and three more
HUGE = 1e60  # |z|² beyond which one more step could overflow
STACK = LANES + GROUP

# Fields of a pixel in flight. A buffer holds them as consecutive arrays: the compiler can see that they do not overlap.
X, Y, CX, CY, N, ID, FLAG, VALUE, FIELDS = range(9)


@dataclass(frozen=True)
class View:
    """Pixel (row r, column c) of the whole image samples x = x0 + c·dx, y = y0 + r·dy."""

    x0: float
    y0: float
    dx: float
    dy: float


@dataclass(frozen=True)
class Window:
    """Rows row0 … row0 + rows - 1 and columns col0 … col0 + cols - 1 of the whole image."""

    row0: int
    col0: int
    rows: int
    cols: int


@dataclass(frozen=True)
class Limits:
    """Where an orbit ends: after max_iter steps, or beyond escape_radius (2 ≤ radius ≤ 1e100)."""

    max_iter: int
    escape_radius: float


@compiled
def _advance(lanes: Floats, radius2: float, last: float) -> int:
    """Advance all lanes by one block; answer how many did not commit it (escaped, or fewer than BLOCK steps left)."""
    held = 0
    for lane in range(LANES):
        x = lanes[lane]
        y = lanes[Y * LANES + lane]
        cx = lanes[CX * LANES + lane]
        cy = lanes[CY * LANES + lane]
        n = lanes[N * LANES + lane]
        a = x
        b = y
        for _ in range(BLOCK):
            product = a * b
            a = (a * a - b * b) + cx
            b = (product + product) + cy
        commits = (a * a + b * b <= radius2) & (n <= last)
        lanes[lane] = a if commits else x
        lanes[Y * LANES + lane] = b if commits else y
        lanes[N * LANES + lane] = n + BLOCK if commits else n
        lanes[FLAG * LANES + lane] = 0.0 if commits else 1.0
        held += 0 if commits else 1
    return held


@compiled
def _replay(pixels: Floats, first: int, limit: float, radius2: float, steps: int) -> None:
    """Advance a group with a test on each step: up to n = limit inside; FLAG counts steps from the escape."""
    for _ in range(steps):
        active = 0
        for k in range(first, first + GROUP):
            x = pixels[k]
            y = pixels[Y * STACK + k]
            n = pixels[N * STACK + k]
            e = pixels[FLAG * STACK + k]
            fresh = e == 0.0
            goes = (fresh & (n < limit)) | ((e > 0.0) & (e < FURTHER) & (x * x + y * y < HUGE))
            product = x * y
            a = (x * x - y * y) + pixels[CX * STACK + k]
            b = (product + product) + pixels[CY * STACK + k]
            within = fresh & (a * a + b * b <= radius2)
            pixels[k] = a if goes else x
            pixels[Y * STACK + k] = b if goes else y
            pixels[N * STACK + k] = n + 1.0 if goes & within else n
            pixels[FLAG * STACK + k] = e if (not goes) | within else e + 1.0
            active += 1 if goes else 0
        if active == 0:
            return


@compiled
def _measure(pixels: Floats, first: int, limit: float) -> None:
    """Set VALUE of a group to the smooth value (limit where the pixel did not escape)."""
    for k in range(first, first + GROUP):
        x = pixels[k]
        y = pixels[Y * STACK + k]
        e = pixels[FLAG * STACK + k]
        value = pixels[N * STACK + k] + (e - log2(0.5 * log2(x * x + y * y)))
        pixels[VALUE * STACK + k] = value if e > 0.0 else limit


@compiled
def _generate(pixels: Floats, at: int, grid: tuple[Floats, Floats], limit: float) -> None:
    """Fill a group with the pixels from index `at` on (row-major); those in the two largest components are inside."""
    xs, ys = grid
    columns = xs.size
    total = columns * ys.size
    row = at // columns
    column = at - row * columns
    for k in range(GROUP):
        absent = at + k >= total
        pixels[ID * STACK + k] = -1.0 if absent else float(at + k)
        pixels[CX * STACK + k] = 0.0 if absent else xs[column]
        pixels[CY * STACK + k] = 0.0 if absent else ys[row]
        column += 1
        if column == columns:
            column = 0
            row += 1
    for k in range(GROUP):
        cx = pixels[CX * STACK + k]
        cy = pixels[CY * STACK + k]
        shifted = cx - 0.25
        q = shifted * shifted + cy * cy
        cardioid = q * (q + shifted) <= 0.25 * (cy * cy)
        disc = (cx + 1.0) * (cx + 1.0) + cy * cy <= 0.0625
        pixels[k] = 0.0
        pixels[Y * STACK + k] = 0.0
        pixels[N * STACK + k] = limit if cardioid | disc else 0.0
        pixels[FLAG * STACK + k] = 0.0


@compiled
def _write(pixels: Floats, k: int, out: tuple[Counts, Smooth]) -> None:
    """Store the result of one measured pixel."""
    pixel = int(pixels[ID * STACK + k])
    out[0][pixel] = np.uint32(pixels[N * STACK + k])
    out[1][pixel] = np.float32(pixels[VALUE * STACK + k])


@compiled
def _head(
    group: Floats, at: int, grid: tuple[Floats, Floats], limits: tuple[float, float], out: tuple[Counts, Smooth]
) -> None:
    """Take the next group of pixels and write those that end within HEAD steps; the others keep their ID."""
    limit, radius2 = limits
    _generate(group, at, grid, limit)
    _replay(group, 0, min(limit, float(HEAD)), radius2, HEAD + int(FURTHER))
    _measure(group, 0, limit)
    for k in range(GROUP):
        if (group[FLAG * STACK + k] > 0.0) | (group[N * STACK + k] >= limit):
            if group[ID * STACK + k] >= 0.0:
                _write(group, k, out)
            group[ID * STACK + k] = -1.0


@compiled
def _queue(group: Floats, work: Floats, queued: int) -> int:
    """Append the pixels of the group that still have an ID to the work stack; answer its length."""
    for k in range(GROUP):
        if group[ID * STACK + k] >= 0.0:
            for field in range(FLAG):
                work[field * STACK + queued] = group[field * STACK + k]
            queued += 1
    return queued


@compiled
def _finish(done: Floats, waiting: int, limits: tuple[float, float], out: tuple[Counts, Smooth]) -> int:
    """Replay and write the last group of the waiting pixels; answer how many still wait."""
    first = max(0, waiting - GROUP)
    for k in range(waiting, first + GROUP):
        done[ID * STACK + k] = -1.0
        done[N * STACK + k] = limits[0]
        done[FLAG * STACK + k] = 0.0
    _replay(done, first, limits[0], limits[1], BLOCK + int(FURTHER))
    _measure(done, first, limits[0])
    for k in range(first, waiting):
        _write(done, k, out)
    return first


@compiled
def _exchange(lanes: Floats, work: Floats, queued: int, done: Floats, waiting: int) -> tuple[int, int, int]:
    """Move the pixels of flagged lanes to `done` and refill those lanes; answer (queued, waiting, lanes left idle)."""
    idle = 0
    for lane in range(LANES):
        if lanes[FLAG * LANES + lane] == 0.0:
            continue
        if lanes[ID * LANES + lane] >= 0.0:
            for field in range(FLAG):
                done[field * STACK + waiting] = lanes[field * LANES + lane]
            done[FLAG * STACK + waiting] = 0.0
            waiting += 1
        if queued > 0:
            queued -= 1
            for field in range(FLAG):
                lanes[field * LANES + lane] = work[field * STACK + queued]
        else:
            idle += 1
            for field in range(FLAG):
                lanes[field * LANES + lane] = 0.0
            lanes[ID * LANES + lane] = -1.0
            lanes[N * LANES + lane] = -1e18  # rests at the origin and never asks for attention
        lanes[FLAG * LANES + lane] = 0.0
    return queued, waiting, idle


@compiled
def _tile(grid: tuple[Floats, Floats], limits: tuple[float, float], out: tuple[Counts, Smooth], stop: Flag) -> bool:
    """Render one tile into flat, row-major arrays; False when `stop` was raised meanwhile."""
    lanes = np.zeros(FIELDS * LANES)
    lanes[ID * LANES :] = -1.0  # every lane is empty and flagged
    group, work, done = np.zeros(FIELDS * STACK), np.zeros(FIELDS * STACK), np.zeros(FIELDS * STACK)
    limit, radius2 = limits
    total = grid[0].size * grid[1].size
    at, queued, waiting, live = 0, 0, 0, LANES
    while live > 0 and stop[0] == 0:
        while queued < LANES and at < total:
            _head(group, at, grid, limits, out)
            queued = _queue(group, work, queued)
            at += GROUP
        queued, waiting, idle = _exchange(lanes, work, queued, done, waiting)
        live -= idle
        if waiting >= GROUP:
            waiting = _finish(done, waiting, limits, out)
        patience = min(live, WAITING)
        while _advance(lanes, radius2, limit - BLOCK) < patience and stop[0] == 0:
            pass
    while waiting > 0:
        waiting = _finish(done, waiting, limits, out)
    return bool(stop[0] == 0)


def render_tile(view: View, window: Window, limits: Limits, counts_out: Counts, smooth_out: Smooth, stop: Flag) -> bool:
    """Render a window into its two contiguous arrays; False when `stop[0]` was set from another thread meanwhile."""
    xs = view.x0 + np.arange(window.col0, window.col0 + window.cols, dtype=np.float64) * view.dx
    ys = view.y0 + np.arange(window.row0, window.row0 + window.rows, dtype=np.float64) * view.dy
    out = (counts_out.reshape(-1), smooth_out.reshape(-1))
    return _tile((xs, ys), (float(limits.max_iter), limits.escape_radius * limits.escape_radius), out, stop)
