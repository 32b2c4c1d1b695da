"""Renders leases on all cores: one pool of threads takes tiles from the leases in hand, oldest lease first.

A thread that finds no tile left in one lease starts on the next, so that no core waits for the last tile of a range.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from renderers.lease import Lease
from renderers.mandelbrot.bundle import Layout, RowStrips, TileResult, counts_format, smooth_format, write_bundle
from renderers.mandelbrot.deep.model import DeepModel
from renderers.mandelbrot.encode import pack, png, preview
from renderers.mandelbrot.kernel import View, Window, render_tile
from renderers.mandelbrot.methods import painting
from renderers.mandelbrot.palette import Bytes
from renderers.mandelbrot.picture import AnyView, Artist, Mask, grown
from renderers.mandelbrot.strips import whole_rows
from renderers.mandelbrot.tile import UNSET, Counts, Smooth

log = logging.getLogger(__name__)


class Work:
    """A lease being rendered. Its fields change under the renderer's lock only."""

    def __init__(self, lease: Lease, deep: DeepModel | None = None) -> None:
        self.lease = lease
        self.deep = deep
        self.artist = Artist(lease.view, lease.sampling, painting(lease))
        self.next_tile = lease.start
        self.running = 0
        self.pictures = whole_rows(lease)
        self.results: list[TileResult] = []
        self.stop = np.zeros(1, np.uint8)
        self.abandoned = False
        self.failed_tile: int | None = None
        self.error: str | None = None

    @property
    def unstarted(self) -> int:
        """Tiles that no thread has taken yet."""
        return 0 if self.stop[0] else self.lease.stop - self.next_tile

    @property
    def ended(self) -> bool:
        """No thread renders it and none will."""
        return self.running == 0 and self.unstarted == 0

    def draw(self, view: AnyView, window: Window, counts: Counts, smooth: Smooth, *, only_unset: bool = False) -> bool:
        """Fill the arrays, or at least where counts are UNSET, by the method of the view; False when stopped."""
        if isinstance(view, View):
            lease = self.lease
            return render_tile(
                view, window, lease.limits, counts, smooth, self.stop, lease.formula, only_unset=only_unset
            )
        if self.deep is None:
            raise ValueError("the model of a deep view was not loaded")
        return self.deep.render_tile(view, window, counts, smooth, self.stop)

    def bundle(self) -> bytes:
        """The body that delivers all results."""
        lease = self.lease
        layout = Layout(lease.id, lease.start, lease.stop, lease.preview_scale, lease.limits.max_iter)
        return write_bundle(layout, self.results)


class Buffers:
    """Arrays for the values of a window, kept from one to the next."""

    def __init__(self) -> None:
        self._counts: Counts = np.empty(0, np.uint32)
        self._smooth: Smooth = np.empty(0, np.float32)

    def of(self, rows: int, cols: int) -> tuple[Counts, Smooth]:
        """Contiguous arrays of this shape; they hold anything."""
        if self._counts.size < rows * cols:
            self._counts, self._smooth = np.empty(rows * cols, np.uint32), np.empty(rows * cols, np.float32)
        size, shape = rows * cols, (rows, cols)
        return self._counts[:size].reshape(shape), self._smooth[:size].reshape(shape)


class TilePainter:
    """One thread's work buffers, kept from tile to tile."""

    def __init__(self) -> None:
        self._pixels, self._samples = Buffers(), Buffers()

    def render(self, work: Work, tile: int) -> TileResult | None:
        """All wanted parts of one tile; None when the work was stopped meanwhile."""
        started = time.perf_counter()
        lease, window, margin = work.lease, work.lease.window(tile), work.lease.sampling.margin
        values: tuple[Counts, Smooth] | None = None
        if lease.sampling.begins_with_pixels or lease.outputs & {"counts", "smooth"}:
            values = _compute(work, self._pixels, lease.view, grown(window, margin), None)
            if values is None:
                return None
        picture = work.artist.picture(window, values, partial(_compute, work, self._samples))
        if picture is None:
            return None
        parts, row = _encode_picture(work, tile, picture)
        if values is not None:
            parts |= _encode_values(lease, *(_inner(array, margin) for array in values))
        return TileResult(tile, (time.perf_counter() - started) * 1e3, parts, row)


def _compute(
    work: Work, buffers: Buffers, view: AnyView, window: Window, wanted: Mask | None
) -> tuple[Counts, Smooth] | None:
    """The values of a window, or of the points in a mask; None when the work was stopped meanwhile."""
    counts, smooth = buffers.of(window.rows, window.cols)
    if wanted is not None:
        np.copyto(counts, np.where(wanted, np.uint32(UNSET), np.uint32(work.lease.limits.max_iter)))
        smooth.fill(0.0)
    is_done = work.draw(view, window, counts, smooth, only_unset=wanted is not None)
    return (counts, smooth) if is_done else None


def _inner(values: NDArray[Any], margin: int) -> NDArray[Any]:
    """Without a margin on each side, contiguous."""
    rows, cols = values.shape
    return np.ascontiguousarray(values[margin : rows - margin, margin : cols - margin])


def _encode_picture(work: Work, tile: int, picture: Bytes) -> tuple[dict[str, bytes], RowStrips | None]:
    """The picture of one tile. It may go into that of a whole row of tiles, whose last tile has the strips."""
    lease = work.lease
    row, col = divmod(tile, lease.tile_cols)
    parts: dict[str, bytes] = {}
    strips = None
    if row in work.pictures:
        strips = work.pictures[row].place(col * lease.tile_size, picture)
    elif "png" in lease.outputs or lease.preview_scale == 1:
        parts["png"] = png(picture)
    if lease.preview_scale > 1:
        parts["preview"] = preview(picture, lease.preview_scale)
    return parts, strips


def _encode_values(lease: Lease, counts: Counts, smooth: Smooth) -> dict[str, bytes]:
    parts: dict[str, bytes] = {}
    if "counts" in lease.outputs:
        form = counts_format(lease.limits.max_iter)
        parts["counts"] = pack(counts.astype(form["dtype"]), shuffle=form["shuffle"])
    if "smooth" in lease.outputs:
        parts["smooth"] = pack(smooth, shuffle=smooth_format()["shuffle"])
    return parts


class Renderer:
    """A pool of threads over the leases in hand.

    `on_begin` is called when a thread has taken a tile, `on_end` when the last tile of a lease ended; under no lock.
    """

    def __init__(self, threads: int, on_begin: Callable[[], None], on_end: Callable[[Work], None]) -> None:
        self._on_begin = on_begin
        self._on_end = on_end
        self._changed = threading.Condition()
        self._works: list[Work] = []
        self._closed = False
        self._threads = [threading.Thread(target=self._run, name=f"render-{i}", daemon=True) for i in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, lease: Lease, deep: DeepModel | None = None) -> None:
        """Render this lease, with the model it needs, after those already in hand."""
        with self._changed:
            self._works.append(Work(lease, deep))
            self._changed.notify_all()

    def unstarted(self) -> int:
        """Tiles in hand that no thread has taken yet."""
        with self._changed:
            return sum(work.unstarted for work in self._works)

    def abandon(self, lease_id: str) -> bool:
        """Stop rendering a lease; its end is reported when its running tiles have stopped. False if it is not here."""
        with self._changed:
            works = [work for work in self._works if work.lease.id == lease_id and not work.abandoned]
            for work in works:
                work.abandoned = True
                work.stop[0] = 1
            ended = self._take_ended()
        self._report(ended)
        return bool(works)

    def close(self, timeout: float) -> bool:
        """Stop all rendering; False when a thread is still computing after so many seconds."""
        with self._changed:
            self._closed = True
            for work in self._works:
                work.abandoned = True
                work.stop[0] = 1
            self._changed.notify_all()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        painter = TilePainter()
        while (claim := self._claim()) is not None:
            work, tile = claim
            self._on_begin()
            try:
                result, error = painter.render(work, tile), None
            except Exception as caught:  # whatever a tile does, its lease is handed back and the thread lives
                log.exception("tile %d of lease %s failed", tile, work.lease.id)
                result, error = None, f"{type(caught).__name__}: {caught}"
            self._settle(work, tile, result, error)

    def _claim(self) -> tuple[Work, int] | None:
        """The next tile of the oldest lease that has one; None when the pool is closed."""
        with self._changed:
            while not self._closed:
                work = next((work for work in self._works if work.unstarted > 0), None)
                if work is not None:
                    work.running += 1
                    work.next_tile += 1
                    return work, work.next_tile - 1
                self._changed.wait()
            return None

    def _settle(self, work: Work, tile: int, result: TileResult | None, error: str | None) -> None:
        with self._changed:
            work.running -= 1
            if result is not None:
                work.results.append(result)
            if error is not None and work.error is None:
                work.failed_tile, work.error = tile, error
                work.stop[0] = 1
            ended = self._take_ended()
        self._report(ended)

    def _take_ended(self) -> list[Work]:
        """Remove and answer the works that ended; call under the lock, so that each is reported once."""
        ended = [work for work in self._works if work.ended]
        self._works = [work for work in self._works if not work.ended]
        return ended

    def _report(self, ended: list[Work]) -> None:
        for work in ended:
            self._on_end(work)
