"""The kernel beside the processor's limit, and beside the well-known ways to compute the set in Python.

python -m benchmarks kernel [--json FILE] [--plot FILE.png] [--quick] [--repeats 5]

The limit is measured in the same run by a probe that is emitted like the kernel: exact steps without a test. Rates are
pixel-iterations per second of processor time, times the threads: other work on the machine does not show in them.
"brute" is valley without any knowledge of what is inside.
"""

from __future__ import annotations

import platform
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _command, deep
from benchmarks.kernels import ours, report, rivals
from benchmarks.kernels.limit import Probe
from benchmarks.whole import inputs
from renderers.mandelbrot import native
from renderers.mandelbrot.formulas import MANDELBROT
from renderers.mandelbrot.tile import Tile

Figures = dict[str, Any]
ALL = rivals.CORES
HOT_PIXELS, HOT_STEPS = 64, 30_000
BRUTE_STRIDE = {False: 4, True: 8}  # pixels left out of the brute-force view; by --quick
VALLEY_INSIDE = 11_508_716
SETS = ("avx512", "avx512vl", "avx2", "sse2", "neon")


def path_figures(name: str, quick: bool, repeats: int) -> Figures:
    """One path against its limit, by turns, so that a clock that changes meets both; the best of each."""
    path = native.made(name)
    path.load()
    probe = Probe(name if name in SETS else native.names()[0])
    picture = ours.Picture(inputs.VALLEY, BRUTE_STRIDE[quick])
    ours.raw(path, ours.Picture(inputs.VALLEY, 64), ALL, knows_components=False)
    found: dict[str, list[float]] = {
        "limit": [],
        "limit one thread": [],
        "brute": [],
        "brute one thread": [],
        "hot": [],
    }
    for _ in range(repeats):
        found["limit one thread"].append(max(probe.rates()))
        found["hot"].append(_hot(path))
        found["limit"].append(probe.together(ALL))
        for key, threads in (("brute", ALL), ("brute one thread", 1)):
            spent = ours.raw(path, picture, threads, knows_components=False).cpu / threads
            found[key].append(rivals.iterations(picture.counts, inputs.VALLEY.max_iter) / spent)
    best = {key: max(rates) / 1e9 for key, rates in found.items()}
    return {**best, "ratio": best["brute"] / best["limit"], "hot ratio": best["hot"] / best["limit one thread"]}


def _hot(path: native.Path) -> float:
    """Iterations per second of one thread's processor time where nothing escapes."""
    steps_aside = np.arange(HOT_PIXELS, dtype=np.float64) * 1e-6
    xs, ys = -0.1225611 + steps_aside, 0.7448617 + steps_aside
    counts, smooth = np.zeros((HOT_PIXELS, HOT_PIXELS), np.uint32), np.zeros((HOT_PIXELS, HOT_PIXELS), np.float32)
    steps = HOT_STEPS if path.name != "numpy" else HOT_STEPS // 20
    began = time.thread_time()
    assert path.render(Tile(xs, ys, steps, 4.0, MANDELBROT, counts, smooth, np.zeros(1, np.uint8), False))
    spent = time.thread_time() - began
    assert (counts == steps).all()
    return HOT_PIXELS**2 * steps / spent


def views(repeats: int) -> Figures:
    """Whole views into arrays, and valley and burst as PNGs on disk; the best of each."""
    path, found = native.path(), {}
    for view in (inputs.BURST, inputs.VALLEY, inputs.ROWS):
        picture = ours.Picture(view)
        spent = [ours.raw(path, picture, ALL) for _ in range(repeats)]
        found[view.name] = {"wall": min(s.wall for s in spent), "cpu": min(s.cpu for s in spent)}
        found[view.name]["sum"] = int(picture.counts.sum(dtype=np.int64))
        if view is not inputs.ROWS:
            with tempfile.TemporaryDirectory(prefix="rrm-bench-") as folder:
                whole = [ours.to_png(path, picture, ALL, Path(folder, "x.png")) for _ in range(repeats)]
            found[view.name]["png"] = min(s.wall for s in whole)
    return found


def rates_of_rivals(quick: bool) -> dict[str, float]:
    """G iterations per second of a core of each way, on a part of valley."""
    methods = {
        "pure Python": (rivals.pure_python, 128),
        "NumPy (tile notebook)": (rivals.numpy_masked, 8),
        "numba scalar": (rivals.numba_scalar(parallel=False), 8),
        "numba parallel": (rivals.numba_scalar(parallel=True), 8),
    }
    finer = 2 if quick else 1
    return {name: rivals.rate(way, inputs.VALLEY, stride * finer) / 1e9 for name, (way, stride) in methods.items()}


def mismatches(quick: bool) -> int:
    """Counts of valley and burst that differ from the scalar loop's; every 64th pixel of valley when quick."""
    wrong, scalar, path = 0, rivals.numba_scalar(parallel=True), native.path()
    for view, stride in ((inputs.BURST, 1), (inputs.VALLEY, 8 if quick else 1)):
        picture = ours.Picture(view)
        ours.raw(path, picture, ALL)
        wanted = scalar(*rivals.axes(view, stride), view.max_iter)
        wrong += int((picture.counts[::stride, ::stride] != wanted).sum())
    return wrong


def measure(quick: bool, repeats: int) -> Figures:
    figures: Figures = {"machine": machine(), "path": native.path().name}
    chosen = [name for name in native.names() if name not in ("avx512vl", "numpy")]
    figures["paths"] = {name: say(name, path_figures(name, quick, repeats)) for name in chosen}
    figures["views"] = say("views", views(repeats))
    figures["rivals"] = say("rivals", rates_of_rivals(quick))
    figures["mismatches"] = say("mismatches", mismatches(quick))
    size, pixels = (deep.QUICK_SIZE, 100) if quick else (deep.SIZE, 2000)
    figures |= say("deep views", deep.figures_of(deep.Options(size, min(repeats, 3), ALL, pixels)))
    return {**keys(figures), **figures}


def keys(figures: Figures) -> Figures:
    """The figures that are held against goals."""
    paths, seen = figures["paths"], figures["views"]
    own = paths[figures["path"]]
    steps = seen["valley"]["sum"] + inputs.VALLEY.width * inputs.VALLEY.height - VALLEY_INSIDE
    notebook = steps / 1e9 / figures["rivals"]["NumPy (tile notebook)"]
    return {
        "limit_gips": own["limit"],
        "kernel_gips": own["brute"],
        "kernel_core_gips": own["brute one thread"],
        "ratio": own["ratio"],
        "hot_ratio": own["hot ratio"],
        "avx2_ratio": paths.get("avx2", {}).get("ratio"),
        "fallback_ratio": paths.get("numba", {}).get("ratio"),
        "valley_s": seen["valley"]["wall"],
        "valley_png_s": seen["valley"]["png"],
        "burst_ms": seen["burst"]["wall"] * 1e3,
        "rows_s": seen["rows"]["wall"],
        "numpy_core_s_ratio": notebook / seen["valley"]["cpu"],
    }


def say(what: str, found: Any) -> Any:
    print(f"  … {what}", flush=True)
    return found


def machine() -> Figures:
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": model[0].partition(": ")[2] if model else platform.processor(),
        "cores": ALL,
        "python": platform.python_version(),
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
    }


def _draw(figures: dict[str, Any], target: Path) -> None:
    from benchmarks.kernels import plot  # needs matplotlib

    plot.draw(figures, target)


def main() -> None:
    parser = _command.parser(__doc__, quick="smaller parts of the views and fewer repeats", plot=True)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    figures = measure(given.quick, 2 if given.quick else given.repeats)
    report.show(figures)
    _command.keep(figures, given, _draw)


if __name__ == "__main__":
    main()
