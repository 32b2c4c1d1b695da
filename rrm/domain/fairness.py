"""Whose turn it is among owners: deficit round robin, in rounds that are counted instead of walked through.

In Shreedhar and Varghese's round robin (1996) each owner may take a quantum times its weight in each round. What an
owner was charged tells which round it is in, so the owner in the lowest round comes next: the same order, without a
ring that processes would have to share.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

QUANTUM = 10.0
"""Node-seconds of an owner of weight 1 in one round."""
MOST_CHARGED = 1e15
"""More node-seconds than anybody could have had: a charge of so many, or one that is no number, counts as none."""


def sound(charged: float) -> float:
    """A charge that can be reckoned with."""
    return charged if abs(charged) < MOST_CHARGED else 0.0


def round_of(charged: float, weight: float = 1.0, quantum: float = QUANTUM) -> int:
    """The round of an owner who was charged so many node-seconds."""
    rounds = sound(charged) / (weight * quantum)
    return int(rounds) if math.isfinite(rounds) else 0


def reweighed(charged: float, old: float, new: float) -> float:
    """The charge that leaves somebody with another weight in the same round."""
    return sound(sound(charged) / old * new)


def entry_charge(charged: float, weight: float, active: Collection[tuple[float, float]]) -> float:
    """What an owner is charged on joining those at work (charge, weight): nothing is saved up by not asking.

    That is at least the lowest of what the others were charged, by weight.
    """
    floor = min((sound(other) / heft for other, heft in active), default=0.0)
    return sound(max(sound(charged), floor * weight))


@dataclass
class Ledger(Mapping[str, int]):
    """The rounds of owners as charges come in: owner → round. Owners not charged yet are in the lowest round of all."""

    weights: Mapping[str, float] = field(default_factory=dict)
    quantum: float = QUANTUM
    charged: dict[str, float] = field(default_factory=dict)

    def join(self, owner: str, active: Collection[str]) -> None:
        """The owner has work again, beside the owners `active`."""
        others = [(self.charged.get(other, 0.0), self._weight(other)) for other in active if other != owner]
        self.charged[owner] = entry_charge(self.charged.get(owner, 0.0), self._weight(owner), others)

    def charge(self, owner: str, seconds: float) -> None:
        self.charged[owner] = self.charged.get(owner, 0.0) + seconds

    def _weight(self, owner: str) -> float:
        return self.weights.get(owner, 1.0)

    def __getitem__(self, owner: str) -> int:
        return round_of(self.charged[owner], self._weight(owner), self.quantum)

    def __iter__(self) -> Iterator[str]:
        return iter(self.charged)

    def __len__(self) -> int:
        return len(self.charged)
