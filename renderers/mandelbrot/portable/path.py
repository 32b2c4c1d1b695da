"""The kernel by a library: compiled by numba, or array operations of numpy."""

from collections.abc import Callable

from renderers.mandelbrot.formulas import MANDELBROT
from renderers.mandelbrot.portable import arrays, pixels
from renderers.mandelbrot.tile import Tile

PORTABLE = ("numba", "numpy")


class PortablePath:
    """Renders with one of PORTABLE; paints with numpy."""

    def __init__(self, name: str) -> None:
        self.name = name

    def load(self) -> None:
        """Compile what numba compiles, which takes seconds."""
        if self.name == "numba":
            from renderers.mandelbrot.portable import lanes

            lanes.prepare(MANDELBROT)

    def render(self, tile: Tile) -> bool:
        """Fill the tile; False when its stop flag was raised meanwhile."""
        if self.name == "numpy":
            return arrays.render(tile)
        from renderers.mandelbrot.portable import lanes  # importing numba takes a second

        return lanes.render(tile)

    def function(self, name: str) -> Callable[..., int]:
        """A function of painting or encoding."""
        return pixels.FUNCTIONS[name]
