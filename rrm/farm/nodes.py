"""Nodes: asking for one, starting it, and its end. What nodes say themselves is in `reports`.

The intent is stored first, the site is asked outside any transaction, and the outcome is recorded. A node's launch
token follows from its name and the secret key, so that launching twice is the same as launching once.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from rrm.domain.autoscaling import lifetimes
from rrm.domain.states import NODE_GONE, NODE_LIVE, NODE_STARTING, NodeState, SessionState
from rrm.errors import LauncherError, NotFound, SiteUnavailable, StateConflict
from rrm.farm import patience, ranges, sites, tokens, tunnels, wakeups
from rrm.farm.models import Node, Resource, Session, Site
from rrm.farm.specs import spec_for, tailored
from rrm.farm.transitions import advance, facts_of, record
from rrm.launchers.base import Handle, NodeSpec, Stream
from rrm.launchers.slurm.launcher import members

logger = logging.getLogger(__name__)

STOP_GRACE = timedelta(seconds=5)
REFUSED = "Could not be started: "
LEFT = "It left in order."


def request_node(
    resource: Resource,
    site: Site | None,
    actor: str,
    reason: str = "",
    overrides: Mapping[str, Any] | None = None,
    reserved_for: UUID | None = None,
) -> Node:
    """Ask for one more node; it is launched by a task. Raises StateConflict when a limit is reached.

    `overrides` are options of the resource for this node alone, `reserved_for` the session that nobody else takes it
    from.
    """
    with transaction.atomic():
        places = [place for place in _locked_sites(resource) if site is None or place.pk == site.pk]
        if not resource.enabled:
            raise StateConflict(f"The resource {resource.pk} is disabled.")
        if not places:
            raise StateConflict(f"The resource {resource.pk} has no enabled site{f' {site.pk}' if site else ''}.")
        live = Node.objects.filter(state__in=NODE_LIVE)
        wanted = tailored(resource, overrides or {})
        used, most = live.filter(resource=resource).count(), resource.max_nodes
        allowed = [place for place in places if used + wanted.machines_at(place) <= most]
        if not allowed:
            more = min(wanted.machines_at(place) for place in places)
            batch = f", and a batch job of it makes {more}" if more > 1 else ""
            raise StateConflict(f"The resource {resource.pk} has {used} of at most {most} nodes{batch}.")
        free = next((place for place in allowed if _has_room(place, wanted)), None)
        if free is None:
            full = ", ".join(f"{place.pk} ({place.max_nodes} at most)" for place in allowed)
            raise StateConflict(f"There is no room for another node at {full}; stop one that is idle to make some.")
        own = {"overrides": dict(overrides or {}), "reserved_for": reserved_for}
        return _store(resource, free, actor, reason, own)


def _locked_sites(resource: Resource) -> list[Site]:
    """The enabled sites of the resource as it prefers them, locked: two requests cannot both take the last place.

    They are locked in the order of their names, whichever the resource prefers: another may prefer them the other way.
    """
    enabled = list(resource.sites.select_for_update(of=("self",), no_key=True).filter(enabled=True).order_by("pk"))
    positions = dict(resource.placements.values_list("site", "position"))
    return sorted(enabled, key=lambda site: positions[site.pk])


def _has_room(site: Site, resource: Resource) -> bool:
    taken = Node.objects.filter(state__in=NODE_LIVE, site=site).count()
    return taken + resource.machines_at(site) <= site.max_nodes


def _store(resource: Resource, site: Site, actor: str, reason: str, own: Mapping[str, Any]) -> Node:
    """A node, with those of the other machines where a batch job has several: NAME.1 and so on, launched with NAME."""
    name = f"rrm-{secrets.token_hex(5)}"
    machines = tailored(resource, own["overrides"]).machines_at(site)
    nodes = [
        Node(
            name=f"{name}.{number}" if number else name,
            resource=resource,
            site=site,
            reason=reason[:500],
            launch_digest=tokens.digest_of(launch_token(name)),
            **own,
        )
        for number in range(machines)
    ]
    for node in nodes:
        node.save(force_insert=True)
        record(node, "node", facts_of(node), actor=actor)
    ask_site(nodes[0], "launch_node")
    return nodes[0]


def ask_site(node: Node, deed: Literal["launch_node", "end_node"]) -> None:
    """Have a worker that can reach the node's site do it; for sites over SSH that is one process."""
    wakeups.wake(f"rrm.site.{deed}" if node.site.is_remote else f"rrm.{deed}", str(node.pk))


def launch_token(name: str) -> str:
    """What a node shows when it checks in; the same for every attempt to launch it."""
    return hmac.new(settings.SECRET_KEY.encode(), f"launch {name}".encode(), "sha256").hexdigest()


def session_key(name: str) -> str:
    """What a node of ours asks of whoever sends it the requests of a session; its agent makes the same."""
    started_with = name.partition(".")[0]  # the nodes of one batch job have one launch token
    return hmac.new(launch_token(started_with).encode(), b"session side", "sha256").hexdigest()


def launch(node_id: UUID) -> None:
    """Have the site start a requested node. Twice is the same as once: sites look a node up by its name first.

    A site that cannot be asked leaves the node REQUESTED: it may have been started, and the next attempt finds out.
    """
    waiting = Node.objects.select_related("site", "resource").filter(state=NodeState.REQUESTED)
    node = waiting.filter(pk=node_id).first()
    if node is None:
        return
    leader = Node.objects.filter(name=node.name.partition(".")[0]).exclude(pk=node.pk).first()
    if leader is not None:
        _follow(node, leader)
        return
    others = waiting.filter(name__startswith=f"{node.name}.")
    try:
        if sites.is_tunnelled(node.site):
            tunnels.keep(node.site)
        handle = sites.launcher_for(node.site).launch(spec_of(node))
    except SiteUnavailable as trouble:
        explain(node, f"Waits for its site: {trouble.detail}")
        return
    except LauncherError as error:
        launch_failed(node, f"{REFUSED}{error}")
        for other in others:
            gone(other, NodeState.FAILED, f"{REFUSED}{error}")
        return
    for started in (node, *others):
        _submitted(started, handle)


def _follow(node: Node, leader: Node) -> None:
    """One of the other nodes of a batch job, which was launched with its first."""
    if leader.handle:
        _submitted(node, leader.handle)
    elif leader.state in NODE_GONE:
        gone(node, NodeState.FAILED, leader.reason)


def _submitted(node: Node, handle: Handle) -> None:
    own = {each["name"]: each for each in members(handle)} if "machines" in handle else {}
    Node.objects.filter(pk=node.pk).update(handle=own.get(node.name, handle))
    with contextlib.suppress(StateConflict):  # it may have checked in already
        advance(node, NodeState.SUBMITTED, node.reason)


def spec_of(node: Node) -> NodeSpec:
    return spec_for(node.resource, node.site, node.name, launch_token(node.name), _options(node))


def _options(node: Node) -> Mapping[str, Any]:
    """What it is started with; nodes that are started together are not to end together, but for those of a session."""
    limit = timedelta(seconds=node.resource.time_limit)
    own = {"time_limit": round(lifetimes.staggered(limit, node.name).total_seconds())}
    return {**({} if node.reserved_for is not None else own), **node.overrides}


def explain(node: Node, reason: str) -> None:
    """Say why the node is still in the state it is in."""
    reason = reason[:500]
    if Node.objects.filter(pk=node.pk, state=node.state).exclude(reason=reason).update(reason=reason):
        node.reason = reason
        record(node, "node", facts_of(node))


def launch_failed(node: Node, reason: str) -> None:
    """The node never checked in: it fails, and its resource waits longer before the next attempt.

    Not after one that was started with a session's own options: they may be the reason, and nobody else's affair.
    """
    with contextlib.suppress(StateConflict), transaction.atomic():
        advance(node, NodeState.FAILED, reason, finished_at=timezone.now(), launch_digest="")
        if node.reserved_for is not None:
            wakeups.wake("rrm.sessions")
        else:
            patience.failed(node.resource_id, reason, timezone.now())


def drain(node: Node, actor: str, reason: str = "") -> None:
    """Let the node finish what it holds and leave; who has booked it keeps it until the session ends.

    One that has not checked in is stopped.
    """
    if node.state in NODE_STARTING:
        stop(node, actor, reason)
        return
    if node.state == NodeState.BOOKED and _leave_with_session(node, reason or f"drained by {actor}"):
        return
    with transaction.atomic():
        advance(node, NodeState.DRAINING, reason or f"Drained by {actor}", actor=actor)
        wakeups.announce_work()  # it may be waiting for work: the answer will be to leave


def _leave_with_session(node: Node, reason: str) -> bool:
    """Have a booked node stopped when its session ends; False when there is none any more."""
    session = Session.objects.filter(node=node, state=SessionState.READY).values_list("pk", flat=True).first()
    if session is None:
        return False
    Node.objects.filter(pk=node.pk, state=NodeState.BOOKED).update(reserved_for=session)
    explain(node, f"Leaves when its session ends: {reason}")
    return True


def stop(node: Node, actor: str, reason: str = "") -> None:
    """End the node now; what it holds is offered to others."""
    reason = reason or f"Stopped by {actor}"
    with transaction.atomic():
        ranges.give_back_all(node, reason)
        if node.state == NodeState.REQUESTED:
            advance(node, NodeState.STOPPED, reason, actor=actor, finished_at=timezone.now(), launch_digest="")
            return
        advance(node, NodeState.STOPPING, reason, actor=actor)
        wakeups.announce_work()
        ask_site(node, "end_node")
    ranges.give_back_all(node, reason)  # what it was given in the meantime


def end(node_id: UUID) -> None:
    """See a STOPPING node to its end: the site stops what still runs and confirms that it is gone."""
    node = Node.objects.select_related("site").filter(pk=node_id, state=NodeState.STOPPING).first()
    if node is None:
        return
    try:
        ended = sites.launcher_for(node.site).stop(node.handle or {"name": node.name}, STOP_GRACE)
    except LauncherError as error:
        logger.warning("Node %s could not be ended: %s", node.name, error)
        return
    # Otherwise the next survey of the site tells; also why, where a node has left that nobody here told to.
    if ended and not (node.site.is_remote and node.reason == LEFT):
        gone(node, NodeState.STOPPED, node.reason)


def gone(node: Node, state: NodeState, reason: str) -> None:
    """Record the end of a node: nothing is left with it, and its token is void."""
    why = f"node {node.name} is gone: {reason}"
    with contextlib.suppress(StateConflict):
        with transaction.atomic():
            ranges.give_back_all(node, why)
            advance(node, state, reason, finished_at=timezone.now(), token_digest="", launch_digest="", idle_since=None)
            node.held.all().delete()
            wakeups.wake("rrm.sessions")
            wakeups.wake("rrm.autoscale")  # somebody may wait for its place
        ranges.give_back_all(node, why)  # what it was given in the meantime


def log(node: Node, stream: Stream, tail: int) -> str:
    """The last `tail` lines that the node wrote to "out" or "err"."""
    return sites.launcher_for(node.site).logs(node.handle or {"name": node.name}, stream, tail)


def account(node: Node) -> str:
    """What the node's site says of its job or process, in the site's own words."""
    return sites.launcher_for(node.site).account(node.handle or {"name": node.name})


def script(resource: Resource, site: Site | None) -> str:
    """The command line that would start a node, secrets masked. Raises NotFound without such a site."""
    places = resource.sites.order_by("placements__position")
    place = places.first() if site is None else places.filter(pk=site.pk).first()
    if place is None:
        raise NotFound(f"The resource {resource.pk} has no site{f' {site.pk}' if site else ''}.")
    spec = spec_for(resource, place, "rrm-example", token="masked")  # noqa: S106 - it stands where the secret would be
    return sites.launcher_for(place).script(spec)
