"""The camera: what is looked at, how large and in which colours; changes to it are checked field by field."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

from renderers.lease import FORMULAS, INTERPOLATIONS, MAX_ITER, METHODS
from renderers.streaming.palettes import NAMES

LONGEST_SIDE = 8192
MOST_PIXELS = 4096 * 4096
LEAST_SIDE = 16
DEEPEST = 1000
MOST_DIGITS = 2000
FARTHEST = 10**6
LARGEST_ESCAPE = 1e10
LARGEST_NUMBER = 1e6
MOST_STOPS = 1024
LONGEST_ID = 64
REPEATS = ("wrap", "mirror")
FORMATS = ("jpeg", "png")

Errors = dict[str, list[str]]
Stop = tuple[float, str]

_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,6})?", re.ASCII)
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


class Refused(ValueError):
    """The camera cannot be accepted: `errors` says why, by field."""

    def __init__(self, errors: Errors) -> None:
        super().__init__("; ".join(f"{field}: {' '.join(said)}" for field, said in errors.items()))
        self.errors = errors


class _Wrong(Exception):
    """Why one field cannot be accepted."""


@dataclass(frozen=True, slots=True)
class Camera:
    """Decimals that locate the view are texts of any precision; `radius` is half the shorter side.

    `max_iter` None is chosen from the depth. `stops` None is the palette of that name. `format` is that of final
    frames: others are JPEG. `id` is the client's own and comes back with the frames that show this camera.
    """

    id: int | str | None = None
    center: tuple[str, str] = ("-0.75", "0")
    radius: str = "1.25"
    width: int = 1280
    height: int = 720
    max_iter: int | None = None
    escape_radius: float = 2.0
    formula: str = "mandelbrot"
    julia: tuple[str, str] | None = None
    palette: str | None = "electric"
    stops: tuple[Stop, ...] | None = None
    interpolation: str | None = None
    repeat: str | None = None
    method: str = "smooth"
    offset: float = 0.0
    scale: float = 1.0
    interior: str = "#000000"
    light_angle: float = 45.0
    light_height: float = 1.5
    format: str = "jpeg"

    def as_json(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def changed(camera: Camera, request: object) -> Camera:
    """The camera with the fields of a JSON object changed. Raises Refused with every field that is wrong."""
    if not isinstance(request, Mapping):
        raise Refused({"camera": ["Give an object with the fields that change."]})
    errors: Errors = {}
    fields: dict[str, Any] = {}
    for name, value in request.items():
        try:
            fields[name] = _READERS[name](value)
        except KeyError:
            errors[str(name)[:40]] = ["There is no such field."]
        except _Wrong as wrong:
            errors[name] = [str(wrong)]
    if fields.get("stops") and fields.get("palette"):
        errors["palette"] = ["Give either a palette or stops, not both."]
    if errors:
        raise Refused(errors)
    result = dataclasses.replace(camera, **(_gradient(fields) | fields))
    errors = _contradictions(result)
    if errors:
        raise Refused(errors)
    return result


def id_of(request: Mapping[str, Any]) -> int | str | None:
    """The id by which a client knows its camera; None for one that could not be told back to it."""
    try:
        return _id(request.get("id"))
    except _Wrong:
        return None


def _gradient(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A palette takes the place of stops, and stops that of a palette."""
    if fields.get("palette"):
        return {"stops": None}
    return {"palette": None} if fields.get("stops") else {}


def _contradictions(camera: Camera) -> Errors:
    """What is wrong with fields beside each other."""
    if camera.width * camera.height > MOST_PIXELS:
        return {"width": [f"An image has {MOST_PIXELS} pixels at most."]}
    if camera.palette is None and camera.stops is None:
        return {"palette": ["Give a palette or stops."]}
    constant = camera.julia
    if constant and sum(Fraction(part) ** 2 for part in constant) > Fraction(camera.escape_radius) ** 2:
        return {"julia": [f"Must not lie beyond the escape radius of {camera.escape_radius:g}."]}
    return {}


def _id(value: object) -> int | str | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53):
        return value
    if isinstance(value, str) and len(value) <= LONGEST_ID:
        return value
    raise _Wrong(f"Must be a whole number, or a text of at most {LONGEST_ID} characters.")


def _point(value: object) -> tuple[str, str]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise _Wrong("Give it as [x, y].")
    return _decimal(value[0]), _decimal(value[1])


def _constant(value: object) -> tuple[str, str] | None:
    return None if value is None else _point(value)


def _radius(value: object) -> str:
    text = _decimal(value)
    if Decimal(text) <= 0:
        raise _Wrong("Must be greater than 0.")
    if Decimal(text) < Decimal(f"1e-{DEEPEST}"):
        raise _Wrong(f"Must not be below 1e-{DEEPEST}, the deepest that can be rendered.")
    return text


def _decimal(value: object) -> str:
    """The text of a JSON number, or a decimal string as it is; a zero has no exponent, which would cost its power."""
    text = repr(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    if not isinstance(text, str) or len(text) > MOST_DIGITS or not _DECIMAL.fullmatch(text):
        raise _Wrong(f"Give finite numbers, or strings with decimal numbers of at most {MOST_DIGITS} characters.")
    number = Decimal(text)
    if not number:
        return "0"
    if number.copy_abs() > FARTHEST:
        raise _Wrong(f"Must not be further from 0 than {FARTHEST}.")
    if number.adjusted() < -MOST_DIGITS:
        raise _Wrong(f"Must not be closer to 0 than 1e-{MOST_DIGITS}.")
    return text


def _whole(least: int, most: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise _Wrong(f"Must be a whole number between {least} and {most}.")
        return value

    return read


def _limit(value: object) -> int | None:
    return None if value is None else _whole(1, MAX_ITER)(value)


def _number(least: float, most: float) -> Callable[[object], float]:
    def read(value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
            raise _Wrong(f"Must be a number between {least:g} and {most:g}.")
        return float(value)

    return read


def _scale(value: object) -> float:
    number = _number(-LARGEST_NUMBER, LARGEST_NUMBER)(value)
    if number == 0.0:
        raise _Wrong("Must not be 0.")
    return number


def _choice(allowed: tuple[str, ...], *, optional: bool = False) -> Callable[[object], str | None]:
    def read(value: object) -> str | None:
        if value is None and optional:
            return None
        if not isinstance(value, str) or value not in allowed:
            raise _Wrong(f"Must be one of {', '.join(allowed)}.")
        return value

    return read


def _color(value: object) -> str:
    if not isinstance(value, str) or not _COLOR.fullmatch(value):
        raise _Wrong('Must be a colour like "#000000".')
    return value.lower()


def _stops(value: object) -> tuple[Stop, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not 2 <= len(value) <= MOST_STOPS:
        raise _Wrong(f'Give 2 to {MOST_STOPS} stops as [position, "#rrggbb"].')
    stops = []
    for stop in value:
        if not isinstance(stop, list | tuple) or len(stop) != 2:
            raise _Wrong('Each stop is [position from 0 to 1, "#rrggbb"].')
        stops.append((_number(0.0, 1.0)(stop[0]), _color(stop[1])))
    if any(here > there for (here, _), (there, _) in pairwise(stops)):
        raise _Wrong("Positions must not descend.")
    return tuple(stops)


_READERS: dict[str, Callable[[object], Any]] = {
    "id": _id,
    "center": _point,
    "radius": _radius,
    "width": _whole(LEAST_SIDE, LONGEST_SIDE),
    "height": _whole(LEAST_SIDE, LONGEST_SIDE),
    "max_iter": _limit,
    "escape_radius": _number(2.0, LARGEST_ESCAPE),
    "formula": _choice(tuple(FORMULAS)),
    "julia": _constant,
    "palette": _choice(NAMES, optional=True),
    "stops": _stops,
    "interpolation": _choice(INTERPOLATIONS, optional=True),
    "repeat": _choice(REPEATS, optional=True),
    "method": _choice(METHODS),
    "offset": _number(-LARGEST_NUMBER, LARGEST_NUMBER),
    "scale": _scale,
    "interior": _color,
    "light_angle": _number(-360.0, 360.0),
    "light_height": _number(0.0, 10.0),
    "format": _choice(FORMATS),
}
