"""Who wants what and when: made-up orders, or those of a trace file."""

from __future__ import annotations

import csv
import json
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from rrm.domain.orders import PRIORITIES

DAY = 86400.0
_NAMES = ("time", "model", "seconds", "leases", "owner", "priority")


@dataclass(frozen=True, slots=True)
class Order:
    """A job: `leases` ranges that take `seconds` each on a node that holds the model, `expected` as far as is known."""

    at: float
    model: str
    seconds: float
    leases: int = 1
    owner: str = "anyone"
    priority: str = "normal"
    expected: float | None = None

    @property
    def estimate(self) -> float:
        return self.seconds if self.expected is None else self.expected


@dataclass(frozen=True, slots=True)
class Visit:
    """A person who wants a renderer with the model for so many seconds."""

    at: float
    model: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Zipf:
    """How popular models are: the i-th is wanted in proportion to 1 / i ** exponent."""

    models: int
    exponent: float = 1.0

    @property
    def names(self) -> list[str]:
        return [f"m{number:0{len(str(self.models - 1))}}" for number in range(self.models)]

    def draws(self, chance: random.Random) -> Iterator[str]:
        names = self.names
        weights = list(accumulate(1 / (rank + 1) ** self.exponent for rank in range(self.models)))
        while True:
            yield from chance.choices(names, cum_weights=weights, k=1000)


Rate = Callable[[float], float]
"""Orders per second at an instant."""


def steady(rate: float) -> Rate:
    return lambda _: rate


def bursts(rate: float, every: float = 600.0, lasts: float = 60.0, times: float = 5.0) -> Rate:
    """`times` the base rate while a burst lasts; the mean is `rate`."""
    base = rate / (1 + (times - 1) * lasts / every)
    return lambda at: base * (times if at % every < lasts else 1.0)


def diurnal(rate: float, swing: float = 0.8, day: float = DAY) -> Rate:
    """A day and night: least at its begin, most at its middle; the mean is `rate`."""
    return lambda at: rate * (1 - swing * math.cos(2 * math.pi * at / day))


def instants(rate: Rate, highest: float, chance: random.Random) -> Iterator[float]:
    """A Poisson process of varying rate, by thinning one of the `highest` rate."""
    at = 0.0
    while True:
        at += chance.expovariate(highest)
        if chance.random() * highest <= rate(at):
            yield at


def orders(
    times: Iterable[float],
    popularity: Zipf,
    seconds: float,
    chance: random.Random,
    *,
    leases: int = 1,
    owners: Sequence[str] = ("anyone",),
) -> Iterator[Order]:
    """An order at each instant; its service time is exponential, and its mean is what is known before."""
    for at, model in zip(times, popularity.draws(chance), strict=False):
        owner = owners[0] if len(owners) == 1 else chance.choice(owners)
        yield Order(at, model, chance.expovariate(1 / seconds), leases, owner, expected=seconds)


def read_trace(path: Path) -> list[Order]:
    """The orders of a CSV file with a head line, or of JSON lines; `time`, `model` and `seconds` are needed.

    `leases`, `owner` and `priority` may be given. Raises OSError, or ValueError that names the order.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text in UTF-8.") from None
    if path.suffix.lower() == ".csv":
        found = [_order(row, number) for number, row in enumerate(csv.DictReader(text.splitlines()), start=1)]
    else:
        lines = (line for line in text.splitlines() if line.strip())
        found = [_order(_row(line, number), number) for number, line in enumerate(lines, start=1)]
    if not found:
        raise ValueError(f"{path} has no orders.")
    return sorted(found, key=lambda order: order.at)


def _row(line: str, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise ValueError(f"Order {number} of the trace is not a JSON object (CSV files are called .csv).")
    return row


def _order(row: dict[str, Any], number: int) -> Order:
    problem = f"Order {number} of the trace"
    unknown = [str(name or "a field without a name") for name in row if name not in _NAMES]
    if unknown:
        raise ValueError(f"{problem} has {', '.join(unknown)}; known are {', '.join(_NAMES)}.")
    for name in ("time", "model", "seconds"):
        if row.get(name) in (None, ""):
            raise ValueError(f"{problem} has no {name}.")
    priority = str(row.get("priority") or "normal")
    if priority not in PRIORITIES:
        raise ValueError(f"{problem}: priority {priority!r} is none of {', '.join(PRIORITIES)}.")
    return Order(
        at=_number(row, "time", problem),
        model=str(row["model"]),
        seconds=_number(row, "seconds", problem),
        leases=_count(row, "leases", problem),
        owner=str(row.get("owner") or "anyone"),
        priority=priority,
    )


def _number(row: dict[str, Any], name: str, problem: str) -> float:
    try:
        number = float(row[name])
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{problem}: {name} {row[name]!r} is not a number of seconds, 0 at least.")
    return number


def _count(row: dict[str, Any], name: str, problem: str) -> int:
    if row.get(name) in (None, ""):
        return 1
    try:
        number = int(row[name])
        is_whole = number == float(row[name])
    except (TypeError, ValueError, OverflowError):
        number, is_whole = 0, False
    if number < 1 or not is_whole:
        raise ValueError(f"{problem}: {name} {row[name]!r} is not a whole number, 1 at least.")
    return number
