"""What a decision of scheduling goes by: facts of nodes, of jobs with unclaimed work, and of who holds what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from rrm.domain.orders import PRIORITIES

RANK = {priority: rank for rank, priority in enumerate(reversed(PRIORITIES))}
"""0 is the most urgent class."""

DEADLINE_MARGIN = timedelta(seconds=60)
"""A job is to be done so long before its deadline: estimates err, and the picture has to be composed."""
LIGHT = 0.1
"""The part of a lease in which a light model loads."""
_DELIVERY = timedelta(seconds=10)  # for the upload, and for leaving in order


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node that is checked in and takes work. `held` are the models it holds or is loading."""

    id: str
    resource: str
    site: str
    held: frozenset[str] = frozenset()
    streak: int = 0
    """Leases since the last load that kept it waiting."""
    busy_seconds: float = 0.0
    """Expected seconds until it can begin something else; 0 when idle."""
    streak_since: datetime | None = None
    """When that load was, or will be, over; None: long ago."""
    ends_at: datetime | None = None
    """When its site will end it."""
    works_for: frozenset[str] = frozenset()
    """The owners of the leases it has."""
    hardware: str = ""
    """Its class of machines: what a job costs is said of one class."""
    rank: int = 0
    """The place of its site in the resource's order of preference; 0 is the first."""
    free_since: datetime | None = None
    """Since when it is idle; None: long since, if it is. Of a node that asks None: it was at work until now."""


class Kind(NamedTuple):
    """What decides who may run a job and whose turn it is, apart from its class, model and age."""

    owner: str
    sites: frozenset[str] | None
    pressed: bool
    is_light: bool
    is_loadable: bool


@dataclass(frozen=True, slots=True)
class JobFacts:
    """A job with tiles that no node has. Leave jobs out whose tiles are all leased or done."""

    id: str
    resource: str
    model: str
    owner: str
    priority: str
    created_at: datetime
    remaining_seconds: float
    """Node-seconds of rendering that nobody has claimed."""
    load_seconds: float = 0.0
    """What a node needs to load the model."""
    sites: frozenset[str] | None = None
    """The sites whose nodes may take a range now; None is any."""
    lease_seconds: float = 0.0
    """How long a node is busy with one lease of it, of its unclaimed tiles the next."""
    deadline: datetime | None = None
    pressed: bool = False
    """Whether it misses its deadline unless it comes first (see `is_pressed`)."""
    refused: frozenset[str] = frozenset()
    """Ids of the nodes that should leave it to others, since they failed on it."""
    served_at: datetime | None = None
    """When a node was last given a lease of its model; None: never, or `Queues` keep count."""
    is_loadable: bool = True
    """False while nothing may load its model, as in quarantine or where enough load: only nodes that hold it run it."""
    is_begun: bool = False
    """Whether a node ever turned to it; `Queues` keep count of their own claims."""

    @property
    def kind(self) -> Kind:
        pressed = self.pressed and self.deadline is not None
        return Kind(self.owner, self.sites, pressed, self.is_light, self.is_loadable)

    @property
    def is_light(self) -> bool:
        """Whether its model loads in so small a part of a lease that it is as good as held."""
        return self.load_seconds <= LIGHT * self.lease_seconds


class FreeNodes(NamedTuple):
    """Idle nodes of one site: the site's place in the order of preference, how many, and since when the latest is."""

    rank: int
    nodes: int
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Holders:
    """Who holds what: (resource, model) → site → how many nodes, and the seconds until the first of them is free.

    `free` has the idle nodes: resource → site → how many; without them no site is preferred. For a job that some nodes
    leave to others these are no holders: `idle` says how many of the holders at each site are idle, and `failing` of
    the nodes that jobs name which models they hold: (node, model) → its site, and whether it is idle.
    """

    by_model: Mapping[tuple[str, str], Mapping[str, tuple[int, float]]]
    free: Mapping[str, Mapping[str, FreeNodes]] = field(default_factory=dict)
    idle: Mapping[tuple[str, str], Mapping[str, int]] = field(default_factory=dict)
    failing: Mapping[tuple[str, str], tuple[str, bool]] = field(default_factory=dict)

    @classmethod
    def of(cls, nodes: Iterable[NodeFacts]) -> Holders:
        found: dict[tuple[str, str], dict[str, tuple[int, float]]] = {}
        free: dict[str, dict[str, FreeNodes]] = {}
        idle: dict[tuple[str, str], dict[str, int]] = {}
        holding: dict[tuple[str, str], tuple[str, bool]] = {}
        for node in nodes:
            is_idle = node.busy_seconds == 0
            for model in node.held:
                holding[node.id, model] = node.site, is_idle
                counts = idle.setdefault((node.resource, model), {})
                counts[node.site] = counts.get(node.site, 0) + is_idle
                sites = found.setdefault((node.resource, model), {})
                count, soonest = sites.get(node.site, (0, node.busy_seconds))
                sites[node.site] = (count + 1, min(soonest, node.busy_seconds))
            if is_idle:
                of_resource = free.setdefault(node.resource, {})
                known = of_resource.get(node.site, FreeNodes(node.rank, 0, None))
                latest = max((since for since in (known.since, node.free_since) if since), default=None)
                of_resource[node.site] = FreeNodes(node.rank, known.nodes + 1, latest)
        return cls(found, free, idle, holding)

    def among(self, job: JobFacts) -> tuple[int, float]:
        """How many nodes hold the job's model where it may run, and when the first of them is free (0 if none)."""
        sites = self.by_model.get((job.resource, job.model))
        if job.refused and sites:
            sites = self._without(job, sites)
        if not sites:
            return 0, 0.0
        if len(sites) == 1 and job.sites is None:
            [facts] = sites.values()
            return facts
        able = [facts for site, facts in sites.items() if job.sites is None or site in job.sites]
        if len(able) == 1:
            return able[0]
        return sum(count for count, _ in able), min((soonest for _, soonest in able), default=0.0)

    def _without(self, job: JobFacts, sites: Mapping[str, tuple[int, float]]) -> Mapping[str, tuple[int, float]]:
        """What is left of the holders without those that leave the job to others."""
        gone = [found for node in job.refused if (found := self.failing.get((node, job.model)))]
        if not gone:
            return sites
        idle, left = self.idle.get((job.resource, job.model), {}), dict(sites)
        for where in {site for site, _ in gone} & sites.keys():
            count, soonest = left.pop(where)
            lost = [is_idle for site, is_idle in gone if site == where]
            if count > len(lost):
                is_any_idle = idle.get(where, 0) > sum(lost)
                left[where] = count - len(lost), soonest if is_any_idle or soonest else job.lease_seconds
        return left


def is_done_before(end: datetime, work: timedelta, now: datetime) -> bool:
    """Whether work begun now is delivered before a node ends; estimates are doubled, as tiles differ in cost."""
    return now + 2 * work + _DELIVERY <= end


def is_in_time(node: NodeFacts, job: JobFacts, now: datetime) -> bool:
    """Whether the node lives until it has done what it has, loaded the model if it must, and done one lease of it."""
    if node.ends_at is None:
        return True
    load = 0.0 if job.model in node.held else job.load_seconds
    return is_done_before(node.ends_at, timedelta(seconds=node.busy_seconds + load + job.lease_seconds), now)


def is_pressed(deadline: datetime | None, seconds: float, nodes: int, now: datetime) -> bool:
    """Whether a job with so many node-seconds to go has no time left to wait, if all the nodes it may have help."""
    return deadline is not None and now + timedelta(seconds=seconds / max(nodes, 1)) >= deadline - DEADLINE_MARGIN
