"""What the node does next: a pure decision over what it has in hand."""

from dataclasses import dataclass
from enum import Enum


class Step(Enum):
    """The next move of the leasing loop."""

    POLL = "ask for work and wait for it"
    PREFETCH = "ask for the next lease while this one renders"
    REST = "enough in hand"
    LEAVE = "nothing in hand and none wanted"


@dataclass(frozen=True)
class Hand:
    """Leases being rendered and their tiles, those no core has begun, and bundles being or waiting to be sent."""

    rendering: int
    tiles: int
    unstarted: int
    sending: int
    threads: int
    draining: bool


LEASES_AHEAD = 2
SENDING_AT_MOST = 1


def next_step(hand: Hand) -> Step:
    """Ask ahead so that no core idles, but no earlier: a tile in hand is one that no other node can take.

    The next lease is asked for when half of the tiles in hand have begun. Two leases may be in hand, more only while
    there are fewer tiles than cores. A bundle waiting behind the one being sent means that the way to the manager is
    the bottleneck; more leases would only pile up.
    """
    if hand.draining:
        return Step.REST if hand.rendering or hand.sending else Step.LEAVE
    if hand.sending > SENDING_AT_MOST:
        return Step.REST
    if not hand.rendering:
        return Step.PREFETCH if hand.sending else Step.POLL
    hungry = hand.unstarted < hand.threads
    if hand.rendering >= LEASES_AHEAD:
        return Step.PREFETCH if hungry and hand.rendering < hand.threads else Step.REST
    return Step.PREFETCH if hungry or 2 * hand.unstarted <= hand.tiles else Step.REST
