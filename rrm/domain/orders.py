"""What may be asked for in a job: the shape and limits of an order, checked field by field."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rrm.domain import capabilities, tiling
from rrm.errors import Invalid

OUTPUTS = ("png", "counts", "smooth")
PRIORITIES = ("low", "normal", "high", "urgent")
POLICIES = ("any", "split", "only")
TILE_SIZES = (16, 1024)
MAX_SUPERSAMPLE = 4
MAX_SIDE = 2**17  # composing holds some rows of the whole width in memory
_NAME_LENGTH = 200


@dataclass(frozen=True)
class Limits:
    """What one job may be at most."""

    max_pixels: int
    max_tiles: int


@dataclass(frozen=True)
class Order:
    """An accepted order; the database must still confirm `resource`, `model`, `site_ids` and `requires`."""

    name: str
    resource: str | None
    model: str | None
    params: Mapping[str, Any] | None
    width: int
    height: int
    tile_size: int
    outputs: tuple[str, ...]
    coloring: Mapping[str, Any]
    supersample: int
    adaptive: bool
    priority: str
    site_policy: str
    site_ids: tuple[str, ...]
    requires: tuple[str, ...]
    deadline: datetime | None


class _Refused(Exception):
    """Why one field cannot be accepted."""


def parse(body: object, limits: Limits, now: datetime) -> Order:
    """The order in a decoded JSON body. Raises Invalid with every field that cannot be accepted."""
    if not isinstance(body, Mapping):
        raise Invalid("order", "Give an object with the fields of a job.")
    errors = {str(field): ["There is no such field."] for field in body if field not in _READERS}
    values: dict[str, Any] = {}
    for field, read in _READERS.items():
        try:
            values[field] = read(body.get(field))
        except _Refused as refused:
            errors[field] = [str(refused)]
    _choose_tile_size(values)
    for check in (_one_model, _within_limits, _some_samples, _in_future):
        for field, message in check(values, limits, now):
            errors.setdefault(field, []).append(message)
    if errors:
        raise Invalid(errors)
    for checked_only in ("kind", "callback_url"):
        del values[checked_only]
    values["site_policy"], values["site_ids"] = values.pop("sites")
    return Order(**values)


def _choose_tile_size(values: dict[str, Any]) -> None:
    if {"width", "height", "tile_size"} <= values.keys() and values["tile_size"] is None:
        values["tile_size"] = tiling.default_tile_size(values["width"], values["height"])


_Complaints = list[tuple[str, str]]


def _one_model(values: Mapping[str, Any], _limits: Limits, _now: datetime) -> _Complaints:
    if "model" not in values or "params" not in values:
        return []
    if (values["model"] is None) == (values["params"] is None):
        return [("model", "Give either the id or name of a model, or params.")]
    return []


def _within_limits(values: Mapping[str, Any], limits: Limits, _now: datetime) -> _Complaints:
    width, height, tile = values.get("width"), values.get("height"), values.get("tile_size")
    if width is None or height is None:
        return []
    complaints: _Complaints = []
    if width * height > limits.max_pixels:
        complaints.append(("width", f"{width} x {height} is more than the limit of {limits.max_pixels} pixels."))
    if tile is not None:
        tiles = -(-width // tile) * -(-height // tile)
        if tiles > limits.max_tiles:
            complaints.append(
                ("tile_size", f"{tiles} tiles are more than the limit of {limits.max_tiles}; use larger tiles.")
            )
    return complaints


def _some_samples(values: Mapping[str, Any], _limits: Limits, _now: datetime) -> _Complaints:
    if values.get("adaptive") and values.get("supersample") == 1:
        return [("adaptive", "There is nothing to adapt with one sample for each pixel; give supersample 2, 3 or 4.")]
    return []


def _in_future(values: Mapping[str, Any], _limits: Limits, now: datetime) -> _Complaints:
    deadline = values.get("deadline")
    return [("deadline", "Must lie in the future.")] if deadline is not None and deadline <= now else []


def name(value: object) -> str:
    """A job's name: at most 200 characters, none of them a control character."""
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _NAME_LENGTH or not value.isprintable():
        raise _Refused(f"Must be a text of at most {_NAME_LENGTH} printable characters.")
    return value


def priority(value: object) -> str:
    return _one_of(PRIORITIES, "normal")(value)


def parse_changes(body: object) -> dict[str, str]:
    """The fields of a job that may change while it exists. Raises Invalid."""
    readers: dict[str, Callable[[object], str]] = {"name": name, "priority": priority}
    if not isinstance(body, Mapping):
        raise Invalid("job", "Give an object with the fields to change.")
    errors = {str(field): ["This field cannot be changed."] for field in body if field not in readers}
    changes: dict[str, str] = {}
    for field in readers.keys() & body.keys():
        try:
            if body[field] is None:
                raise _Refused("Must not be null.")
            changes[field] = readers[field](body[field])
        except _Refused as refused:
            errors[field] = [str(refused)]
    if errors:
        raise Invalid(errors)
    return changes


def parse_recolor(body: object) -> tuple[str, Mapping[str, Any]]:
    """The name and the colouring that a finished job is to be shown in. Raises Invalid."""
    if not isinstance(body, Mapping):
        raise Invalid("recolor", "Give an object with a coloring.")
    errors = {str(field): ["There is no such field."] for field in body if field not in ("name", "coloring")}
    try:
        chosen = name(body.get("name"))
    except _Refused as refused:
        errors["name"] = [str(refused)]
    coloring = body.get("coloring")
    if not isinstance(coloring, Mapping):
        errors["coloring"] = ["Give an object with the new colours."]
    if errors or not isinstance(coloring, Mapping):
        raise Invalid(errors)
    return chosen, coloring


def _whole(default: int | None, minimum: int, maximum: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if value is None and default is not None:
            return default
        if value is None:
            raise _Refused("This field is needed.")
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
            raise _Refused(f"Must be a whole number between {minimum} and {maximum}.")
        return value

    return read


def _one_of(allowed: tuple[str, ...], default: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value is None:
            return default
        if not isinstance(value, str) or value not in allowed:
            raise _Refused(f"Must be one of {', '.join(allowed)}.")
        return value

    return read


def _claim(value: object) -> bool:
    if value is not None and not isinstance(value, bool):
        raise _Refused("Must be true or false.")
    return bool(value)


def _slug(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= 100:
        raise _Refused("Must be a text of at most 100 characters.")
    return value.lower()


def _mapping(value: object) -> Mapping[str, Any] | None:
    if value is not None and not isinstance(value, Mapping):
        raise _Refused("Must be an object.")
    return value


def _outputs(value: object) -> tuple[str, ...]:
    if value is None:
        return ("png",)
    if not isinstance(value, list) or not value or any(output not in OUTPUTS for output in value):
        raise _Refused(f"Must be a list with at least one of {', '.join(OUTPUTS)}.")
    return tuple(output for output in OUTPUTS if output in value)


def _sites(value: object) -> tuple[str, tuple[str, ...]]:
    if value is None:
        return "any", ()
    if not isinstance(value, Mapping) or not value.keys() <= {"policy", "ids"}:
        raise _Refused('Must be an object {"policy": …, "ids": […]}.')
    policy = _one_of(POLICIES, "any")(value.get("policy"))
    ids = _site_ids(value.get("ids"))
    if policy != "any" and not ids:
        raise _Refused(f"The policy {policy!r} needs the ids of its sites.")
    if policy == "any" and ids:
        raise _Refused("The policy 'any' takes no ids; 'only' keeps to the sites it names.")
    return policy, ids


def _site_ids(value: object) -> tuple[str, ...]:
    ids = [] if value is None else value
    if not isinstance(ids, list) or any(not isinstance(site, str) for site in ids):
        raise _Refused("ids must be a list of site ids.")
    found = tuple(site.lower() for site in ids)
    if len(set(found)) < len(found):
        raise _Refused("ids must name each site once.")
    return found


def _requires(value: object) -> tuple[str, ...]:
    try:
        return tuple(capabilities.parse([] if value is None else value))
    except ValueError as error:
        raise _Refused(str(error)) from None


def _deadline(value: object) -> datetime | None:
    if value is None:
        return None
    try:
        instant = datetime.fromisoformat(value) if isinstance(value, str) else None
        if instant is not None and instant.tzinfo is not None:
            return instant.astimezone(UTC)
    except (ValueError, OverflowError):  # the first and last hours of the calendar lie outside it in UTC
        pass
    raise _Refused("Must be a time with its zone, like 2030-01-31T12:00:00Z.")


def _nothing(value: object) -> None:
    if value is not None:
        raise _Refused("This version sends no call-backs; follow the job's events instead.")


_READERS: dict[str, Callable[[object], Any]] = {
    "name": name,
    "resource": _slug,
    "model": _slug,
    "params": _mapping,
    "kind": _one_of(("image",), "image"),
    "width": _whole(None, 1, MAX_SIDE),
    "height": _whole(None, 1, MAX_SIDE),
    "tile_size": lambda value: None if value is None else _whole(None, *TILE_SIZES)(value),
    "outputs": _outputs,
    "coloring": lambda value: _mapping(value) or {},
    "supersample": _whole(1, 1, MAX_SUPERSAMPLE),
    "adaptive": _claim,
    "priority": priority,
    "sites": _sites,
    "requires": _requires,
    "deadline": _deadline,
    "callback_url": _nothing,
}


def is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


FIELDS = tuple(_READERS)
