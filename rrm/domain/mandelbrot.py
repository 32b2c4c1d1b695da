"""The parameters of a Mandelbrot render model: what is accepted, its one canonical form, and the sample grid.

Numbers that locate the view are decimals of any precision. They stay exact until the end: every double of the grid is
rounded once, so that all nodes sample the same points. Where doubles cannot tell pixels apart, the grid is given as
distances from an exact centre, for perturbation.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

from rrm.errors import Invalid

RENDERER = "mandelbrot"
FORMULAS = (RENDERER, "multibrot3", "multibrot4", "multibrot5", "burning-ship", "tricorn")
MAX_ITER = 10_000_000
DOUBLE_RADIUS = Fraction(1, 10**13)  # down to here views are rendered in double precision, bit for bit as documented
DEEPEST = 1000
DEEPEST_RADIUS = Fraction(1, 10**DEEPEST)
PERTURBATION = "perturbation"
FITS = ("expand", "stretch")

_MAX_DIGITS = 2000
_MAX_MAGNITUDE = 10**6
_MAX_ESCAPE_RADIUS = 1e10
_ULPS_PER_PIXEL = 4
_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,6})?", re.ASCII)
_EXACT = Context(prec=2 * _MAX_DIGITS + 100)
_SPACING = Context(prec=40)  # digits of a distance between pixels: more than a node can use
_LEAST_IN_PLACE = -7  # 1e-7 is written 0.0000001, anything smaller with an exponent
_TOO_FAR = f"Must not be further from 0 than {_MAX_MAGNITUDE}."


@dataclass(frozen=True, slots=True)
class View:
    """The sample grid in doubles: pixel (row, col) samples x = x0 + col*dx, y = y0 + row*dy."""

    x0: float
    y0: float
    dx: float
    dy: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class DeepView:
    """The sample grid by decimals: pixel (row, col) of W x H samples center + (col - W/2)*dx + i*(row - H/2)*dy."""

    center: tuple[str, str]
    dx: str
    dy: str

    def as_dict(self) -> dict[str, Any]:
        return {"method": PERTURBATION, "center": list(self.center), "dx": self.dx, "dy": self.dy}


@dataclass(frozen=True, slots=True)
class _Rectangle:
    """The part of the plane that an image shows, exactly."""

    xmin: Fraction
    xmax: Fraction
    ymin: Fraction
    ymax: Fraction

    @property
    def width(self) -> Fraction:
        return self.xmax - self.xmin

    @property
    def height(self) -> Fraction:
        return self.ymax - self.ymin


class _RefusedError(Exception):
    """Why one field cannot be accepted."""


def canonical(params: object) -> dict[str, Any]:
    """The one form of `params` that all equal parameters share: decimal strings, defaults filled in.

    Raises Invalid with every field that cannot be accepted, as `params.<field>`.
    """
    if not isinstance(params, Mapping):
        raise Invalid("params", "Give an object with the parameters of the view.")
    readers = _COMMON | (_BY_VIEWPORT if "viewport" in params else _BY_CENTER)
    errors = {f"params.{key}": [_stray(key)] for key in params if key not in readers}
    result: dict[str, Any] = {}
    for field, read in readers.items():
        try:
            result[field] = read(params.get(field))
        except _RefusedError as refused:
            errors[f"params.{field}"] = [str(refused)]
    errors |= _check_julia(result)
    if errors:
        raise Invalid(errors)
    return {field: value for field, value in result.items() if value is not None}


def digest(params: Mapping[str, Any]) -> str:
    """SHA-256, in hexadecimal, of canonical parameters together with their renderer."""
    text = json.dumps({"renderer": RENDERER, "params": params}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def geometry(params: Mapping[str, Any], width: int, height: int) -> View | DeepView:
    """The sample grid of canonical parameters for a `width` x `height` image.

    It is in doubles where their precision suffices. Raises Invalid when the viewport has another shape than the image
    and does not say how to fit, when it is too small, or so stretched that doubles cannot tell its pixels' distances
    from a centre apart, and when the formula is rendered in double precision only.
    """
    field, shape = ("params.viewport", _fitted) if "viewport" in params else ("params.radius", _around_center)
    shown = shape(params, width, height)
    radius = min(shown.width, shown.height) / 2
    if radius < DEEPEST_RADIUS:
        raise Invalid(
            field,
            f"A radius of {Decimal(_rounded(radius)):.3g} is below 1e-{DEEPEST}, the deepest that can be rendered.",
        )
    view = _doubles(shown, width, height)
    if radius >= DOUBLE_RADIUS and _has_distinct_samples(shown, view):
        return view
    if params["formula"] != RENDERER or "julia" in params:
        raise Invalid(
            "params.formula",
            "Only the Mandelbrot set itself can be rendered this deep; others need a radius of"
            f" {float(DOUBLE_RADIUS):g} or more, and not too many pixels for double precision.",
        )
    dx, dy = shown.width / width, shown.height / height
    if min(dx, dy) < _ULPS_PER_PIXEL * Fraction(math.ulp(1.0)) * max(shown.width, shown.height):
        raise Invalid(field, "So deep, the longer side may be at most 2^50 times as long as a pixel's shorter side.")
    return DeepView(_exact_center(params), _rounded(dx), _rounded(dy))


def _doubles(shown: _Rectangle, width: int, height: int) -> View:
    x0, x1, y0, y1 = (float(edge) for edge in (shown.xmin, shown.xmax, shown.ymin, shown.ymax))
    return View(x0, y0, (x1 - x0) / width, (y1 - y0) / height)


def _has_distinct_samples(shown: _Rectangle, view: View) -> bool:
    """Whether neighbouring pixels can be told apart in double precision."""
    return all(
        step >= _ULPS_PER_PIXEL * math.ulp(max(abs(start), abs(float(end))))
        for start, step, end in ((view.x0, view.dx, shown.xmax), (view.y0, view.dy, shown.ymax))
    )


def _exact_center(params: Mapping[str, Any]) -> tuple[str, str]:
    if "center" in params:
        x, y = params["center"]
        return x, y
    xmin, xmax, ymin, ymax = (Decimal(edge) for edge in params["viewport"])
    x, y = (_text(_EXACT.divide(_EXACT.add(low, high), Decimal(2))) for low, high in ((xmin, xmax), (ymin, ymax)))
    return x, y


def _rounded(number: Fraction) -> str:
    """The number to _SPACING digits."""
    return _text(_SPACING.divide(Decimal(number.numerator), Decimal(number.denominator)))


def _fitted(params: Mapping[str, Any], width: int, height: int) -> _Rectangle:
    """The viewport as the image shows it: as given, or with more around it ("expand")."""
    given = _Rectangle(*(Fraction(edge) for edge in params["viewport"]))
    across, up = given.width * height, given.height * width
    # Half a pixel along the longer side is the least that a picture can show.
    if params.get("fit") == "stretch" or 2 * abs(across - up) * max(width, height) <= max(across, up):
        return given
    if params.get("fit") != "expand":
        raise Invalid("params.viewport", _shape_message(given, width, height))
    x, y = (given.xmin + given.xmax) / 2, (given.ymin + given.ymax) / 2
    pixel = max(given.width / width, given.height / height)
    return _Rectangle(x - pixel * width / 2, x + pixel * width / 2, y - pixel * height / 2, y + pixel * height / 2)


def _shape_message(given: _Rectangle, width: int, height: int) -> str:
    ratio = Decimal(_rounded(given.width / given.height))
    return (
        f"The viewport is {ratio:.6g} times as wide as high and the image"
        f" {width / height:.6g} times. Change one of them, or say how to fit: 'expand' shows more, 'stretch' makes"
        " pixels that are not square."
    )


def _around_center(params: Mapping[str, Any], width: int, height: int) -> _Rectangle:
    """The rectangle whose shorter side is twice the radius, in the shape of the image."""
    x, y = (Fraction(part) for part in params["center"])
    pixel = Fraction(params["radius"]) / min(width, height)
    return _Rectangle(x - pixel * width, x + pixel * width, y - pixel * height, y + pixel * height)


def _formula(value: object) -> str:
    if value is None:
        return RENDERER
    if not isinstance(value, str) or value not in FORMULAS:
        raise _RefusedError(f"Must be one of {', '.join(FORMULAS)}.")
    return value


def _julia(value: object) -> list[str] | None:
    """The constant of a Julia set of the formula; None for the set of constants itself."""
    return (
        None if value is None else [_text(part) for part in _decimals(value, "constant of the Julia set", "[x, y]", 2)]
    )


def _check_julia(params: Mapping[str, Any]) -> dict[str, list[str]]:
    """An orbit that may come back from beyond the escape radius has no count."""
    constant, radius = params.get("julia"), params.get("escape_radius")
    if not constant or radius is None or math.hypot(*map(float, constant)) <= radius:
        return {}
    return {"params.julia": [f"Must not lie beyond the escape radius of {radius:g}."]}


def _fit(value: object) -> str | None:
    if value is not None and value not in FITS:
        raise _RefusedError(f"Must be one of {', '.join(FITS)}.")
    return None if value is None else str(value)


def _center(value: object) -> list[str]:
    return [_text(part) for part in _decimals(value, "center", "[x, y]", 2)]


def _radius(value: object) -> str:
    radius = _decimal(value)
    if radius <= 0:
        raise _RefusedError("Must be greater than 0.")
    return _text(radius)


def _viewport(value: object) -> list[str]:
    edges = _decimals(value, "viewport", "[xmin, xmax, ymin, ymax]", 4)
    xmin, xmax, ymin, ymax = edges
    if xmin >= xmax or ymin >= ymax:
        raise _RefusedError("Must be [xmin, xmax, ymin, ymax] with xmin < xmax and ymin < ymax.")
    return [_text(edge) for edge in edges]


def _max_iter(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_ITER:
        raise _RefusedError(f"Must be a whole number between 1 and {MAX_ITER}.")
    return value


def _escape_radius(value: object) -> float:
    if value is None:
        return 2.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 2 <= value <= _MAX_ESCAPE_RADIUS:
        raise _RefusedError(f"Must be a number between 2 and {_MAX_ESCAPE_RADIUS:g}.")
    return float(value)


def _decimals(value: object, name: str, form: str, length: int) -> list[Decimal]:
    if not isinstance(value, list | tuple) or len(value) != length:
        raise _RefusedError(f"Give the {name} as {form}.")
    return [_decimal(part) for part in value]


def _decimal(value: object) -> Decimal:
    """The exact number that a decimal string or a JSON number stands for; a double by its shortest decimal form."""
    text = repr(value) if isinstance(value, float) else value
    if isinstance(text, bool) or not isinstance(text, str | int):
        raise _RefusedError("Give numbers, or strings with decimal numbers.")
    if isinstance(text, str) and (len(text) > _MAX_DIGITS or not _DECIMAL.fullmatch(text)):
        raise _RefusedError(f"Not a finite decimal number of at most {_MAX_DIGITS} characters: {text[:40]!r}.")
    if isinstance(text, int) and abs(text) > _MAX_MAGNITUDE:
        raise _RefusedError(_TOO_FAR)
    number = Decimal(text)
    if number.copy_abs() > _MAX_MAGNITUDE:
        raise _RefusedError(_TOO_FAR)
    if number and number.adjusted() < -_MAX_DIGITS:
        raise _RefusedError(f"Must not be closer to 0 than 1e-{_MAX_DIGITS}.")
    return number


def _text(number: Decimal) -> str:
    """The canonical text of a number: no needless zeros, digits in place unless it is tiny."""
    if not number:
        return "0"
    shortest = number.normalize(_EXACT)
    return f"{shortest:f}" if shortest.adjusted() >= _LEAST_IN_PLACE else f"{shortest:e}"


def _stray(key: object) -> str:
    if key in _BY_CENTER:
        return "Give either a viewport or a center and radius, not both."
    return "Only a viewport can be fitted." if key in _BY_VIEWPORT else "There is no such parameter."


_Reader = Callable[[object], Any]
_COMMON: dict[str, _Reader] = {
    "formula": _formula,
    "julia": _julia,
    "max_iter": _max_iter,
    "escape_radius": _escape_radius,
}
_BY_CENTER: dict[str, _Reader] = {"center": _center, "radius": _radius}
_BY_VIEWPORT: dict[str, _Reader] = {"viewport": _viewport, "fit": _fit}
