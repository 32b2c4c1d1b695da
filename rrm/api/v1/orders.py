"""The bodies of `open` and `schedule` as options for a node of the session's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rrm.api.fields import LARGEST_WHOLE
from rrm.domain import first_rrm
from rrm.errors import Forbidden, Invalid
from rrm.farm.models import Resource

_NUMBERS = ("nb_nodes", "nb_cpus", "nb_gpus", "memory")
_PLAIN = re.compile(r"[A-Za-z0-9@%+=:,./_-]{1,256}")
_TRUTH = {"true": True, "1": True, "false": False, "0": False, "": False}
_LONGEST = 4096


def options_of(body: Mapping[str, Any], *, as_batch: bool, may_mislead: bool) -> dict[str, Any]:
    """What a request asks for in place of the configuration's settings; nothing for what it leaves to them.

    Raises Invalid with every field that makes no sense, Forbidden for a variable that only operators may set.
    """
    with Invalid.collected() as check:
        found: dict[str, Any] = {
            "params": check(lambda: first_rrm.words(_text(body, "params"), as_shell=as_batch)),
            "environment": check(lambda: _environment(body, may_mislead=may_mislead)),
        }
        if as_batch:
            found |= {name: check(lambda name=name: _number(body, name)) for name in _NUMBERS}  # type: ignore[misc]
            found["queue"] = check(lambda: _plain(body, "queue"))
            found["reservation"] = check(lambda: _plain(body, "reservation"))
            found["exclusive"] = check(lambda: _flag(body, "exclusive", "exclusive_allocation"))
            found["time_limit"] = check(lambda: _time(body))
    return {name: value for name, value in found.items() if value}


def needs_own(resource: Resource, options: Mapping[str, Any]) -> bool:
    """Whether a node that anybody may get will not do."""
    return bool(options) or resource.renderer == Resource.Renderer.EXTERNAL


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise Invalid(name, f"Must be a text of at most {_LONGEST} characters.")
    if any(not (character.isprintable() or character.isspace()) for character in value):
        raise Invalid(name, "Must not contain control characters.")
    return value


def _environment(body: Mapping[str, Any], *, may_mislead: bool) -> str:
    variables = first_rrm.variables(_text(body, "environment"))
    if not may_mislead and (bad := sorted(filter(first_rrm.may_mislead, variables))):
        raise Forbidden(f"Only operators may set {', '.join(bad)}: it changes what is run.")
    return first_rrm.quoted(variables)


def _number(body: Mapping[str, Any], name: str) -> int:
    value = body.get(name) or 0
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 12:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST_WHOLE:
        raise Invalid(name, "Must be a whole number that is not negative.")
    return value


def _plain(body: Mapping[str, Any], name: str) -> str:
    value = _text(body, name).strip()
    if value and not _PLAIN.fullmatch(value):
        raise Invalid(name, "Has characters in it that the scheduler's options cannot hold.")
    return value


def _flag(body: Mapping[str, Any], *names: str) -> bool:
    for name in names:
        value = body.get(name)
        value = _TRUTH.get(value.strip().lower()) if isinstance(value, str) else bool(value)
        if value is None:
            raise Invalid(name, "Must be true or false.")
        if value:
            return True
    return False


def _time(body: Mapping[str, Any]) -> int:
    text = body.get("allocation_time")
    if text is None or text == "":
        return 0
    found = first_rrm.seconds(str(text))
    if found > LARGEST_WHOLE:
        raise Invalid("allocation_time", "Is too long.")
    return found
