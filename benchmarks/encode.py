"""Encoding: what a tile costs on its way to the wire, by ways to do it, and a picture of 32768 x 32768 pixels.

python -m benchmarks encode [--json FILE] [--plot FILE.png] [--quick] [--repeats 7]

Milliseconds of one core and bytes for a tile of 256 x 256 pixels, means over tiles of the busy part of *valley*; of the
repeats the least counts. The wide picture is composed from strips by a process of its own, whose peak memory is told.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks import _command
from benchmarks.encoders import wide
from benchmarks.encoders.tiles import WAYS, Scene, full_color
from benchmarks.kernel import machine
from benchmarks.whole import inputs
from renderers.mandelbrot.native import load

BUSY = range(104, 128)  # tiles of valley's middle rows
WIDE, LESS_WIDE = 32768, 8192
GOALS = {"full colour, painted too": 0.4, "indexed, mapped too": 0.12}
Figures = dict[str, Any]


def measure(quick: bool, repeats: int) -> Figures:
    load()
    scene = Scene.of(inputs.VALLEY, BUSY[:6] if quick else BUSY)
    ways = {name: {"ms": _ms(scene, way, repeats), "bytes": _bytes(scene, way)} for name, way in WAYS.items()}
    busiest = max(scene.tiles, key=lambda tile: len(full_color(scene, tile)))
    side = LESS_WIDE if quick else WIDE
    return {
        "machine": machine(),
        "full_color_ms": ways["full colour, painted too"]["ms"],
        "indexed_ms": ways["indexed, mapped too"]["ms"],
        "ways": ways,
        "wide": {"side": side, **wide.measured(side, busiest.picture)},
    }


def _ms(scene: Scene, way: Any, repeats: int) -> float:
    least = float("inf")
    for _ in range(repeats):
        began = time.process_time()
        for tile in scene.tiles:
            way(scene, tile)
        least = min(least, time.process_time() - began)
    return 1e3 * least / len(scene.tiles)


def _bytes(scene: Scene, way: Any) -> int:
    return sum(len(way(scene, tile)) for tile in scene.tiles) // len(scene.tiles)


def show(figures: Figures) -> None:
    print(f"\n{'a tile of 256 x 256':28}{'ms':>8}{'bytes':>10}")
    for name, found in figures["ways"].items():
        goal = f"   goal ≤ {GOALS[name]} ms (4.1 GHz Zen 5)" if name in GOALS else ""
        print(f"{name:28}{found['ms']:8.3f}{found['bytes']:10}{goal}")
    row = figures["wide"]
    print(
        f"\n{row['side']} x {row['side']} from strips: {row['seconds']:.2f} s, {row['file_mb']:.0f} MB,"
        f" at most {row['peak_mb']:.0f} MB of memory ({row['more_mb']:.0f} more than before)"
    )


def draw(figures: Figures, target: Path) -> None:
    """Milliseconds and bytes of each way."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), constrained_layout=True)
    for name, found in figures["ways"].items():
        ours = not name.startswith(("Pillow", "Sub"))
        axes.plot(found["ms"], found["bytes"] / 1e3, "o", color="#2f6f9f" if ours else "#a0a0a0")
        axes.annotate(name, (found["ms"], found["bytes"] / 1e3), (5, 3), textcoords="offset points", fontsize=8)
    axes.set(xscale="log", xlabel="milliseconds of one core for a tile of 256 x 256", ylabel="kB", ylim=(0, None))
    axes.set_title(figures["machine"]["processor"], fontsize=9)
    figure.savefig(target, dpi=110)


def main() -> None:
    parser = _command.parser(__doc__, quick="fewer tiles and a smaller wide picture", plot=True)
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    figures = measure(given.quick, 2 if given.quick else given.repeats)
    show(figures)
    _command.keep(figures, given, draw)


if __name__ == "__main__":
    main()
