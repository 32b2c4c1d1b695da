"""A lease as the manager hands it out: a range of tiles with everything needed to render it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

from renderers.mandelbrot.deep.model import DeepView, Reference
from renderers.mandelbrot.deep.scaled import Scaled
from renderers.mandelbrot.formulas import MANDELBROT, Formula
from renderers.mandelbrot.kernel import Limits, View, Window
from renderers.mandelbrot.palette import Coloring, rgb
from renderers.mandelbrot.picture import Sampling

FORMULAS = {
    "mandelbrot": ("mandelbrot", 2),
    "multibrot3": ("multibrot", 3),
    "multibrot4": ("multibrot", 4),
    "multibrot5": ("multibrot", 5),
    "burning-ship": ("burning-ship", 2),
    "tricorn": ("tricorn", 2),
}
METHODS = ("smooth", "bands", "distance", "normal")
INTERPOLATIONS = ("linear", "cosine")
MOST_SAMPLES = 4

DEEPEST = Fraction(1, 10**1100)  # pixels that are closer together are refused
DOUBLES_TO = Fraction(1, 10**13)  # views of a smaller radius are rendered by perturbation
PRELOADED_SIDE = 1024  # pixels of the square image that a model is made ready for
LONGEST_NUMBER = 4096  # characters of a decimal
FARTHEST = 10**6  # from 0, of a centre
LONGEST_SIDE = 2**50  # in shorter sides of a pixel: beyond that doubles cannot tell pixels apart
MAX_ITER = 10_000_000  # with an orbit, which takes memory


class BadLease(ValueError):
    """The lease asks for something this renderer cannot do; the text says what."""

    def __init__(self, lease_id: str, problem: str) -> None:
        super().__init__(problem)
        self.lease_id = lease_id


@dataclass(frozen=True)
class Lease:
    """Tiles start … stop - 1 of an image; row 0 of the tiles and of the image is at the lowest y.

    `strip_lines` is how many lines make a strip of a whole row of tiles; 0 if the manager takes none.
    `reference` is what has to be loaded before they can be rendered: of a deep view, else None.
    """

    id: str
    job: str
    start: int
    stop: int
    width: int
    height: int
    tile_size: int
    tile_cols: int
    digest: str
    view: View | DeepView
    reference: Reference | None
    limits: Limits
    formula: Formula
    outputs: frozenset[str]
    preview_scale: int
    strip_lines: int
    coloring: Coloring
    sampling: Sampling

    def window(self, tile: int) -> Window:
        """The pixels of a tile, fewer at the right and upper edge. Raises ValueError for a tile outside the image."""
        row, col = divmod(tile, self.tile_cols)
        row0, col0 = row * self.tile_size, col * self.tile_size
        rows, cols = min(self.tile_size, self.height - row0), min(self.tile_size, self.width - col0)
        if rows <= 0 or cols <= 0:
            raise ValueError(f"tile {tile} lies outside the image of {self.width} x {self.height} pixels")
        return Window(row0, col0, rows, cols)


def parse_lease(document: Mapping[str, Any]) -> Lease:
    """Read the manager's answer. Raises BadLease, which names the lease where it can."""
    try:
        return _read(document)
    except (AttributeError, ArithmeticError, KeyError, TypeError, ValueError) as error:
        problem = f"the lease cannot be read: {type(error).__name__}: {error}"
        raise BadLease(str(document.get("id", "")), problem) from error


def _read(document: Mapping[str, Any]) -> Lease:
    model = document["model"]
    params = model["params"]
    if model["renderer"] != "mandelbrot":
        raise ValueError(f"the renderer {model['renderer']!r} is not known here")
    formula = _formula(params)
    limits = Limits(int(params["max_iter"]), float(params.get("escape_radius", 2.0)))
    if limits.max_iter < 1 or not 2.0 <= limits.escape_radius <= 1e100:
        raise ValueError(f"max_iter {limits.max_iter} with escape_radius {limits.escape_radius} cannot be rendered")
    view, reference = _place(document, limits, formula)
    return Lease(
        id=str(document["id"]),
        job=str(document["job"]),
        start=int(document["start"]),
        stop=int(document["stop"]),
        width=int(document["width"]),
        height=int(document["height"]),
        tile_size=int(document["tile_size"]),
        tile_cols=int(document["tile_cols"]),
        digest=str(model["digest"]),
        view=view,
        reference=reference,
        limits=limits,
        formula=formula,
        outputs=frozenset(document["outputs"]),
        preview_scale=int(document.get("preview_scale", 1)),
        strip_lines=int(document.get("strip_lines", 0)),
        coloring=_coloring(document["coloring"]),
        sampling=_sampling(document),
    )


@dataclass(frozen=True)
class Preload:
    """A model to load before anybody needs it; `reference` and `view` are None for one in double precision."""

    digest: str
    size_bytes: int
    reference: Reference | None = None
    view: DeepView | None = None


def parse_preload(document: Mapping[str, Any]) -> Preload:
    """Read what the manager wants to be loaded. Raises ValueError."""
    try:
        digest, params = str(document["digest"]), document["params"]
        preload = Preload(digest, len(str(document)))
        radius = _radius(params)
        if document["renderer"] != "mandelbrot" or radius < DEEPEST:
            raise ValueError("it is for another renderer, or too deep")
        if radius >= DOUBLES_TO:
            return preload
        limits = (int(params["max_iter"]), float(params.get("escape_radius", 2.0)))
        if not 1 <= limits[0] <= MAX_ITER or _formula(params) != MANDELBROT:
            raise ValueError("only the Mandelbrot set is rendered beyond double precision")
        step = Scaled.of(2 * radius / PRELOADED_SIDE)
        view = DeepView(step, step, PRELOADED_SIDE, PRELOADED_SIDE)
        return replace(preload, reference=Reference(digest, _center(params), radius, *limits), view=view)
    except (AttributeError, ArithmeticError, KeyError, TypeError) as error:
        raise ValueError(f"the model cannot be read: {type(error).__name__}: {error}") from error


def _center(params: Mapping[str, Any]) -> tuple[Fraction, Fraction]:
    if "center" in params:
        x, y = (_decimal(part) for part in params["center"])
        return x, y
    xmin, xmax, ymin, ymax = (_decimal(edge) for edge in params["viewport"])
    return (xmin + xmax) / 2, (ymin + ymax) / 2


def _sampling(document: Mapping[str, Any]) -> Sampling:
    sampling = Sampling(int(document.get("supersample", 1)), bool(document.get("adaptive", False)))
    if not 1 <= sampling.supersample <= MOST_SAMPLES:
        raise ValueError(f"supersample {sampling.supersample} is not between 1 and {MOST_SAMPLES}")
    return sampling


def _formula(params: Mapping[str, Any]) -> Formula:
    """What is iterated, by its name, and the constant of a Julia set."""
    name = params.get("formula", "mandelbrot")
    family, power = FORMULAS.get(name, (str(name), 0))
    if params.get("julia") is None:
        return Formula(family, power)
    x, y = params["julia"]
    return Formula(family, power, (float(x), float(y)))


def _place(document: Mapping[str, Any], limits: Limits, formula: Formula) -> tuple[View | DeepView, Reference | None]:
    """Where the pixels are: doubles, or distances from a centre of any precision."""
    view = document["view"]
    if view.get("method", "double") == "double":
        return View(*(float(view[name]) for name in ("x0", "y0", "dx", "dy"))), None
    if formula != MANDELBROT:
        raise ValueError("only the Mandelbrot set is rendered beyond double precision")
    if view["method"] != "perturbation" or limits.max_iter > MAX_ITER:
        raise ValueError(f"method {view['method']!r} with max_iter {limits.max_iter} cannot be rendered")
    center, steps = [_decimal(part) for part in view["center"]], [_decimal(view[name]) for name in ("dx", "dy")]
    radius = _radius(document["model"]["params"])
    if len(center) != len(steps) or max(map(abs, center)) > FARTHEST or min(*steps, radius) < DEEPEST:
        raise ValueError("a deep view needs a centre and pixels that are not closer together than 1e-1100")
    width, height = int(document["width"]), int(document["height"])
    if max(width * steps[0], height * steps[1]) > LONGEST_SIDE * min(steps):
        raise ValueError("the longer side of a deep view is more than 2^50 times as long as a pixel's shorter side")
    dx, dy = (Scaled.of(step) for step in steps)
    reference = Reference(
        str(document["model"]["digest"]), (center[0], center[1]), radius, limits.max_iter, limits.escape_radius
    )
    return DeepView(dx, dy, width, height), reference


def _radius(params: Mapping[str, Any]) -> Fraction:
    """Half the shorter side of what the model shows, whatever the shape of the image: it gives the precision."""
    if "radius" in params:
        return _decimal(params["radius"])
    xmin, xmax, ymin, ymax = (_decimal(edge) for edge in params["viewport"])
    return min(xmax - xmin, ymax - ymin) / 2


def _decimal(text: object) -> Fraction:
    """A decimal number, exactly."""
    if len(str(text)) > LONGEST_NUMBER:
        raise ValueError(f"a number has more than {LONGEST_NUMBER} characters")
    number = Decimal(str(text))
    if not number.is_finite() or abs(number.adjusted()) > LONGEST_NUMBER:
        raise ValueError(f"{str(text)[:40]!r} is out of range")
    return Fraction(number)


def _coloring(document: Mapping[str, Any]) -> Coloring:
    coloring = Coloring(
        stops=tuple((float(position), str(color)) for position, color in document["stops"]),
        interpolation=str(document["interpolation"]),
        method=str(document["method"]),
        cycle=float(document["cycle"]),
        offset=float(document["offset"]),
        scale=float(document["scale"]),
        interior=str(document["interior"]),
        light_angle=float(document.get("light_angle", 45.0)),
        light_height=float(document.get("light_height", 1.5)),
    )
    numbers = (coloring.cycle, coloring.offset, coloring.scale, coloring.light_angle, coloring.light_height)
    if not all(map(math.isfinite, numbers)) or coloring.cycle == 0.0 or coloring.light_height < 0.0:
        raise ValueError("the colouring needs finite numbers, a cycle that is not 0, and a light that is not below")
    if coloring.method not in METHODS or coloring.interpolation not in INTERPOLATIONS:
        raise ValueError(f"the method {coloring.method!r} with interpolation {coloring.interpolation!r} is not known")
    _check_colors(coloring)
    return coloring


def _check_colors(coloring: Coloring) -> None:
    positions = [position for position, _ in coloring.stops]
    if not positions or positions != sorted(positions) or not 0.0 <= positions[0] <= positions[-1] <= 1.0:
        raise ValueError("the colouring needs stops whose positions do not descend, within 0 to 1")
    for color in (coloring.interior, *(color for _, color in coloring.stops)):
        rgb(color)
