"""Views beyond double precision: orbit, tables, pixels at 1e-30, 1e-100 and 1e-300; counts against full precision.

python -m benchmarks deep [--json FILE] [--plot FILE.png] [--quick] [--repeats 3] [--threads 2] [--pixels 2000]

The views are the named models of deployment/populate/embedded.yaml, square. Every figure is the least of the repeats.
`deep_wrong_percent` is the share of random pixels of the first whose count is not that of 220-bit arithmetic: chaotic
pixels differ after any change of rounding.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks import _command
from renderers.mandelbrot.deep import native
from renderers.mandelbrot.deep.model import DeepModel, DeepView, Reference
from renderers.mandelbrot.deep.orbit import whole_number
from renderers.mandelbrot.deep.scaled import Scaled
from renderers.mandelbrot.kernel import Window
from renderers.mandelbrot.tile import Counts

MODELS = Path(__file__).parent.parent / "deployment" / "populate" / "embedded.yaml"
NAMES = ("deep-1e30", "deep-1e100", "deep-1e300")
SIZE, QUICK_SIZE, TILE = 1024, 256, 64
GUARD_BITS = 120
Figures = dict[str, Any]


@dataclass(frozen=True)
class Options:
    size: int
    repeats: int
    threads: int
    pixels: int


@dataclass(frozen=True)
class Deep:
    """A named model with the view of a square image."""

    reference: Reference
    view: DeepView

    @classmethod
    def of(cls, name: str, size: int) -> Deep:
        params = yaml.safe_load(MODELS.read_text())["models"][name]["params"]
        x, y = (Fraction(part) for part in params["center"])
        radius = Fraction(params["radius"])
        pixel = Scaled.of(2 * radius / size)
        return cls(Reference(name, (x, y), radius, params["max_iter"], 2.0), DeepView(pixel, pixel, size, size))


def picture(model: DeepModel, view: DeepView, threads: int) -> Counts:
    """All counts, by tiles that the threads take in turn."""
    counts = np.empty((view.height, view.width), np.uint32)
    tiles, lock = _tiles(view), threading.Lock()
    stop = np.zeros(1, np.uint8)

    def work() -> None:
        while True:
            with lock:
                window = next(tiles, None)
            if window is None:
                return
            shape = (window.rows, window.cols)
            own, smooth = np.empty(shape, np.uint32), np.empty(shape, np.float32)
            model.render_tile(view, window, own, smooth, stop)
            counts[window.row0 : window.row0 + window.rows, window.col0 : window.col0 + window.cols] = own

    crew = [threading.Thread(target=work) for _ in range(threads)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    return counts


def _tiles(view: DeepView) -> Iterator[Window]:
    for row in range(0, view.height, TILE):
        for col in range(0, view.width, TILE):
            yield Window(row, col, min(TILE, view.height - row), min(TILE, view.width - col))


def measured(name: str, options: Options) -> tuple[Figures, Counts]:
    """Seconds of one view; wall and processor time of its pixels, orbit and tables apart."""
    deep = Deep.of(name, options.size)
    rows: list[tuple[float, float, float, float]] = []
    for _ in range(options.repeats):
        started = time.perf_counter()
        orbit = deep.reference.orbit()
        orbit_s = time.perf_counter() - started
        model = DeepModel(deep.reference, orbit)
        started = time.perf_counter()
        model.tables(deep.view.farthest)
        tables_s = time.perf_counter() - started
        started, cpu = time.perf_counter(), time.process_time()
        counts = picture(model, deep.view, options.threads)
        rows.append((time.perf_counter() - started, time.process_time() - cpu, orbit_s, tables_s))
    wall, cpu_s, orbit_s, tables_s = (min(column) for column in zip(*rows, strict=True))
    figures = {
        "wall_s": wall,
        "cpu_s": cpu_s,
        "us_per_pixel": 1e6 * cpu_s / counts.size,
        "orbit_s": orbit_s,
        "tables_s": tables_s,
        "orbit_steps": orbit.last,
        "bits": deep.reference.bits,
        "model_bytes": model.size_bytes,
        "mean_count": float(counts.mean()),
    }
    return figures, counts


def wrong_percent(name: str, counts: Counts, options: Options) -> tuple[float, int]:
    """Of random pixels, how many percent are not as in full precision, and by how much the median of those is off."""
    deep, chance = Deep.of(name, options.size), random.Random(30)
    places = [(chance.randrange(options.size), chance.randrange(options.size)) for _ in range(options.pixels)]
    errors = [abs(int(counts[place]) - exact_count(deep, *place)) for place in places]
    wrong = sorted(error for error in errors if error)
    return 100 * len(wrong) / len(errors), wrong[len(wrong) // 2] if wrong else 0


def exact_count(deep: Deep, row: int, col: int) -> int:
    """The count of a pixel in fixed point with GUARD_BITS more than its place needs."""
    reference, view = deep.reference, deep.view
    bits = reference.bits + GUARD_BITS
    pixel = Fraction(view.dx.mantissa) * Fraction(2) ** view.dx.exponent
    offsets = col - Fraction(view.width, 2), row - Fraction(view.height, 2)
    cx, cy = (
        whole_number(round((middle + offset * pixel) * (1 << bits)))
        for middle, offset in zip(reference.center, offsets, strict=True)
    )
    x, y, limit = whole_number(0), whole_number(0), whole_number(4 << (2 * bits))
    for count in range(reference.max_iter):
        x, y = ((x * x - y * y) >> bits) + cx, (x * y >> (bits - 1)) + cy
        if x * x + y * y > limit:
            return count
    return reference.max_iter


def compilation() -> float:
    """Seconds to write and compile the loops."""
    from renderers.mandelbrot.deep.kernel import module
    from renderers.mandelbrot.simd.machine_code import compiled
    from renderers.mandelbrot.simd.target import host_target

    started = time.perf_counter()
    compiled(str(module(native.lanes(), native.GROUPS)), host_target(native.instruction_set()))
    return time.perf_counter() - started


def figures_of(options: Options) -> Figures:
    found: Figures = {"instruction_set": native.instruction_set(), "compile_s": compilation(), "size": options.size}
    native.perturb()
    for name in NAMES:
        row, counts = measured(name, options)
        key = name.replace("-", "_")
        found[f"{key}_s"] = row["wall_s"]
        found |= {f"{key}_{figure}": value for figure, value in row.items() if figure != "wall_s"}
        if name == NAMES[0]:
            found["orbit_s"] = row["orbit_s"]
            found["deep_wrong_percent"], found["deep_wrong_median"] = wrong_percent(name, counts, options)
    return found | {"threads": options.threads, "pixels_checked": options.pixels}


def show(found: Figures) -> None:
    """Print the figures as a table."""
    print(
        f"{found['instruction_set']}, {found['threads']} threads, {found['size']}² pixels, loops compiled in", end=" "
    )
    print(
        f"{found['compile_s']:.2f} s\n\n{'':12}{'wall s':>8}{'cpu s':>8}{'µs/px':>8}{'orbit s':>9}{'tables s':>10}",
        end="",
    )
    print(f"{'steps':>9}{'bits':>6}{'MB':>7}{'mean count':>12}")
    for name in NAMES:
        row = {figure: found[f"{name.replace('-', '_')}_{figure}"] for figure in ROW}
        print(f"{name:12}{row['s']:8.3f}{row['cpu_s']:8.3f}{row['us_per_pixel']:8.2f}{row['orbit_s']:9.3f}", end="")
        print(f"{row['tables_s']:10.3f}{row['orbit_steps']:9}{row['bits']:6}{row['model_bytes'] / 1e6:7.1f}", end="")
        print(f"{row['mean_count']:12.0f}")
    wrong = f"{found['deep_wrong_percent']:.2f} % of {found['pixels_checked']} random pixels"
    print(f"\n{NAMES[0]}: {wrong} differ from full precision, half of them by {found['deep_wrong_median']} or less")


ROW = ("s", "cpu_s", "us_per_pixel", "orbit_s", "tables_s", "orbit_steps", "bits", "model_bytes", "mean_count")


def draw(found: Figures, target: Path) -> None:
    """Write a PNG: where the processor time of each view goes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 2.6), constrained_layout=True)
    keys = [name.replace("-", "_") for name in NAMES][::-1]
    left = np.zeros(len(keys))
    for part, label, color in (
        ("orbit_s", "reference orbit", "#e0a458"),
        ("tables_s", "tables", "#9fc3dd"),
        ("cpu_s", f"{found['size']}² pixels", "#2f6f9f"),
    ):
        seconds = np.array([found[f"{key}_{part}"] for key in keys])
        axes.barh(NAMES[::-1], seconds, left=left, color=color, label=label)
        left += seconds
    axes.set(xlabel="processor seconds")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, fontsize=8)
    figure.savefig(target, dpi=110)


def main() -> None:
    parser = _command.parser(__doc__, quick=f"{QUICK_SIZE}² pixels, once, 100 of them checked", plot=True)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--pixels", type=int, default=2000, help="how many are checked against full precision")
    chosen = parser.parse_args()
    options = Options(SIZE, chosen.repeats, chosen.threads, chosen.pixels)
    if chosen.quick:
        options = Options(QUICK_SIZE, 1, chosen.threads, min(100, chosen.pixels))
    found = figures_of(options)
    show(found)
    _command.keep(found, chosen, draw)


if __name__ == "__main__":
    main()
