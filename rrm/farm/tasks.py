"""Celery's entry points: each calls one use-case. All may run twice, late, or not at all; the loops repair it."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task
from django.utils import timezone

from rrm.farm import composing, loops, nodes, notices, reconciling, scaling, sessions, surveying


@shared_task(name="rrm.autoscale")
def autoscale() -> None:
    loops.run("autoscale", scaling.autoscale)


@shared_task(name="rrm.reconcile")
def reconcile() -> None:
    loops.run("reconcile", reconciling.reconcile)


@shared_task(name="rrm.sessions")
def look_after_sessions() -> None:
    loops.run("sessions", sessions.turn)


@shared_task(name="rrm.end_wait")
def end_wait(session: str) -> None:
    sessions.end_wait(UUID(session))


@shared_task(name="rrm.tell_operators")
def tell_operators(subject: str, message: str) -> None:
    notices.send(subject, message)


@shared_task(name="rrm.housekeeping")
def housekeeping() -> None:
    reconciling.tidy(timezone.now())


@shared_task(name="rrm.launch_node")
def launch_node(node: str) -> None:
    nodes.launch(UUID(node))


@shared_task(name="rrm.end_node")
def end_node(node: str) -> None:
    nodes.end(UUID(node))


# The same for sites reached over SSH: all in one process, which keeps one connection to each of them.


@shared_task(name="rrm.site.launch_node")
def launch_node_far(node: str) -> None:
    nodes.launch(UUID(node))


@shared_task(name="rrm.site.end_node")
def end_node_far(node: str) -> None:
    nodes.end(UUID(node))


@shared_task(name="rrm.site.survey")
def survey_site(site: str) -> None:
    surveying.survey_far(site, timezone.now())


@shared_task(name="rrm.compose")
def compose(job: str) -> None:
    composing.compose_job(UUID(job))
