"""The autoscaler: the plan of `domain.autoscaling` for all resources, carried out, and kept to be looked at."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings

from rrm.domain.autoscaling import Plan, Pool, plan_farm, sentences
from rrm.domain.states import NODE_STARTING, NodeState
from rrm.errors import StateConflict
from rrm.farm import loops, nodes, pools
from rrm.farm.models import Node, Resource
from rrm.farm.transitions import iso, record

logger = logging.getLogger(__name__)

_MAY_LEAVE = (NodeState.IDLE, NodeState.BUSY, *NODE_STARTING)


@dataclass(frozen=True, slots=True)
class Planned:
    """A resource, what is known of it, and what is planned."""

    resource: Resource
    pool: Pool
    plan: Plan


def autoscale(now: datetime) -> None:
    """Bring every resource nearer to the number of nodes that its work wants. Safe to run at any time, and twice."""
    # What makes place for others goes first.
    for each in sorted(plans(now), key=lambda each: bool(each.plan.launch)):
        loops.fence()  # many launches take a while
        try:
            _keep(each, now)
            _carry_out(each)
        except Exception:
            logger.exception("The plan of %s could not be carried out", each.resource.pk)


def plans(now: datetime) -> list[Planned]:
    """What the autoscaler would do now; nothing is changed."""
    resources = {resource.pk: resource for resource in Resource.objects.prefetch_related("placements__site")}
    known = pools.survey(list(resources.values()), now)
    made = plan_farm(known, now)
    return [Planned(resources[pool.id], pool, made[pool.id]) for pool in known]


def plan(resource: Resource, now: datetime) -> Plan:
    """What it would do for one resource."""
    return next(each.plan for each in plans(now) if each.resource.pk == resource.pk)


def shown(planned: Planned, now: datetime) -> dict[str, Any]:
    """A plan as pages and programs get it."""
    made, names = planned.plan, _names(planned.plan)
    why = made.reckoning
    return {
        "want": made.want,
        "have": made.have,
        "launch": dict(Counter(made.launch)),
        "drain": [names[id_] for id_ in made.drain if id_ in names],
        "beyond": [
            {"node": names[id_], "limit": sentences.beyond(site, planned.pool.limits)}
            for id_, site in made.beyond
            if id_ in names
        ],
        "retire": [names[id_] for id_ in made.retire if id_ in names],
        "make_place": [{"node": names[id_], "resource": rival} for id_, rival in made.yields if id_ in names],
        "pinned": [names[id_] for id_, _ in why.pinned if id_ in names],
        "reason": made.reason,
        "at": iso(now),
        "next_at": iso(now + settings.RRM.autoscale_period),
        "blocked": why.blocked,
        "blocked_until": iso(why.blocked_until) if why.blocked_until else None,
        "lacking_since": iso(why.since) if why.since else None,
        "peak": why.peak,
        "work_seconds": round(sum(work.render_seconds for work in why.work), 1),
        "load_seconds": round(sum(work.load_seconds for work in why.work), 1),
        "needs": [{"sites": sorted(need.sites), "nodes": need.nodes} for need in why.needs],
    }


def explained(planned: Planned) -> list[str]:
    """Why, sentence by sentence."""
    return list(sentences.explanation(planned.plan, planned.pool.demand, planned.pool.limits))


def _names(made: Plan) -> Mapping[str, str]:
    told = [*made.leaving, *(node for node, _ in made.reckoning.pinned)]
    return {str(id_): name for id_, name in Node.objects.filter(pk__in=told).values_list("pk", "name")} if told else {}


def _keep(planned: Planned, now: datetime) -> None:
    """What the next plan must know of this one, and what people see of it."""
    resource, made = planned.resource, planned.plan
    known = resource.last_plan.get("reason")
    Resource.objects.filter(pk=resource.pk).update(
        demand_history=[list(entry) for entry in made.history.wanted],
        up_since=made.history.up_since,
        surplus_since=made.history.surplus_since,
        last_plan=shown(planned, now),
    )
    if (made.launch or made.leaving) and known != made.reason:
        record(resource, "log", {"level": "info", "message": f"{resource.pk}: {made.reason}"})


def _carry_out(planned: Planned) -> None:
    resource, made = planned.resource, planned.plan
    sites = {placement.site_id: placement.site for placement in resource.placements.all()}
    for site, count in Counter(made.launch).items():
        for _ in range(-(-count // resource.machines_at(sites[site]))):
            try:
                nodes.request_node(resource, sites[site], "autoscaler", made.reason)
            except StateConflict as conflict:
                logger.info("No node started for %s: %s", resource.pk, conflict)
    idle, any_state = (NodeState.IDLE, *NODE_STARTING), _MAY_LEAVE
    for node in Node.objects.filter(pk__in=made.leaving, state__in=any_state).select_related("site", "resource"):
        may_go = idle if str(node.pk) in made.drain else any_state
        if node.state in may_go:
            with contextlib.suppress(StateConflict):  # it got work since the plan was made
                nodes.drain(node, "autoscaler", sentences.parting(made, str(node.pk), planned.pool.limits))
