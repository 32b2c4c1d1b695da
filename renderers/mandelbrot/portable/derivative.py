"""Orbits with their derivative by c, in numpy."""

import numpy as np

from renderers.mandelbrot.layout import FAR, FURTHER
from renderers.mandelbrot.portable.memory import array_at

AFTER = int(FURTHER)


def derivative(cx: int, cy: int, steps: int, out: int, count: int) -> int:
    """x, y, dx, dy (four arrays of `count`) of z <- z² + c, dz <- 2·z·dz + 1 from 0: where they are after so many
    steps, and then after more until |z|² ≥ FAR, FURTHER at most. `steps` descends.
    """
    due = array_at(steps, np.uint32, count).astype(np.int64)
    c, orbits = (array_at(cx, np.float64, count), array_at(cy, np.float64, count)), array_at(out, np.float64, 4, count)
    orbits[:] = 0.0
    with np.errstate(all="ignore"):
        for step in range(int(due.max(initial=-AFTER)) + AFTER):
            live = count - int(np.searchsorted(due[::-1] + AFTER, step, side="right"))
            x, y, dx, dy = now = orbits[:, :live]
            goes = (due[:live] > step) | (x * x + y * y < FAR)
            product, across, up = x * y, x * dx - y * dy, x * dy + y * dx
            z = (x * x - y * y) + c[0][:live], (product + product) + c[1][:live]
            now[:] = np.where(goes, (*z, (across + across) + 1.0, up + up), now)
    return 0
