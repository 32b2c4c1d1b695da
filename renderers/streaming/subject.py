"""What a camera shows, ready to be drawn: its grid, limits, formula and colours."""

import functools
from collections.abc import Hashable
from dataclasses import dataclass

from renderers.lease import FORMULAS
from renderers.mandelbrot.deep.model import DeepModel, DeepView, Reference
from renderers.mandelbrot.formulas import MANDELBROT, Formula
from renderers.mandelbrot.kernel import Limits, View
from renderers.mandelbrot.methods import REACH
from renderers.mandelbrot.palette import Coloring, Painter
from renderers.mandelbrot.picture import Paint
from renderers.mandelbrot.shading import DistancePainter, ReliefPainter
from renderers.streaming.camera import Camera, Refused, Stop
from renderers.streaming.grid import Grid, chosen_limit
from renderers.streaming.palettes import PALETTES

CYCLE = 256.0
CYCLIC = ("smooth", "bands", "normal")
"""Methods whose values run through the gradient many times: one that ends elsewhere is run through forth and back."""
SHADED = ("distance", "normal")


@dataclass(frozen=True)
class Subject:
    """A camera that can be drawn."""

    camera: Camera
    grid: Grid
    limits: Limits
    formula: Formula

    @classmethod
    def of(cls, camera: Camera) -> "Subject":
        """Raises Refused for what cannot be drawn this deep, or of this formula."""
        grid = Grid.of(camera)
        family, power = FORMULAS[camera.formula]
        julia = (float(camera.julia[0]), float(camera.julia[1])) if camera.julia else None
        formula = Formula(family, power, julia)
        if grid.is_deep and formula != MANDELBROT:
            raise Refused({"formula": ["Only the Mandelbrot set itself can be rendered this deep."]})
        if camera.method in SHADED and (grid.is_deep or formula != MANDELBROT):
            raise Refused({"method": [f"{camera.method} is for the Mandelbrot set in double precision."]})
        limits = Limits(camera.max_iter or chosen_limit(grid.radius), camera.escape_radius)
        return cls(camera, grid, limits, formula)

    @property
    def is_deep(self) -> bool:
        return self.grid.is_deep

    @property
    def values_key(self) -> Hashable:
        """Equal for cameras that differ in colours alone."""
        return self.grid, self.limits, self.formula

    @functools.cached_property
    def reference(self) -> Reference:
        """The reference orbit that a job which shows this view would load."""
        grid, limits = self.grid, self.limits
        return Reference("", grid.center, grid.radius, limits.max_iter, limits.escape_radius)

    def size(self, step: int) -> tuple[int, int]:
        """Samples across and up with one for step x step pixels."""
        return -(-self.grid.width // step), -(-self.grid.height // step)

    def view(self, step: int, model: DeepModel | None) -> View | DeepView:
        """Where the samples are."""
        grid = self.grid
        if model is None:
            return grid.doubles if step == 1 else grid.coarse_doubles(*self.size(step))
        center = model.reference.center
        return grid.deep(center) if step == 1 else grid.coarse_deep(*self.size(step), center)

    def paint(self) -> Paint:
        """How values become pixels."""
        coloring, limits = self.coloring, self.limits
        if coloring.method == "distance":
            fine = self.grid.doubles
            reach = REACH * min(self.grid.width * fine.dx, self.grid.height * fine.dy)
            return DistancePainter(coloring, limits, reach).paint
        if coloring.method == "normal":
            return ReliefPainter(coloring, limits).paint
        painter = Painter(coloring, limits.max_iter)
        return lambda view, window, counts, smooth: painter.paint(counts, smooth)

    @property
    def coloring(self) -> Coloring:
        """How its values become colours."""
        camera = self.camera
        palette = PALETTES[camera.palette] if camera.palette else None
        stops = palette.stops if palette else camera.stops or ()
        ends_elsewhere = palette is not None and not palette.returns_home and camera.method in CYCLIC
        if camera.repeat == "mirror" or (camera.repeat is None and ends_elsewhere):
            stops = _mirrored(stops)
        return Coloring(
            stops=stops,
            interpolation=camera.interpolation or (palette.interpolation if palette else "linear"),
            method=camera.method,
            cycle=CYCLE,
            offset=camera.offset,
            scale=camera.scale,
            interior=camera.interior,
            light_angle=camera.light_angle,
            light_height=camera.light_height,
        )


def _mirrored(stops: tuple[Stop, ...]) -> tuple[Stop, ...]:
    """The gradient forth in the first half of the cycle and back in the second."""
    return (*((place / 2, color) for place, color in stops), *((1 - place / 2, color) for place, color in stops[::-1]))
