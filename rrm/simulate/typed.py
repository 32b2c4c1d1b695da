"""What people type, understood or refused in a sentence."""

from __future__ import annotations

import json
import math
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path

from rrm.simulate.rivals import ALL
from rrm.typed import number


def least(limit: float) -> Callable[[str], float]:
    """A finite number, `limit` at least."""

    def read(text: str) -> float:
        found = number(text)
        if found < limit:
            raise ArgumentTypeError(f"{text} is less than {limit:g}")
        return found

    return read


def above_zero(text: str) -> float:
    found = number(text)
    if found <= 0:
        raise ArgumentTypeError(f"{text} is not above 0")
    return found


def count(text: str) -> int:
    """1 at least."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def nodes(text: str) -> dict[str, int]:
    """`8` or `lab=8,cluster=40`."""
    parts = (part.rpartition("=") for part in text.split(","))
    return {site or "here": count(many) for site, _, many in parts}


def scale(text: str) -> tuple[int, int]:
    """`0:40`."""
    lowest, _, highest = text.partition(":")
    if not lowest.isdecimal() or count(highest) < int(lowest):
        raise ArgumentTypeError(f"{text!r} is not like 0:40")
    return int(lowest), int(highest)


def rhos(text: str) -> tuple[float, ...]:
    """`.3,.5`."""
    return tuple(above_zero(part) for part in text.split(","))


def policies(text: str) -> tuple[str, ...]:
    """`all`, or names."""
    names = tuple(ALL) if text == "all" else tuple(text.split(","))
    unknown = [name for name in names if name not in ALL]
    if unknown:
        raise ArgumentTypeError(f"there is no policy {', '.join(unknown)}; there are {', '.join(ALL)}")
    return names


def loads(path: Path) -> dict[str, float]:
    """Seconds by model. Raises OSError or ValueError that names the file."""
    try:
        found = json.loads(path.read_text())
        seconds = {str(model): float(value) for model, value in found.items()}
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f'{path} is not like {{"model": seconds}}.') from None
    if any(not math.isfinite(value) or value < 0 for value in seconds.values()):
        raise ValueError(f"{path} has loads that are no lengths of time.")
    return seconds
