"""How many nodes the work of a resource wants."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta

from rrm.domain.autoscaling.facts import USUAL_HIT_RATE, Demand, Limits, ModelWork, Need, SiteRoom, Wanted, Work
from rrm.domain.autoscaling.places import for_needs


def doable(work: Iterable[Work], sites: Collection[str]) -> tuple[Work, ...]:
    """The work that could be done at these sites."""
    return tuple(item for item in work if item.ranges > 0 and (item.sites is None or not item.sites.isdisjoint(sites)))


def by_model(work: Iterable[Work], held: Collection[str], demand: Demand) -> tuple[ModelWork, ...]:
    """The work on each model with the loads that it is expected to cost; the most first."""
    items: dict[str, list[Work]] = {}
    for item in work:
        items.setdefault(item.model, []).append(item)
    found = [_one_model(model, some, model in held, demand) for model, some in items.items()]
    return tuple(sorted(found, key=lambda each: (-each.seconds, each.model)))


def _one_model(model: str, work: Sequence[Work], is_held: bool, demand: Demand) -> ModelWork:
    """A miss costs a load, and no load is made that costs more than the rendering it spares others (break-even)."""
    seconds, load = sum(item.seconds for item in work), max(item.load_seconds for item in work)
    hit_rate = USUAL_HIT_RATE if demand.hit_rate is None else demand.hit_rate
    misses = (1.0 - hit_rate) * seconds / demand.lease_seconds
    loads = max(0.0 if is_held else load, min(misses * load, seconds))
    return ModelWork(model, seconds, loads if load else 0.0, sum(item.ranges for item in work))


def needs_of(work: Iterable[Work], known: frozenset[str], drain_time: timedelta) -> tuple[Need, ...]:
    """What work that is bound to sites wants there; the fewest choices first."""
    bound: dict[frozenset[str], list[Work]] = {}
    for item in work:
        if item.sites is not None:
            bound.setdefault(item.sites & known, []).append(item)
    needs = (Need(sites, nodes_for(_seconds(items), _ranges(items), drain_time)) for sites, items in bound.items())
    return tuple(sorted(needs, key=lambda need: (len(need.sites), sorted(need.sites))))


def _seconds(work: Sequence[Work]) -> float:
    return sum(item.seconds + item.load_seconds for item in work)


def _ranges(work: Sequence[Work]) -> int:
    return sum(item.ranges for item in work)


def nodes_for(seconds: float, ranges: int, drain_time: timedelta) -> int:
    """Enough nodes to finish within the drain time, one at least if there is any work, never more than ranges."""
    return min(max(math.ceil(seconds / drain_time.total_seconds()), 1), ranges)


def nodes_for_work(work: Sequence[ModelWork], needs: Sequence[Need], limits: Limits) -> int:
    """How many nodes all the work wants: to be done in time, and at each of the sites that some of it is bound to."""
    anywhere = tuple(SiteRoom(site.id, limits.max_nodes) for site in limits.sites)
    in_time = nodes_for(sum(each.seconds for each in work), sum(each.ranges for each in work), limits.drain_time)
    return max(in_time, sum(nodes for _, nodes in for_needs(needs, Counter(), anywhere)))


def needed(for_work: int, demand: Demand, limits: Limits) -> int:
    """The nodes that work, people, standby and models to be held take, whatever the limits are."""
    return max(for_work + demand.sessions + limits.standby, demand.preloads)


def want(for_work: int, demand: Demand, limits: Limits) -> int:
    """The nodes that the resource should have."""
    if not limits.enabled:
        return 0
    return max(limits.min_nodes, min(limits.max_nodes, needed(for_work, demand, limits)))


def remembered(wanted: Iterable[Wanted], latest: int, now: datetime, window: timedelta) -> tuple[Wanted, ...]:
    """The wants that can still be the maximum of a window: descending, so there are never many.

    Those of a time that has not come were written before the clock was set back.
    """
    instant = now.timestamp()
    recent = ((at, least) for at, least in wanted if least > latest and 0 <= instant - at < window.total_seconds())
    return (*recent, (instant, latest))
