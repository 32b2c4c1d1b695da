"""The colouring of a job: what may be asked for, checked field by field, and what becomes of it.

Nodes get stops and numbers, never a palette's name. t = frac(offset + scale · value) is looked up in the gradient; what
the value is depends on the method.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, TypeGuard

from rrm.domain.palettes import INTERPOLATIONS, PALETTES, Palette, Stop
from rrm.errors import Invalid

CYCLE = 256.0
SHADED = ("distance", "normal")
METHODS = ("smooth", "bands", "histogram", *SHADED)
REPEATS = ("wrap", "mirror")
CYCLIC = ("smooth", "bands", "normal")
"""Methods whose values run through the gradient many times; the others go from its one end to the other once."""

NEEDS: Mapping[str, str] = {"smooth": "smooth", "bands": "counts", "histogram": "smooth"}
"""From which kept values a method can be painted without rendering. The others need the orbit's derivative."""

Look = dict[str, Any]


def parse(request: object, known: Mapping[str, Palette] = PALETTES) -> Look:
    """The colouring that nodes get for what a job asked: a palette's name or stops of its own, and how to map values.

    Raises Invalid with every field that cannot be accepted, as `coloring.<field>`.
    """
    if not isinstance(request, Mapping):
        raise Invalid("coloring", "Give an object.")
    method = request.get("method", METHODS[0])
    errors = {f"coloring.{key}": [said] for key in request if (said := _stray(key, request, method))}
    result: Look = {"cycle": CYCLE}
    for field, (read, default) in _readers(request, method, known).items():
        try:
            result |= read(field, request.get(field, default))
        except Invalid as refused:
            errors |= refused.errors
    if errors:
        raise Invalid(errors)
    returns_home, repeat = result.pop("returns_home"), result.pop("repeat")
    if repeat == "mirror" or (repeat is None and not returns_home and method in CYCLIC):
        result["stops"] = _mirrored(result["stops"])
    return result


def check_sampling(look: Look, supersample: int) -> None:
    """Raises Invalid where samples within a pixel have no place: a histogram is made of one value for each pixel."""
    if look["method"] == "histogram" and supersample > 1:
        raise Invalid("supersample", "A histogram is made of one sample for each pixel; order a larger image instead.")


def check_view(look: Look, params: Mapping[str, Any], view: Mapping[str, Any]) -> None:
    """Raises Invalid where the derivative that a method needs is not known: beyond doubles, and of other formulas."""
    if look["method"] not in SHADED:
        return
    if params.get("formula") != _FORMULA or "julia" in params or view.get("method", _IN_DOUBLES) != _IN_DOUBLES:
        raise Invalid(
            "coloring.method",
            f"{look['method']} is for the formula {_FORMULA!r} in double precision; use smooth, bands or histogram.",
        )


def for_nodes(look: Look) -> Look:
    """What nodes paint with. The histogram is known when all tiles are done; until then they show smooth colours."""
    return {**look, "method": "smooth"} if look.get("method") == "histogram" else look


def check_kept(look: Look, outputs: list[str]) -> None:
    """Raises Invalid when a picture cannot be painted from these outputs; it says what to order instead."""
    method = look["method"]
    if method in SHADED:
        raise Invalid("coloring.method", f"{method} needs more than a job keeps; order the view with this method.")
    if NEEDS[method] not in outputs:
        needed = NEEDS[method]
        raise Invalid(
            "coloring.method",
            f"{method} needs {needed}, which this job did not keep; order the view with {needed!r} among its outputs.",
        )


def _readers(request: Mapping[str, Any], method: object, known: Mapping[str, Palette]) -> _Readers:
    source: _Readers = {"stops": (_stops, None)} if "stops" in request else {"palette": (_palette(known), "electric")}
    return source | _COMMON | (_LIGHT if method == "normal" else {})


def _stray(key: object, request: Mapping[str, Any], method: object) -> str:
    """What is wrong with giving this field at all; empty if nothing is."""
    if key == "palette" and "stops" in request:
        return "Give either a palette or stops, not both."
    if key in _LIGHT:
        return "" if method == "normal" else "Goes only with the method normal."
    return "" if key in {"palette", "stops", *_COMMON} else "There is no such setting."


def _palette(known: Mapping[str, Palette]) -> _Reader:
    def read(field: str, value: object) -> Look:
        palette = known.get(value) if isinstance(value, str) else None
        if palette is None:
            raise Invalid(f"coloring.{field}", f"Must be one of {', '.join(known)}.")
        stops = [list(stop) for stop in palette.stops]
        return {"stops": stops, "interpolation": palette.interpolation, "returns_home": palette.returns_home}

    return read


def _stops(field: str, value: object) -> Look:
    """A gradient of the user's own; the last colour leads on to the first one of the next cycle."""
    if not isinstance(value, list | tuple) or not 2 <= len(value) <= _MAX_STOPS:
        raise Invalid(f"coloring.{field}", f'Give 2 to {_MAX_STOPS} stops as [position, "#rrggbb"].')
    stops = [_stop(stop) for stop in value]
    if any(here > there for (here, _), (there, _) in pairwise(stops)):
        raise Invalid(f"coloring.{field}", "Positions must not descend.")
    return {"stops": [list(stop) for stop in stops], "interpolation": "linear", "returns_home": True}


def _stop(value: object) -> Stop:
    if isinstance(value, list | tuple) and len(value) == 2:
        position, color = value
        if _is_number(position) and 0 <= position <= 1 and _is_color(color):
            return float(position), color.lower()
    raise Invalid("coloring.stops", f'Each stop is [position from 0 to 1, "#rrggbb"]; {str(value)[:40]!r} is not.')


def _mirrored(stops: list[list[Any]]) -> list[list[Any]]:
    """The gradient forth in the first half of the cycle and back in the second."""
    return [[place / 2, color] for place, color in stops] + [[1 - place / 2, color] for place, color in stops[::-1]]


def _choice(allowed: tuple[str, ...]) -> _Reader:
    def read(field: str, value: object) -> Look:
        if value not in allowed:
            raise Invalid(f"coloring.{field}", f"Must be one of {', '.join(allowed)}.")
        return {field: value}

    return read


def _optional(allowed: tuple[str, ...], *, absent: Look) -> _Reader:
    """A choice that has no default of its own; None only stands for a field that was left out."""

    def read(field: str, value: object) -> Look:
        return absent if value is _ABSENT else _choice(allowed)(field, value)

    return read


def _number(least: float, most: float) -> _Reader:
    def read(field: str, value: object) -> Look:
        if not _is_number(value) or not least <= value <= most:  # NaN fails this too
            raise Invalid(f"coloring.{field}", f"Must be a number between {least:g} and {most:g}.")
        return {field: float(value)}

    return read


def _scale(field: str, value: object) -> Look:
    if value == 0 and _is_number(value):
        raise Invalid(f"coloring.{field}", "Must not be 0.")
    return _number(-_MAX_NUMBER, _MAX_NUMBER)(field, value)


def _interior(field: str, value: object) -> Look:
    if not _is_color(value):
        raise Invalid(f"coloring.{field}", 'Must be a colour like "#000000".')
    return {field: value.lower()}


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_color(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and _COLOR.fullmatch(value) is not None


_Reader = Callable[[str, object], Look]
_Readers = dict[str, tuple[_Reader, object]]
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_MAX_NUMBER = 1e6
_MAX_STOPS = 1024
_FORMULA, _IN_DOUBLES = "mandelbrot", "double"
_ABSENT = object()
_COMMON: _Readers = {
    "interpolation": (_optional(INTERPOLATIONS, absent={}), _ABSENT),
    "repeat": (_optional(REPEATS, absent={"repeat": None}), _ABSENT),
    "method": (_choice(METHODS), METHODS[0]),
    "offset": (_number(-_MAX_NUMBER, _MAX_NUMBER), 0.0),
    "scale": (_scale, 1.0),
    "interior": (_interior, "#000000"),
}
_LIGHT: _Readers = {"light_angle": (_number(-360, 360), 45.0), "light_height": (_number(0, 10), 1.5)}
