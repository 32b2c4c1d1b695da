"""What is rendered: three inputs with a history and a wide one, as orders for the service and leases for a renderer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from renderers.lease import Lease, parse_lease
from rrm.domain import coloring, mandelbrot, tiling


@dataclass(frozen=True)
class Input:
    """A view and the image made of it. `earlier`: the seconds of an earlier system on this kind of machine."""

    name: str
    viewport: tuple[float, float, float, float]
    max_iter: int
    width: int
    height: int
    palette: str = "electric"
    fit: str | None = None
    earlier: float | None = None
    earlier_system: str = ""

    @property
    def params(self) -> dict[str, Any]:
        fit = {"fit": self.fit} if self.fit else {}
        return {"viewport": list(self.viewport), "max_iter": self.max_iter, **fit}

    def order(self, outputs: tuple[str, ...]) -> dict[str, Any]:
        """The body of a job."""
        return {
            "name": self.name,
            "resource": "mandelbrot",
            "params": self.params,
            "width": self.width,
            "height": self.height,
            "outputs": list(outputs),
            "coloring": {"palette": self.palette},
        }

    def lease(self, outputs: tuple[str, ...]) -> Lease:
        """All tiles as one range, as a node would get it."""
        tile_size = tiling.default_tile_size(self.width, self.height)
        params = mandelbrot.canonical(self.params)
        grid = tiling.TileGrid(self.width, self.height, tile_size)
        return parse_lease(
            {
                "id": self.name,
                "job": self.name,
                "start": 0,
                "stop": grid.tiles,
                "width": self.width,
                "height": self.height,
                "tile_size": tile_size,
                "tile_cols": grid.cols,
                "tile_rows": grid.rows,
                "model": {"digest": self.name, "renderer": "mandelbrot", "params": params},
                "view": mandelbrot.geometry(params, self.width, self.height).as_dict(),
                "outputs": list(outputs),
                "preview_scale": tiling.preview_scale(self.width, self.height),
                "coloring": coloring.parse({"palette": self.palette}),
            }
        )


_VALLEY = (-0.745, -0.735, 0.105, 0.115)
VALLEY = Input("valley", _VALLEY, 2000, 4096, 4096, earlier=208.0, earlier_system="tile notebook")
BURST = Input(
    "burst", (-2.5, 1, -1.25, 1.25), 256, 2048, 2048, fit="stretch", earlier=15.8, earlier_system="tile dashboard"
)
ROWS = Input(
    "rows",
    (-0.0655945, 0.0600945, 0.741986625, 0.836253375),
    800,
    8192,
    6144,
    palette="Hippi",
    earlier=24.0,
    earlier_system="row system",
)
WIDE = Input("wide", _VALLEY, 2000, 16384, 16384)
LESS_WIDE = Input("wide", _VALLEY, 2000, 8192, 8192)
