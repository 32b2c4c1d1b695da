"""Which model an idle node should load before anybody asks for it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

INSTANT_SECONDS = 0.3
"""What loads in less is loaded when it is needed."""
HALF_LIFE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model, and how much it is wanted: its uses, each worth half as much a day later."""

    model: str
    wanted: float
    load_seconds: float
    size_bytes: int = 0
    holders: int = 0
    """Other nodes of the resource that hold or load it."""

    @property
    def saves(self) -> float:
        """Seconds that one more holder can be expected to save; each has its part of the uses."""
        return self.wanted * self.load_seconds / (1 + self.holders)


def wanted(uses: Iterable[tuple[str, datetime]], now: datetime) -> Mapping[str, float]:
    """How much each model is wanted, by frequency and recency of its uses."""
    found: dict[str, float] = {}
    for model, at in uses:
        found[model] = found.get(model, 0.0) + 0.5 ** (max(now - at, timedelta()) / HALF_LIFE)
    return found


def most_saving(candidates: Iterable[Candidate], held: Collection[str], room_bytes: int) -> Candidate | None:
    """The model that saves most and fits beside what the node holds; None when nothing is worth it."""
    able = (
        each
        for each in candidates
        if each.model not in held and each.load_seconds >= INSTANT_SECONDS and each.size_bytes <= room_bytes
    )
    return max(able, key=lambda each: (each.saves, each.model), default=None)
