"""What painting kept values anew costs: seconds, core-seconds and peak memory of recolouring, by method and size.

python -m benchmarks recolor [--json FILE] [--quick] [--sides 4096,16384]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import _command
from benchmarks.compose import MAX_ITER, TILE, Scene, bundle, draw
from rrm.domain.coloring import parse
from rrm.domain.tiling import TileGrid
from rrm.results.compose import ComposePlan, compose
from rrm.results.layout import JobFiles
from rrm.results.repaint import Repaint, painted_ranges, repaint
from rrm.results.shelf import RangeFile

PIECE = 4096
METHODS = ("smooth", "bands", "histogram")
KINDS = ("counts", "smooth")


def write_values(files: JobFiles, scene: Scene, grid: TileGrid) -> None:
    """A range for each row of tiles; larger pictures repeat the rows of one piece, side by side."""
    files.ranges.mkdir(parents=True)
    piece = TileGrid(len(scene.counts), len(scene.counts), TILE)
    for row in range(grid.rows):
        tiles = range(row * grid.cols, (row + 1) * grid.cols)
        files.range(f"row-{row}").write_bytes(_row(scene, piece, row, tiles, grid.cols // piece.cols))


def _row(scene: Scene, piece: TileGrid, row: int, tiles: range, copies: int) -> bytes:
    """The bundle of a row: that of the piece, whose parts each serve several tiles."""
    first = row % piece.rows * piece.cols
    found = bundle(scene, piece, range(first, first + piece.cols), f"row-{row}", KINDS)
    length = int.from_bytes(found[4:8], "little")
    header, blob = json.loads(found[8 : 8 + length]), found[8 + length :]
    entries = header["tiles"] * copies
    header["tiles"] = [{**entry, "tile": tile} for entry, tile in zip(entries, tiles, strict=True)]
    header |= {"start": tiles.start, "stop": tiles.stop}
    text = json.dumps(header).encode()
    return b"RRMB" + len(text).to_bytes(4, "little") + text + blob


def paint(folder: Path, side: int, method: str) -> dict[str, float]:
    """Paint and compose in this process, which does nothing else."""
    files, grid = JobFiles(folder, f"side-{side}"), TileGrid(side, side, TILE)
    rows = range(grid.rows)
    ranges = tuple(RangeFile(row * grid.cols, (row + 1) * grid.cols, files.range(f"row-{row}")) for row in rows)
    look = parse({"palette": "fire", "method": method, "scale": 1 if method == "histogram" else 4})
    wall, core = time.perf_counter(), time.process_time()
    repaint(files, Repaint(grid, ranges, frozenset(KINDS), look, MAX_ITER))
    compose(files, ComposePlan(grid, frozenset({"png"}), (), pictures=painted_ranges(files, grid)), threads=3)
    return {"seconds": time.perf_counter() - wall, "core_s": time.process_time() - core, "peak_mb": _peak_mb()}


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measure(sides: list[int]) -> dict[str, dict[str, float]]:
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for side in sides:
            files = JobFiles(Path(folder), f"side-{side}")
            write_values(files, draw(min(side, PIECE)), TileGrid(side, side, TILE))
            for method in METHODS:
                command = [sys.executable, "-m", "benchmarks.recolor", "--paint", folder, str(side), method]
                told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                results[f"{method} {side}"] = {name: round(value, 2) for name, value in told.items()}
            files.remove()
    return results


def main() -> None:
    parser = _command.parser(__doc__, quick="one small size")
    parser.add_argument("--sides", default="4096,16384", help="of square pictures: multiples of 4096, or less")
    parser.add_argument("--paint", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.paint:
        folder, side, method = options.paint
        print(json.dumps(paint(Path(folder), int(side), method)))
        return
    results = measure([1024] if options.quick else [int(side) for side in options.sides.split(",")])
    _print(results)
    _command.keep(results, options)


def _print(results: dict[str, Any]) -> None:
    print(f"{'':18}{'seconds':>9}{'core-s':>9}{'peak MB':>9}")
    for name, row in results.items():
        print(f"{name:18}{row['seconds']:9.2f}{row['core_s']:9.2f}{row['peak_mb']:9.0f}")


if __name__ == "__main__":
    main()
