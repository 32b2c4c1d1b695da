"""The market: which tiles are to be given out, and which nodes could take them, as one decision is made on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db.models import Case, F, Q, QuerySet, When

from rrm.domain import facts, tiling
from rrm.domain.orders import PRIORITIES
from rrm.domain.states import JOB_OFFERED, NODE_WORKING, LeaseState, NodeState
from rrm.farm import estimates
from rrm.farm.models import HeldModel, JobShare, Node, ResourceSite

AHEAD = 3  # leases a node may hold: the one it uploads, the one it renders, and the next
_CANDIDATES = 200


@dataclass(frozen=True)
class Market:
    """The open shares that one node may take, and the nodes of its resource that take work."""

    node: Node
    shares: Sequence[JobShare]
    working: Sequence[Node]
    models: Mapping[UUID, Mapping[str, HeldModel]]  # node → model → what it holds
    placements: Sequence[ResourceSite]
    costs: estimates.Estimates
    now: datetime

    def asking(self) -> facts.NodeFacts:
        """The node that asks."""
        node = self.node
        leases = list(node.leases.filter(state=LeaseState.ACTIVE).values_list("job__owner", flat=True))
        return facts.NodeFacts(
            id=str(node.pk),
            resource=node.resource_id,
            site=node.site_id,
            held=frozenset(self.models.get(node.pk, {})),
            streak=node.streak,
            streak_since=node.streak_since,
            busy_seconds=len(leases) * settings.RRM.lease_target.total_seconds(),
            ends_at=node.ends_at,
            works_for=frozenset(map(str, leases)),
            rank=self._rank(node.site_id),
        )

    def _rank(self, site: str) -> int:
        """The place of a site in the resource's order of preference."""
        order = [placement.site_id for placement in self.placements]
        return order.index(site) if site in order else len(order)

    def rivals(self) -> Iterable[facts.NodeFacts]:
        """The others."""
        busy = settings.RRM.lease_target.total_seconds()
        for other in self.working:
            if other.pk != self.node.pk:
                yield facts.NodeFacts(
                    id=str(other.pk),
                    resource=other.resource_id,
                    site=other.site_id,
                    held=frozenset(self.models.get(other.pk, {})),
                    busy_seconds=busy if other.state != NodeState.IDLE else 0.0,
                    rank=self._rank(other.site_id),
                    free_since=other.idle_since,
                )

    def jobs(self) -> list[facts.JobFacts]:
        """The jobs with tiles that it may take."""
        open_shares: dict[UUID, list[JobShare]] = {}
        for share in self.shares:
            open_shares.setdefault(share.job_id, []).append(share)
        return [self._one_job(shares) for shares in open_shares.values()]

    def _one_job(self, shares: Sequence[JobShare]) -> facts.JobFacts:
        job, model = shares[0].job, str(shares[0].job.model_id)
        tiles = sum(share.stop - share.cursor for share in shares)
        samples = tiling.samples(job.tile_size**2, job.supersample, adaptive=job.adaptive)
        tile_seconds = samples * self.costs.pixel_seconds(job.model_id)
        bound_to = {share.site_id for share in shares if share.site_id} or set(job.site_ids)
        left = (job.tiles - job.tiles_done) * tile_seconds
        able = [node for node in self.working if not bound_to or node.site_id in bound_to]
        return facts.JobFacts(
            id=str(job.pk),
            resource=job.resource_id,
            model=model,
            owner=str(job.owner_id),
            priority=job.priority,
            created_at=job.created_at,
            remaining_seconds=tiles * tile_seconds,
            sites=frozenset(bound_to) or None,
            served_at=max((held[model].last_used for held in self.models.values() if model in held), default=None),
            load_seconds=self.costs.load_seconds(job.model_id),
            lease_seconds=max(settings.RRM.lease_target.total_seconds(), tile_seconds),
            deadline=job.deadline,
            pressed=facts.is_pressed(job.deadline, left, len(able), self.now),
        )


def survey(node: Node, now: datetime) -> Market:
    """What there is for `node` to choose from."""
    working = list(Node.objects.filter(resource=node.resource_id, state__in=NODE_WORKING))
    models: dict[UUID, dict[str, HeldModel]] = {}
    for held in HeldModel.objects.filter(node__in=working):
        models.setdefault(held.node_id, {})[str(held.model_id)] = held
    shares = [share for share in _open_shares(node) if _fits(share, node, working)]
    placements = list(ResourceSite.objects.filter(resource=node.resource_id))
    costs = estimates.of({share.job.model_id: share.job.model.renderer for share in shares})
    return Market(node, shares, working, models, placements, costs, now)


def _open_shares(node: Node) -> QuerySet[JobShare]:
    """The most urgent and oldest tiles that the node's site may take; what it may not take never crowds them out."""
    rank = Case(*(When(job__priority=name, then=rank) for rank, name in enumerate(PRIORITIES)), default=0)
    return (
        JobShare.objects.filter(
            Q(site=None) | Q(site=node.site_id),
            Q(job__site_index="") | Q(job__site_index__contains=f"|{node.site_id}|"),
            job__state__in=JOB_OFFERED,
            job__resource=node.resource_id,
            cursor__lt=F("stop"),
        )
        .select_related("job", "job__model")
        .order_by(rank.desc(), "job__created_at", "start", "id")[:_CANDIDATES]
    )


def _fits(share: JobShare, node: Node, working: Sequence[Node]) -> bool:
    """A node that failed on tiles leaves them to one that has not, as long as there is one."""
    if node.name not in share.failed_on:
        return True
    sites = [share.site_id] if share.site_id else share.job.site_ids
    able = (other for other in working if not sites or other.site_id in sites)
    return all(other.name in share.failed_on for other in able)
