"""Quarantine of render models that nodes cannot load: for a while no node is asked to, and those that hold it go on.

A load that fails, for a job or in advance, is no fault of a tile, and of a node only if others can load the model. So
the range is offered whole, first to nodes that have not tried. Whoever loads the model and delivers a tile of it ends
all this. After the second quarantine in a row the jobs that wait for the model fail, unless a node holds it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from rrm.domain.states import JOB_FINAL, NODE_TAKING, NODE_WORKING, JobState
from rrm.farm import wakeups
from rrm.farm.models import HeldModel, Job, Lease, Node, RenderModel
from rrm.farm.transitions import iso, record

logger = logging.getLogger(__name__)

MOST_FAILURES = 3
BY_TAKERS = Q(node__state__in=NODE_TAKING, node__reserved_for=None)
"""Of held models: by nodes that take ranges of jobs."""


def in_force(now: datetime, prefix: str = "") -> Q:
    """Which models are in quarantine; `prefix` leads to the model, as in "job__model__"."""
    return Q(**{f"{prefix}quarantined_until__gt": now})


def out_of_reach(now: datetime, resource: str, site: str) -> Q:
    """Of what has a `job`: what no node at the site may render, as its model is in quarantine and none holds it."""
    here = HeldModel.objects.filter(BY_TAKERS, node__resource=resource, node__site=site)
    return in_force(now, "job__model__") & Q(~Exists(here.filter(model=OuterRef("job__model"))))


def is_in_force(model: RenderModel, now: datetime) -> bool:
    return model.quarantined_until is not None and model.quarantined_until > now


def sentence(model: RenderModel, now: datetime) -> str:
    """What the owner of a job that waits for the model is told; empty when it is not in quarantine."""
    if model.quarantined_until is None or model.quarantined_until <= now:
        return ""
    until = iso(model.quarantined_until.replace(microsecond=0))
    return f"The model could not be loaded {MOST_FAILURES} times; no node is asked to load it before {until}."


def could_not_load(model: RenderModel, now: datetime) -> list[str]:
    """The names of the nodes that failed to load it lately, or for which it is in quarantine."""
    return sorted({str(name) for name, _ in counting(model, now)})


def counting(model: RenderModel, now: datetime) -> list[list[object]]:
    """The failures to load it, [node, seconds since 1970], that led to the quarantine in force or may lead to one."""
    since = _counting_since(model, now).timestamp()
    return [[name, at] for name, at in model.load_failures if at > since]


def _counting_since(model: RenderModel, now: datetime) -> datetime:
    """Failures before that are old, or had their quarantine."""
    lately, until = now - settings.RRM.quarantine_period, model.quarantined_until
    if until is None:
        return lately
    # In force: the first of those that led to it was at most one period before it began.
    return until - 2 * settings.RRM.quarantine_period if until > now else max(lately, until)


def tried(load_failures: Iterable[tuple[str, float]], now: datetime) -> list[str]:
    """The names of the nodes that failed to load a model lately: they leave it to others."""
    since = (now - settings.RRM.quarantine_period).timestamp()
    return [name for name, at in load_failures if at > since]


@dataclass(frozen=True, slots=True)
class Failed:
    """A failure that was counted, whether it began a quarantine, and whether that is the second and nobody goes on."""

    model: RenderModel
    names: str
    is_enough: bool
    is_second: bool


def count(node: Node, model_id: UUID, now: datetime, *, in_advance: bool = False) -> Failed | None:
    """`node` could not load the model; None if that is no news as it is in quarantine.

    What fails `in_advance` fails no job: none had to wait for it. Call it in the transaction that takes the load from
    the node, after all other locks, and `tell` after that.
    """
    model = RenderModel.objects.select_for_update(no_key=True).get(pk=model_id)
    if is_in_force(model, now):
        return None
    failures = [*counting(model, now), [node.name, now.timestamp()]]
    is_enough = _is_enough(failures, node)
    is_second = is_enough and not in_advance and model.quarantined_until is not None and not _is_held(model)
    model.load_failures = failures
    if is_enough:
        model.quarantined_until = now + settings.RRM.quarantine_period
    model.save(update_fields=["load_failures", "quarantined_until"])
    return Failed(model, ", ".join(sorted({str(name) for name, _ in failures})), is_enough, is_second)


def tell(failed: Failed, error: str, now: datetime) -> str:
    """Tell the jobs that wait for a model that is in quarantine now; why they must fail if that is the second in a row.

    Call it outside any transaction: the rows of jobs are locked before those of models everywhere.
    """
    model = failed.model
    if not failed.is_enough:
        return ""
    logger.warning(
        "Model %s could not be loaded on %s: quarantine until %s", model, failed.names, model.quarantined_until
    )
    problem = f"The model could not be loaded on {failed.names}: {error}"
    if failed.is_second:
        return f"{problem} (again, after a quarantine)"
    for waiting in waiting_for(model):
        record(waiting, "log", {"level": "warning", "message": f"{problem}. {sentence(model, now)}"[:1000]})
    return ""


def waiting_for(model: RenderModel) -> QuerySet[Job]:
    """The jobs that have tiles of the model to be rendered."""
    return Job.objects.filter(model=model).exclude(state__in=[*JOB_FINAL, JobState.COMPOSING])


def succeeded(model: RenderModel, lease: Lease) -> None:
    """A node has delivered: what was before it loaded the model is forgotten. `model` is as it was read.

    That nodes which held it all the time go on says nothing of those that would load it.
    """
    if not model.load_failures and not model.quarantined_until:
        return
    latest = max((float(at) for _, at in model.load_failures), default=0.0)
    loaded_at = HeldModel.objects.filter(node=lease.node_id, model=model).values_list("loaded_at", flat=True).first()
    if not lease.warm or (loaded_at is not None and loaded_at.timestamp() > latest):
        _clear(model)


def lift(model: RenderModel, actor: str) -> None:
    """Let nodes load the model again. Twice is the same as once."""
    with transaction.atomic():
        # Jobs before the model, as whoever delivers locks them, and in one order.
        waiting = list(waiting_for(model).select_for_update(no_key=True).order_by("pk"))
        if _clear(model):
            for job in waiting:
                said = {"level": "info", "message": f"The model may be loaded again (said {actor})."}
                record(job, "log", said, actor=actor)
        wakeups.announce_work()
        wakeups.wake("rrm.autoscale")


def _clear(model: RenderModel) -> bool:
    marked = RenderModel.objects.filter(pk=model.pk).exclude(load_failures=[], quarantined_until=None)
    model.load_failures, model.quarantined_until = [], None
    return bool(marked.update(load_failures=[], quarantined_until=None))


def _is_held(model: RenderModel) -> bool:
    return HeldModel.objects.filter(BY_TAKERS, model=model, loading=False).exists()


def _is_enough(failures: list[list[object]], node: Node) -> bool:
    """On so many different nodes, or as often where there is nobody else to try."""
    tried = {name for name, _ in failures}
    if len(tried) >= MOST_FAILURES:
        return True
    working = Node.objects.filter(resource=node.resource_id, state__in=NODE_WORKING)
    others = [other for other in working.only("name", "state", "reserved_for") if other.takes_ranges]
    return len(failures) >= MOST_FAILURES and all(other.name in tried for other in others)
