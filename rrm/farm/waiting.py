"""Why a job waits, in sentences that its owner understands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.db.models import F

from rrm.domain.states import JOB_OFFERED, NODE_STARTING, NODE_WORKING, JobState, LeaseState, NodeState
from rrm.farm.models import Job, JobShare, Lease, Node, ResourceSite


def pending_reason(job: Job) -> str:
    """Why nothing of the job is being rendered at this moment; empty when it is, or is finished."""
    return pending_reasons([job])[job.pk]


def pending_reasons(jobs: Sequence[Job]) -> dict[UUID, str]:
    """`pending_reason` of many jobs in a constant number of queries."""
    reasons = {job.pk: job.reason or "The job is paused." if job.state == JobState.PAUSED else "" for job in jobs}
    offered = [job for job in jobs if job.state in JOB_OFFERED]
    if not offered:
        return reasons
    active = set(Lease.objects.filter(job__in=offered, state=LeaseState.ACTIVE).values_list("job", flat=True))
    waiting = [job for job in offered if job.pk not in active]
    supply = _supply({job.resource_id for job in waiting})
    bound_to = _sites_of_open_shares(waiting)
    for job in waiting:
        reasons[job.pk] = _why(job, supply[job.resource_id], bound_to.get(job.pk) or frozenset(job.site_ids))
    return reasons


@dataclass
class _Supply:
    """What a resource has: enabled sites with room for nodes, what is wrong with them, and nodes by site and state."""

    sites: set[str] = field(default_factory=set)
    problems: dict[str, str] = field(default_factory=dict)
    nodes: Counter[tuple[str, str]] = field(default_factory=Counter)

    def count(self, sites: Collection[str], *states: str) -> int:
        return sum(number for (site, state), number in self.nodes.items() if site in sites and state in states)


def _supply(resources: set[str]) -> Mapping[str, _Supply]:
    supply = {resource: _Supply() for resource in resources}
    placements = ResourceSite.objects.filter(resource__in=resources, site__enabled=True, site__max_nodes__gt=0)
    for resource, site, problem in placements.values_list("resource", "site", "site__problem"):
        supply[resource].sites.add(site)
        if problem:
            supply[resource].problems[site] = problem
    live = Node.objects.filter(resource__in=resources, state__in=NODE_STARTING | NODE_WORKING)
    for resource, site, state in live.values_list("resource", "site", "state"):
        supply[resource].nodes[site, state] += 1
    return supply


def _sites_of_open_shares(jobs: Sequence[Job]) -> Mapping[UUID, frozenset[str]]:
    """The sites that the tiles not given out are bound to; nothing for a job whose tiles any site may take."""
    found: dict[UUID, set[str]] = {}
    shares = JobShare.objects.filter(job__in=jobs, cursor__lt=F("stop"), site__isnull=False)
    for job, site in shares.values_list("job", "site"):
        found.setdefault(job, set()).add(str(site))
    return {job: frozenset(sites) for job, sites in found.items()}


def _why(job: Job, supply: _Supply, bound_to: frozenset[str]) -> str:
    resource = job.resource
    if not resource.enabled:
        return f"The resource {resource.pk} is disabled."
    open_sites = bound_to & supply.sites if bound_to else supply.sites
    if not open_sites:
        where = f"{', '.join(sorted(bound_to))}: it" if bound_to else f"{resource.pk}: every site of it"
        return f"No node may run at {where} is disabled, has room for none, or no longer belongs to {resource.pk}."
    return _busy_or_starting(job, supply, open_sites)


def _busy_or_starting(job: Job, supply: _Supply, sites: Collection[str]) -> str:
    name = job.resource_id
    if supply.count(sites, NodeState.IDLE):
        return f"A node of {name} is free and takes it up next."
    if working := supply.count(sites, *NODE_WORKING):
        return f"Every node of {name} that may take it is busy ({working} running)."
    troubled = {site: problem for site, problem in supply.problems.items() if site in sites}
    if troubled and len(troubled) == len(sites):
        return " ".join(f"{site} cannot be used at present: {problem}" for site, problem in sorted(troubled.items()))
    if supply.count(sites, *NODE_STARTING):
        return f"A node of {name} is starting."
    return job.resource.reason or f"No node of {name} is running there; one will be started."
