"""What work costs, by what nodes measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rrm.farm.models import HeldModel

_PRIOR_PIXEL_SECONDS = 1e-7


def pixel_seconds(model: str, holders: Iterable[Mapping[str, HeldModel]]) -> float:
    """Seconds that a pixel of `model` takes a node, the mean of those that measured it."""
    measured = [held[model].pixel_seconds for held in holders if model in held]
    known = [seconds for seconds in measured if seconds]
    return sum(known) / len(known) if known else _PRIOR_PIXEL_SECONDS
