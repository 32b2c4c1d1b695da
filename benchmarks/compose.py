"""What composing and checking cost: ms for a synthetic 4096 x 4096 job, beside Pillow's paste and save.

python -m benchmarks.compose [--json FILE] [--side 4096] [--repeats 5] [--threads 2]
"""

from __future__ import annotations

import io
import itertools
import json
import struct
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from PIL import Image

from benchmarks import _command
from rrm.domain.tiling import TileGrid
from rrm.results import png
from rrm.results.bundle import tile_png
from rrm.results.checks import Expected, check
from rrm.results.compose import ComposePlan, compose
from rrm.results.layout import JobFiles
from rrm.results.shelf import RangeFile

MAX_ITER = 400
TILE = 256
LEASE_TILES = 32
CODINGS = {"counts": "<u2", "smooth": "<f4"}

Array = NDArray[Any]


@dataclass(frozen=True)
class Scene:
    """A piece of the Mandelbrot set's edge: counts and smooth with row 0 at the lowest y, pixels with it on top."""

    counts: Array
    smooth: Array
    pixels: Array


def draw(side: int) -> Scene:
    """Many copies of one piece, each shifted and coloured by itself: quickly drawn, and no easier to compress."""
    piece = min(side, 1024)
    counts, smooth = _iterate(piece)
    scene = Scene(*(np.empty((side, side, *more), kind) for more, kind in (((), "u4"), ((), "f4"), ((3,), "u1"))))
    for number, (top, left) in enumerate(itertools.product(range(0, side, piece), repeat=2)):
        place = np.s_[top : top + piece, left : left + piece]
        size = scene.counts[place].shape
        shifted = [np.roll(values, 67 * number, axis=0)[: size[0], : size[1]] for values in (counts, smooth)]
        scene.counts[place], scene.smooth[place] = shifted
        scene.pixels[::-1][place] = _colored(shifted[0], shifted[1], number / 16)
    return scene


def _colored(counts: Array, smooth: Array, offset: float) -> Array:
    phase = smooth[..., None] / 64 + offset + np.array([0, 1 / 3, 2 / 3], np.float32)
    pixels = ((np.sin(2 * np.pi * phase) + 1) * 127.5).astype(np.uint8)
    pixels[counts == MAX_ITER] = 0
    return pixels


def _iterate(side: int) -> tuple[Array, Array]:
    x, y = np.linspace(-0.80, -0.72, side), np.linspace(0.08, 0.16, side)
    c = (x[None, :] + 1j * y[:, None]).ravel()
    z, left = np.zeros_like(c), np.arange(c.size)
    counts = np.full(c.size, MAX_ITER, np.uint32)
    smooth = np.full(c.size, MAX_ITER, np.float32)
    for count in range(MAX_ITER):
        z = z * z + c
        size = z.real**2 + z.imag**2
        out = size > 64
        counts[left[out]] = count
        smooth[left[out]] = count + 1 - np.log2(np.log2(size[out]) / 2)
        z, c, left = z[~out], c[~out], left[~out]
    return counts.reshape(side, side), smooth.reshape(side, side)


def write_ranges(files: JobFiles, scene: Scene, grid: TileGrid, kinds: tuple[str, ...]) -> tuple[RangeFile, ...]:
    files.ranges.mkdir(parents=True)
    ranges = []
    for start in range(0, grid.tiles, LEASE_TILES):
        stop = min(start + LEASE_TILES, grid.tiles)
        path = files.range(f"lease-{start}")
        path.write_bytes(bundle(scene, grid, range(start, stop), path.stem, kinds))
        ranges.append(RangeFile(start, stop, path))
    return tuple(ranges)


def bundle(scene: Scene, grid: TileGrid, tiles: range, lease: str, kinds: tuple[str, ...]) -> bytes:
    entries: list[dict[str, Any]] = [{"tile": tile, "render_ms": 1.0} for tile in tiles]
    blob, display = bytearray(), 0
    for kind in kinds:
        for entry in entries:
            data = _part(scene, grid, entry["tile"], kind)
            entry[kind] = [len(blob), len(data)]
            blob += data
        display = display or len(blob)
    header = {
        "version": 1,
        "lease": lease,
        "start": tiles.start,
        "stop": tiles.stop,
        "preview_scale": 1,
        "display_bytes": display,
        "tiles": entries,
        **{
            kind: {"dtype": dtype, "encoding": "zlib", "shuffle": True}
            for kind, dtype in CODINGS.items()
            if kind in kinds
        },
    }
    text = json.dumps(header).encode()
    return b"RRMB" + struct.pack("<I", len(text)) + text + bytes(blob)


def _part(scene: Scene, grid: TileGrid, tile: int, kind: str) -> bytes:
    box = grid.box(tile)
    rows, cols = slice(box.row0, box.row0 + box.rows), slice(box.col0, box.col0 + box.cols)
    if kind == "png":
        return png.encode(np.ascontiguousarray(scene.pixels[::-1][rows, cols][::-1]))
    plain = getattr(scene, kind)[rows, cols].astype(CODINGS[kind]).tobytes()
    size = np.dtype(CODINGS[kind]).itemsize
    return isal_zlib.compress(b"".join(plain[byte::size] for byte in range(size)), 1)


def pillow(files: JobFiles, grid: TileGrid, ranges: tuple[RangeFile, ...]) -> None:
    """The plain way: open every tile, paste it, save the picture at level 1. No pyramid, one thread."""
    canvas = Image.new("RGB", (grid.width, grid.height))
    for item in ranges:
        for tile in range(item.start, item.stop):
            box = grid.box(tile)
            picture = Image.open(io.BytesIO(tile_png(item.path, tile, grid)))
            canvas.paste(picture, (box.col0, grid.height - box.row0 - box.rows))
    canvas.save(files.folder / "pillow.png", compress_level=1)


def milliseconds(work: Callable[[], object], repeats: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """The least of `repeats` runs. With time.process_time: of all cores together, steadier on a busy machine."""
    spent = []
    for _ in range(repeats):
        started = clock()
        work()
        spent.append(clock() - started)
    return round(min(spent) * 1000, 1)


def measure(side: int, repeats: int, threads: int) -> dict[str, float]:
    grid, scene = TileGrid(side, side, TILE), draw(side)
    results: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kinds in (("png",), ("png", "counts"), ("png", "counts", "smooth")):
            files = JobFiles(Path(folder), "-".join(kinds))
            ranges = write_ranges(files, scene, grid, kinds)
            plan = ComposePlan(grid, frozenset(kinds), ranges)
            name = "+".join(kinds)
            work = partial(compose, files, plan, threads=threads)
            results[f"compose {name}"] = milliseconds(work, repeats)
            results[f"compose {name}, all cores"] = milliseconds(work, repeats, time.process_time)
            results[f"check {name}, per tile"] = _check_ms(ranges, grid, kinds, repeats)
            if kinds == ("png",):
                results["pillow png"] = milliseconds(partial(pillow, files, grid, ranges), max(1, repeats // 3))
    results["pillow / ours"] = round(results["pillow png"] / results["compose png"], 1)
    return results


def _check_ms(ranges: tuple[RangeFile, ...], grid: TileGrid, kinds: tuple[str, ...], repeats: int) -> float:
    item = ranges[len(ranges) // 2]
    expected = Expected(item.path.stem, item.start, item.stop, grid, frozenset(kinds), 1, MAX_ITER)
    return round(milliseconds(lambda: check(item.path, expected, threads=1), repeats) / (item.stop - item.start), 3)


def main() -> None:
    parser = _command.parser(__doc__)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    results = measure(options.side, options.repeats, options.threads)
    for name, value in results.items():
        print(f"{name:36} {value:9} {'' if '/' in name else 'ms'}")
    _command.keep(results, options)


if __name__ == "__main__":
    main()
