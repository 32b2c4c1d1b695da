"""Composing that is killed leaves each result whole or absent, and the next run completes."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rrm.results.compose import compose, compose_pyramid
from rrm.results.layout import JobFiles, clear_drafts
from tests.unit.results.test_compose import stored
from tests.unit.results.writer import Scene

ROOT = Path(__file__).parents[3]
CHILD = """
import pickle, sys
from rrm.results.compose import compose, compose_pyramid
files, plan = pickle.loads(sys.stdin.buffer.read())
while True:
    compose(files, plan, progress=lambda done, total: print(done, flush=True))
    compose_pyramid(files, plan.grid, plan.ranges)
"""


def whole(files: JobFiles, scene: Scene) -> bool:
    """Whether all results are there; fails if one of those that are there is not exactly right."""
    if files.image.exists():
        with Image.open(files.image) as image:
            np.testing.assert_array_equal(np.asarray(image), scene.pixels)
    for path, values in ((files.counts, scene.counts), (files.smooth, scene.smooth)):
        if path.exists():
            np.testing.assert_array_equal(np.load(path), values)
    if files.pyramid.exists():
        assert len(list(files.pyramid.rglob("*.png"))) == 10 + 4
    return all(path.exists() for path in (files.image, files.counts, files.smooth, files.pyramid))


@pytest.mark.slow_kill
# the last step of the first run is number 27; what follows it is the publishing of the results
@pytest.mark.parametrize("lines", [0, 1, 5, 14, 26, 27, 28, 40])
def test_a_killed_compose_leaves_no_half_result_and_the_next_completes(tmp_path: Path, lines: int) -> None:
    files, scene = JobFiles(tmp_path, "job"), Scene(700, 570, 64)
    plan = stored(files, scene)
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(pickle.dumps((files, plan)))
        child.stdin.close()
        for _ in range(lines):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    whole(files, scene)
    compose(files, plan)
    compose_pyramid(files, plan.grid, plan.ranges)
    assert whole(files, scene)
    clear_drafts(tmp_path, timedelta(seconds=-1))
    assert sorted(path.name for path in files.folder.iterdir()) == [
        "counts.npy",
        "image.png",
        "pyramid",
        "ranges",
        "smooth.npy",
    ]
