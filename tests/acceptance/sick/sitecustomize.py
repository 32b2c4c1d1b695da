"""What Python imports before the real agent, where a test puts this folder on its path: one sick node, one bad tile.

The first node to take the file `bad` in SICK_FOLDER fails on every tile. All fail on one tile of one kind of picture.
Each node has one core, as tests start many.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

POISON_WIDTH, POISON_TILE = 336, 10


def _is_bad() -> bool:
    try:
        (Path(os.environ["SICK_FOLDER"]) / "bad").open("x").write(os.environ.get("RRM_NODE_NAME", ""))
    except FileExistsError:
        return False
    return True


def _infect() -> None:
    from renderers.mandelbrot.render import TilePainter

    is_bad, sound = _is_bad(), TilePainter.render

    def render(self: TilePainter, work: Any, tile: int) -> Any:
        if is_bad:
            raise RuntimeError("the GPU has fallen off the bus")
        if (work.lease.width, tile) == (POISON_WIDTH, POISON_TILE):
            raise ZeroDivisionError("division by zero")
        return sound(self, work, tile)

    TilePainter.render = render  # type: ignore[method-assign]


if "SICK_FOLDER" in os.environ:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    _infect()
