"""The jobs of resources with tiles to give out, in the order of their turns: who waits before whom."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import F, Sum

from rrm.domain import tiling
from rrm.domain.capabilities import tags_of
from rrm.domain.facts import RANK
from rrm.domain.states import JOB_OFFERED
from rrm.farm import estimates, fairness
from rrm.farm.models import JobShare
from rrm.farm.supplies import Supply

_IN_LINE = (
    *("job", "site", "job__resource", "job__priority", "job__owner", "job__created_at", "job__model"),
    *("job__tile_size", "job__supersample", "job__adaptive", "job__site_index", "job__requires_index"),
)


class Turn(NamedTuple):
    """When a job's turn is, to be compared."""

    rank: int
    round: int
    created_at: datetime
    job: UUID


@dataclass
class Line:
    """The jobs of a resource with tiles to give out, in their order, and how much work each model has."""

    turns: dict[UUID, Turn] = field(default_factory=dict)
    queues: dict[frozenset[str], list[Turn]] = field(default_factory=dict)
    """The sites that may do the jobs → their turns, in order."""
    seconds: dict[UUID, float] = field(default_factory=dict)

    def ahead(self, job: UUID, sites: Collection[str]) -> tuple[int, int]:
        """How many that some of these sites may do are of a more urgent class, and how many of its own come first."""
        more_urgent = before = 0
        if mine := self.turns.get(job):
            for turns in (turns for where, turns in self.queues.items() if not where.isdisjoint(sites)):
                urgent = bisect_left(turns, mine.rank, key=lambda turn: turn.rank)
                more_urgent += urgent
                before += bisect_left(turns, mine) - urgent
        return more_urgent, before


def of(supply: Mapping[str, Supply], costs: estimates.Estimates) -> Mapping[str, Line]:
    """The jobs of each resource with tiles to give out; models that the answer is not about cost what is usual."""
    lines, bound = {resource: Line() for resource in supply}, dict[UUID, set[str]]()
    shares = JobShare.objects.filter(job__resource__in=list(supply), job__state__in=JOB_OFFERED, cursor__lt=F("stop"))
    rows = list(shares.order_by().values(*_IN_LINE).annotate(tiles=Sum(F("stop") - F("cursor"))))
    for row in rows:
        line = lines[row["job__resource"]]
        bound.setdefault(row["job"], set()).update([row["site"]] if row["site"] else ())
        pixels = row["tiles"] * row["job__tile_size"] ** 2
        samples = tiling.samples(pixels, row["job__supersample"], adaptive=row["job__adaptive"])
        if (model := row["job__model"]) in costs.renderers:
            line.seconds[model] = line.seconds.get(model, 0.0) + samples * costs.pixel_seconds(model)
    _line_up(lines, supply, {row["job"]: row for row in rows}.values(), bound)
    return lines


def _line_up(
    lines: Mapping[str, Line],
    supply: Mapping[str, Supply],
    jobs: Collection[Mapping[str, Any]],
    bound: Mapping[UUID, Collection[str]],
) -> None:
    """Give each job its turn, among those of the sites that may do it; `bound` are those of its shares."""
    rounds = fairness.rounds({row["job__owner"] for row in jobs})
    known: dict[tuple[str, frozenset[str], str], frozenset[str]] = {}
    for row in jobs:
        id, resource, requires = row["job"], row["job__resource"], row["job__requires_index"]
        named = frozenset(bound[id] or tags_of(row["job__site_index"]))
        if (sites := known.get(which := (resource, named, requires))) is None:
            sites = known[which] = supply[resource].able(named, tags_of(requires))[1]
        rank, round = RANK[row["job__priority"]], rounds.get(str(row["job__owner"]), 0)
        turn = lines[resource].turns[id] = Turn(rank, round, row["job__created_at"], id)
        lines[resource].queues.setdefault(sites, []).append(turn)
    for line in lines.values():
        for turns in line.queues.values():
            turns.sort()
