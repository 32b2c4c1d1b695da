"""The methods of colouring by name."""

from renderers.lease import Lease
from renderers.mandelbrot.kernel import View
from renderers.mandelbrot.palette import Painter
from renderers.mandelbrot.picture import Paint
from renderers.mandelbrot.shading import DistancePainter, ReliefPainter

REACH = 1 / 64  # of the picture's shorter side


def painting(lease: Lease) -> Paint:
    """How the values of a lease become pixels."""
    coloring, limits, view = lease.coloring, lease.limits, lease.view
    if coloring.method in ("distance", "normal") and not isinstance(view, View):
        raise ValueError(f"{coloring.method} needs the derivative of orbits, which deep views do not follow")
    if coloring.method == "distance":
        return DistancePainter(
            coloring, limits, REACH * min(lease.width * float(view.dx), lease.height * float(view.dy))
        ).paint
    if coloring.method == "normal":
        return ReliefPainter(coloring, limits).paint
    painter = Painter(coloring, limits.max_iter)
    return lambda view, window, counts, smooth: painter.paint(counts, smooth)
