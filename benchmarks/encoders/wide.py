"""Composing a picture that is far larger than memory should be: seconds and the peak of a process that does only that.

The rows of tiles are all the same, as strips that a node would send, so that making them takes no time.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from renderers.mandelbrot.bundle import Layout, RowStrips, TileResult, write_bundle
from renderers.mandelbrot.encode import preview, strip
from rrm.domain.tiling import TileGrid
from rrm.results.compose import ComposePlan, compose
from rrm.results.layout import JobFiles
from rrm.results.shelf import RangeFile

TILE = 256


def measured(side: int, tile: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> dict[str, float]:
    """Seconds, peak MB and the file's MB of a picture of side x side pixels made of copies of one tile's picture."""
    with tempfile.TemporaryDirectory(prefix="rrm-bench-") as folder:
        _write_ranges(JobFiles(Path(folder), "job"), TileGrid(side, side, TILE), tile)
        command = [sys.executable, "-m", "benchmarks.encoders.wide", folder, str(side)]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found: dict[str, float] = json.loads(answer)
        return found


def _write_ranges(files: JobFiles, grid: TileGrid, tile: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    files.ranges.mkdir(parents=True)
    row = np.tile(tile, (1, grid.cols))
    strips = tuple(strip(row[top : top + grid.strip_lines]) for top in range(0, TILE, grid.strip_lines))
    small = preview(tile, 16)
    for number in range(grid.rows):
        start, stop = number * grid.cols, (number + 1) * grid.cols
        layout = Layout(f"lease-{number}", start, stop, 16, 255)
        results = [TileResult(index, 1.0, {"preview": small}) for index in range(start, stop)]
        results[-1] = TileResult(stop - 1, 1.0, {"preview": small}, RowStrips(number, strips))
        files.range(layout.lease).write_bytes(write_bundle(layout, results))


def main(folder: str, side: int) -> None:
    files, grid = JobFiles(Path(folder), "job"), TileGrid(side, side, TILE)
    ranges = [RangeFile(n * grid.cols, (n + 1) * grid.cols, files.range(f"lease-{n}")) for n in range(grid.rows)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    compose(files, ComposePlan(grid, frozenset({"png"}), tuple(ranges)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - began,
                "peak_mb": peak / 1e3,
                "more_mb": (peak - before) / 1e3,
                "file_mb": files.image.stat().st_size / 1e6,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
