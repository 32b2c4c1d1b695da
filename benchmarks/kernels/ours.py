"""Our kernel on whole views: into arrays, or to a PNG file; strips of rows shared among threads."""

from __future__ import annotations

import struct
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from isal import isal_zlib

from benchmarks.whole.inputs import Input
from renderers.mandelbrot.formulas import MANDELBROT
from renderers.mandelbrot.native import Path as KernelPath
from renderers.mandelbrot.native import function
from renderers.mandelbrot.palette import Painter
from renderers.mandelbrot.tile import Tile

STRIP = 64  # rows


@dataclass
class Picture:
    """The arrays of a view, made once: pages that are touched for the first time cost as much as some pixels."""

    view: Input
    stride: int = 1
    xs: np.ndarray = field(init=False)
    ys: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        from benchmarks.kernels.rivals import axes

        self.xs, self.ys = axes(self.view, self.stride)
        self.counts = np.zeros((len(self.ys), len(self.xs)), np.uint32)
        self.smooth = np.zeros((len(self.ys), len(self.xs)), np.float32)

    def strip(self, row: int, *, knows_components: bool = True) -> Tile:
        rows = slice(row, min(row + STRIP, len(self.ys)))
        stop = np.zeros(1, np.uint8)
        arrays = self.counts[rows], self.smooth[rows], stop
        return Tile(self.xs, self.ys[rows], self.view.max_iter, 4.0, MANDELBROT, *arrays, knows_components)


@dataclass(frozen=True)
class Spent:
    """Wall and processor seconds."""

    wall: float
    cpu: float


def shared(jobs: list[Callable[[], None]], threads: int) -> Spent:
    """Run all jobs, each on the next free of so many threads."""
    waiting = iter(jobs)
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                job = next(waiting, None)
            if job is None:
                return
            job()

    workers = [threading.Thread(target=work) for _ in range(threads)]
    wall, cpu = time.perf_counter(), time.process_time()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


def raw(path: KernelPath, picture: Picture, threads: int, *, knows_components: bool = True) -> Spent:
    """Counts and smooth values of the whole view."""

    def job(row: int) -> Callable[[], None]:
        return lambda: _must(path.render(picture.strip(row, knows_components=knows_components)))

    return shared([job(row) for row in range(0, len(picture.ys), STRIP)], threads)


def _must(done: bool) -> None:
    assert done


def to_png(path: KernelPath, picture: Picture, threads: int, target: Path) -> Spent:
    """The view as an RGB PNG on disk: strips are painted, filtered and deflated as they come."""
    painter = Painter(picture.view.lease(("png",)).coloring, picture.view.max_iter)
    starts = range(0, len(picture.ys), STRIP)
    parts: dict[int, tuple[np.ndarray, bytes]] = {}

    def job(row: int) -> Callable[[], None]:
        return lambda: parts.__setitem__(row, _deflated(path, painter, picture, row))

    began, cpu = time.perf_counter(), time.process_time()
    shared([job(row) for row in starts], threads)
    _write(target, picture, [parts[row] for row in reversed(starts)])  # the highest y is on top
    return Spent(time.perf_counter() - began, time.process_time() - cpu)


def _deflated(path: KernelPath, painter: Painter, picture: Picture, row: int) -> tuple[np.ndarray, bytes]:
    """The filtered rows of a strip, and their raw deflate stream, which another may follow: it ends at a byte."""
    tile = picture.strip(row)
    _must(path.render(tile))
    colors = painter.paint(tile.counts, tile.smooth)
    height, width = colors.shape
    filtered = np.empty((height, width + 1), np.uint8)
    function("sub_filter")(colors.ctypes.data, filtered.ctypes.data, height, width)
    packer = isal_zlib.compressobj(1, isal_zlib.DEFLATED, -15)
    return filtered, packer.compress(filtered.data) + packer.flush(isal_zlib.Z_FULL_FLUSH)


def _write(target: Path, picture: Picture, parts: list[tuple[np.ndarray, bytes]]) -> None:
    check = 1
    for filtered, _ in parts:
        check = isal_zlib.adler32(filtered.data, check)
    final = b"\x03\x00"  # an empty last block
    body = b"".join([b"\x78\x01", *(packed for _, packed in parts), final, struct.pack(">I", check)])
    header = struct.pack(">IIBBBBB", len(picture.xs), len(picture.ys), 8, 2, 0, 0, 0)
    with target.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, data in ((b"IHDR", header), (b"IDAT", body), (b"IEND", b"")):
            file.write(struct.pack(">I", len(data)) + kind + data)
            file.write(struct.pack(">I", isal_zlib.crc32(data, zlib.crc32(kind))))
