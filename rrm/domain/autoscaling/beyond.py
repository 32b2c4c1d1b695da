"""Which nodes leave because there are more than a limit allows, though they are at work: it was lowered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from rrm.domain.autoscaling.facts import Limits, Phase, SupplyNode
from rrm.domain.autoscaling.leaving import is_needed
from rrm.domain.autoscaling.weighing import Weighed, stays

_RANK = {Phase.IDLE: 0, Phase.STARTING: 1, Phase.BUSY: 2}


def beyond_maximum(farm: Weighed) -> tuple[str, ...]:
    """The nodes that the resource's own maximum does not allow; who has booked one keeps it, and it counts."""
    over = max(farm.have - farm.limits.kept, 0)
    return tuple(node.id for node in islice(least_missed(farm, frozenset()), over))


def least_missed(farm: Weighed, gone: Collection[str], site: str | None = None) -> Iterator[SupplyNode]:
    """The nodes that stay and nobody has booked, at the site if one is named, in the order in which they may go.

    First idle ones, then those that start, then those at work whose models have the least work for each holder. The
    only ones that hold what is wanted, or that do work bound to their site, come after these, pinned ones last.
    """
    there = [node for node in farm.supply if stays(node, farm.now) and node.id not in gone]
    counts = Counter(node.site for node in there)
    copies = Counter(model for node in there for model in node.models)
    work = {each.model: each.seconds for each in farm.work}

    def loss(node: SupplyNode) -> tuple[bool, int, bool, float, bool, str]:
        wanted = not node.models.isdisjoint(farm.demand.models)
        missed = sum(work.get(model, 0.0) / copies[model] for model in node.models)
        return node.pinned, _RANK[node.phase], wanted, missed, bool(node.models), node.id

    last = []
    able = [node for node in there if not node.booked and site in (None, node.site)]
    for node in sorted(able, key=loss):
        is_sole = any(copies[model] == 1 for model in node.models & farm.demand.models)
        if node.pinned or (is_sole and node.phase is Phase.BUSY) or is_needed(node, farm.needs, counts):
            last.append(node)
            continue
        counts[node.site] -= 1
        copies.subtract(node.models)
        yield node
    yield from last


@dataclass(slots=True)
class Giver:
    """A resource with nodes at a site that has too many: what is known of it, and who of it is told to leave."""

    id: str
    farm: Weighed
    limits: Limits
    gone: set[str]
    left: int
    """How many nodes it keeps."""
    beyond: list[tuple[str, str]] = field(default_factory=list)

    def order(self, node: SupplyNode) -> tuple[bool, bool, bool, int, int, str]:
        """A resource's last nodes come late, and before that those of one that has less to spare."""
        is_last = self.left <= max(self.limits.min_nodes, 1 if self.farm.want else 0)
        rank = _RANK[node.phase]
        return node.pinned, not self.limits.gives_way, is_last, rank, self.farm.want - self.left, self.id


def leave_site(site: str, count: int, givers: Sequence[Giver]) -> None:
    """Tell so many nodes there to leave, the least loss first."""
    queues = {giver.id: least_missed(giver.farm, frozenset(giver.gone), site) for giver in givers}
    heads = {giver.id: next(queues[giver.id], None) for giver in givers}
    for _ in range(count):
        able = [(giver.order(node), giver, node) for giver in givers if (node := heads[giver.id])]
        if not able:
            return
        _, giver, node = min(able, key=lambda each: each[0])
        giver.gone.add(node.id)
        giver.left -= 1
        giver.beyond.append((node.id, site))
        heads[giver.id] = next(queues[giver.id], None)
