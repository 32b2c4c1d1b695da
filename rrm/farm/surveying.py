"""What sites say of their nodes, and what follows: nodes that are gone or silent, stuck launches and stops, strays.

Only what a site confirms counts: a node that it does not answer for stays as it is. Everything here may run twice.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from django.conf import settings

from rrm.domain.states import NODE_CHECKED_IN, NODE_LIVE, NODE_STARTING, NodeState
from rrm.errors import LauncherError, StateConflict
from rrm.farm import loops, nodes, patience, sites, tunnels, wakeups
from rrm.farm.models import Node, Site
from rrm.launchers.base import Handle, Launcher, Liveness, Observation

logger = logging.getLogger(__name__)

LAUNCH_AGAIN = timedelta(seconds=20)
SILENT = timedelta(seconds=60)
HOPELESS_FOR = timedelta(minutes=1)
RENDERERS_AGAIN = timedelta(minutes=2)
IDLE_POLL = timedelta(minutes=5)
_UNSEEN = Observation(Liveness.UNKNOWN)


def survey_all(now: datetime) -> None:
    """Look at the nodes of this machine, and have the other sites asked that are due."""
    for site in Site.objects.all():
        if not site.is_remote:
            _survey(site, now)
        elif _is_due(site, now):
            wakeups.wake("rrm.site.survey", site.pk)


def survey_far(site_id: str, now: datetime) -> None:
    """Ask a site reached over SSH, unless that was done a moment ago: its administrators count our questions."""
    site = Site.objects.filter(pk=site_id).first()
    if site is None or not _is_due(site, now):
        return
    # Whoever moves the instant has the turn.
    if Site.objects.filter(pk=site_id, asked_at=site.asked_at).update(asked_at=now):
        _survey(site, now)


def _is_due(site: Site, now: datetime) -> bool:
    """A site with live nodes is asked each `poll_interval`, one without seldom: there may be strays."""
    has_nodes = Node.objects.filter(site=site, state__in=NODE_LIVE).exists()
    if not has_nodes and not site.enabled:
        return False
    period = timedelta(seconds=site.poll_interval) if has_nodes else IDLE_POLL
    return site.asked_at is None or now - site.asked_at >= period


def _survey(site: Site, now: datetime) -> None:
    live = list(Node.objects.filter(site=site, state__in=NODE_LIVE).select_related("site", "resource"))
    try:
        launcher = sites.launcher_for(site)
    except LauncherError as error:
        sites.note_problem(site, error.detail)
        return
    found = launcher.survey([node.handle for node in live if node.handle])
    problem = found.problem or (_tunnel_problem(site) if live else "") or _renderers_problem(site, live, now)
    sites.note_problem(site, problem)
    if site.is_remote:
        sites.note_traffic(site)
    if found.problem:
        return
    resumed = loops.resumed_at("reconcile", now) is not None
    for node in live:
        _reconcile_node(node, found.nodes.get(node.name, _UNSEEN), now, resumed=resumed)
    _end_strays(site, launcher, found.strays)


def _tunnel_problem(site: Site) -> str:
    """Keep the way back open for living nodes; why that fails, if it does."""
    if not sites.is_tunnelled(site):
        return ""
    try:
        tunnels.keep(site)
    except LauncherError as error:
        return error.detail
    return ""


def _renderers_problem(site: Site, live: Iterable[Node], now: datetime) -> str:
    """Why no node could be started there, for as long as one waits for it, or for a while: then it is tried again."""
    site.refresh_from_db(fields=["problem", "problem_since"])
    if not site.problem.startswith(sites.NO_RENDERERS) or site.problem_since is None:
        return ""
    waits = any(node.state == NodeState.REQUESTED for node in live)
    return site.problem if waits or now - site.problem_since < RENDERERS_AGAIN else ""


def _end_strays(site: Site, launcher: Launcher, strays: Mapping[str, Handle]) -> None:
    # Read again: a node that was requested since must not be taken for a stray. Nor one of another site: two sites
    # may share a machine or an account, and each finds the nodes of both.
    known = set(Node.objects.filter(name__in=strays, state__in=NODE_LIVE).values_list("name", flat=True))
    for name in strays.keys() - known:
        logger.warning("Node %s runs at %s and nobody wants it: it is ended", name, site.pk)
        with contextlib.suppress(LauncherError):
            launcher.stop(strays[name], nodes.STOP_GRACE)


def _reconcile_node(node: Node, seen: Observation, now: datetime, *, resumed: bool) -> None:
    age = now - node.state_since
    if node.state == NodeState.REQUESTED:
        if age > LAUNCH_AGAIN:
            nodes.ask_site(node, "launch_node")
    elif node.state == NodeState.STOPPING:
        _see_off(node, seen, age)
    elif seen.liveness is Liveness.GONE:
        _lost(node, seen.reason, now)
    elif node.state in NODE_STARTING:
        _await_check_in(node, seen, now, resumed=resumed)
    elif node.state in NODE_CHECKED_IN and node.last_heartbeat and not resumed and now - node.last_heartbeat > SILENT:
        _silent(node, now)
    elif node.state in NODE_CHECKED_IN:
        patience.lasts(node, now)


def _see_off(node: Node, seen: Observation, age: timedelta) -> None:
    """A node that should end: gone for good once its site says so; asked again when its grace is over."""
    if seen.liveness is Liveness.GONE and node.site.is_remote:
        # Told to end by somebody else, such as the site's administrator, a node leaves in order; the site knows why.
        why = seen.reason if node.reason == nodes.LEFT and seen.reason else node.reason
        nodes.gone(node, NodeState.STOPPED, why)
    elif seen.liveness is Liveness.GONE or age > nodes.STOP_GRACE:
        nodes.ask_site(node, "end_node")


def _await_check_in(node: Node, seen: Observation, now: datetime, *, resumed: bool) -> None:
    """Waiting in the site's queue may take as long as it takes; once it runs, a node has to check in soon."""
    if seen.liveness is Liveness.RUNNING and node.running_since is None:
        node.running_since = now
        Node.objects.filter(pk=node.pk).update(running_since=now)
    waits = f"Waits at the site: {seen.reason}"[:500] if seen.reason else ""
    if seen.liveness is Liveness.PENDING:
        if seen.is_hopeless and now - node.state_since > HOPELESS_FOR:
            nodes.launch_failed(node, seen.reason)  # what waits there is a stray now
        elif waits != node.reason:
            nodes.explain(node, waits)
        return
    limit = settings.RRM.node_start_timeout
    if not resumed and now - (node.running_since or node.state_since) > limit:
        nodes.launch_failed(node, f"Did not check in within {limit.total_seconds():.0f} s")


def _lost(node: Node, reason: str, now: datetime) -> None:
    """The site confirms that the process is gone, though nobody ended it."""
    if node.state in NODE_STARTING:
        nodes.launch_failed(node, " ".join(filter(None, ("Ended before it checked in.", reason, _last_words(node)))))
    elif node.state == NodeState.DRAINING:
        nodes.gone(node, NodeState.STOPPED, node.reason)
    else:
        why = f"{reason or 'Its process ended unexpectedly.'} {_last_words(node)}".strip()
        patience.ended_early(node, why, now)
        nodes.gone(node, NodeState.FAILED, why)
        wakeups.wake("rrm.autoscale")


def _last_words(node: Node) -> str:
    with contextlib.suppress(LauncherError, OSError):
        lines = nodes.log(node, "err", 1).strip().splitlines()
        if lines:
            return f"Its last line: {lines[-1][:300]}"
    return ""


def _silent(node: Node, now: datetime) -> None:
    silence = (now - (node.last_heartbeat or now)).total_seconds()
    with contextlib.suppress(StateConflict):
        nodes.stop(node, "reconcile", f"Silent for {silence:.0f} s though its process runs")
