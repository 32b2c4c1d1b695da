"""What people type, understood or refused in a sentence."""

from __future__ import annotations

import json
import math
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path

from rrm.simulate.rivals import ALL
from rrm.typed import number

MOST = 1_000_000  # of anything that is counted, nodes and orders as well


def between(lowest: float, highest: float) -> Callable[[str], float]:
    """A number, both limits allowed."""

    def read(text: str) -> float:
        found = number(text)
        if found < lowest:
            raise ArgumentTypeError(f"{text} is less than {lowest:g}")
        if found > highest:
            raise ArgumentTypeError(f"{text} is more than {highest:g}")
        return found

    return read


def part(text: str) -> float:
    """0 at least and less than 1."""
    found = number(text)
    if not 0 <= found < 1:
        raise ArgumentTypeError(f"{text} is not at least 0 and less than 1")
    return found


def above_zero(text: str) -> float:
    found = number(text)
    if found <= 0:
        raise ArgumentTypeError(f"{text} is not above 0")
    return found


def count(text: str) -> int:
    """1 to `MOST`."""
    if not text.isdecimal() or not text.strip("0"):
        raise ArgumentTypeError(f"{text!r} is not a whole number above 0")
    if len(text) > len(str(MOST)) or int(text) > MOST:
        raise ArgumentTypeError(f"{text} is more than {MOST}")
    return int(text)


def nodes(text: str) -> dict[str, int]:
    """`8` or `lab=8,cluster=40`."""
    found: dict[str, int] = {}
    for site, _, many in (each.rpartition("=") for each in text.split(",")):
        if (site or "here") in found:
            raise ArgumentTypeError(f"{text!r} names a site twice")
        found[site or "here"] = count(many)
    return found


def scale(text: str) -> tuple[int, int]:
    """`0:40`."""
    lowest, _, highest = text.partition(":")
    if not lowest.isdecimal() or count(highest) < int(lowest):
        raise ArgumentTypeError(f"{text!r} is not like 0:40")
    return int(lowest), int(highest)


def rhos(text: str) -> tuple[float, ...]:
    """`.3,.5`."""
    found = tuple(between(1e-3, 100)(each) for each in text.split(","))
    if len(set(found)) < len(found):
        raise ArgumentTypeError(f"{text!r} names a load twice")
    return found


def policies(text: str) -> tuple[str, ...]:
    """`all`, or names."""
    names = tuple(ALL) if text == "all" else tuple(text.split(","))
    unknown = [name for name in names if name not in ALL]
    if unknown:
        raise ArgumentTypeError(f"there is no policy {', '.join(unknown)}; there are {', '.join(ALL)}")
    if len(set(names)) < len(names):
        raise ArgumentTypeError(f"{text!r} names a policy twice")
    return names


def writable(path: Path) -> None:
    """Raises ValueError that says why the file could not be written; leaves nothing behind."""
    is_new = not path.exists()
    if not is_new and not path.is_file() and not path.is_dir():  # a pipe would end by a try
        return
    try:
        with path.open("ab"):
            pass
        if is_new:
            path.unlink()
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error.strerror}.") from None


def loads(path: Path) -> dict[str, float]:
    """Seconds by model. Raises OSError or ValueError that names the file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
        seconds = {str(model): float(value) for model, value in found.items()}
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f'{path} is not like {{"model": seconds}}.') from None
    if any(not 0 <= value < math.inf for value in seconds.values()):
        raise ValueError(f"{path} has loads that are no lengths of time.")
    return seconds
