"""Reading JSON bodies without guessing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import IO, Any, NoReturn

from django.conf import settings
from rest_framework.parsers import BaseParser

from rrm.api.errors import MalformedJson
from rrm.errors import TooLarge

MAX_DEPTH = 32


class StrictJSONParser(BaseParser):
    """One JSON object in UTF-8. Raises MalformedJson for anything on which two readers could disagree."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        raw = stream.read(limit + 1)
        if len(raw) > limit:
            raise TooLarge(f"A JSON body may have {limit} bytes.")
        return decode(raw)


def decode(raw: bytes) -> dict[str, Any]:
    """The object that `raw` spells, or MalformedJson with the reason."""
    try:
        found = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite
        )
    except UnicodeDecodeError as error:
        raise MalformedJson(f"The body is not UTF-8: {error.reason} at byte {error.start}.") from None
    except RecursionError:
        raise MalformedJson(f"The body is nested deeper than {MAX_DEPTH} levels.") from None
    except ValueError as error:
        raise MalformedJson(f"The body is not JSON: {error}.") from None
    if not isinstance(found, dict):
        raise MalformedJson("The body must be one JSON object.")
    _check(found)
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise MalformedJson(f"The name {twice[:100]!r} occurs twice in one object.")
    return found


def _no_constant(name: str) -> NoReturn:
    raise MalformedJson(f"{name} is not a JSON number.")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise MalformedJson(f"The number {text[:40]} is beyond double precision.")
    return value


def _check(found: Any) -> None:
    """Refuse deep nesting, and text that neither the database nor UTF-8 can hold."""
    level = [found]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, str):
                _check_text(value)
            elif isinstance(value, dict):
                inner.extend(value)
                inner.extend(value.values())
            elif isinstance(value, list):
                inner.extend(value)
        if not inner:
            return
        level = inner
    raise MalformedJson(f"The body is nested deeper than {MAX_DEPTH} levels.")


def _check_text(text: str) -> None:
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise MalformedJson("Text must not contain NUL characters or lone surrogates.")
