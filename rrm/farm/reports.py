"""What nodes report: their check-in, signs of life with the models that they hold, and their goodbye."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from rrm.domain import addresses
from rrm.domain.states import NODE_CHECKED_IN, NODE_STARTING, NODE_WORKING, LeaseState, NodeState
from rrm.errors import Unauthorised
from rrm.farm import blaming, estimates, loading, patience, ranges, statements, tokens, wakeups
from rrm.farm.models import HeldModel, Lease, Node, RenderModel, Resource, Site
from rrm.farm.nodes import LEFT, ask_site, explain
from rrm.farm.transitions import advance

UNANSWERED = "Its renderer does not answer"
_SMOOTHING = 0.3
_LONGEST_LOAD = 86400.0
_WORTH_NOTING = 0.1
_MOST_CORES = 4096


class InHand(NamedTuple):
    """A lease that a node works on: columns by their names."""

    pk: UUID
    deadline: datetime
    created_at: datetime


class Held(NamedTuple):
    """A model that a node holds: what is known of it there, what loading it costs anywhere, and whether it stays."""

    model: UUID
    last_used: datetime
    loaded_at: datetime
    pixel_seconds: float | None
    load_seconds: float | None
    average_load_seconds: float | None
    loading: bool
    pinned: bool
    digest: str


_HELD = (
    "SELECT held.model_id, held.last_used, held.loaded_at, held.pixel_seconds, held.load_seconds, model.load_seconds,"
    " held.loading, model.pinned, model.digest"
    " FROM farm_heldmodel held JOIN farm_rendermodel model ON model.id = held.model_id WHERE held.node_id = %s"
)
_IN_HAND = (
    "SELECT id, deadline, created_at, NULL, NULL, NULL, NULL, NULL, NULL"
    " FROM farm_lease WHERE node_id = %s AND state = %s"
)
_BOTH = f"{_HELD} UNION ALL {_IN_HAND}"
_HELD_FIELDS = (
    *statements.fields_of(HeldModel, "model", "last_used", "loaded_at", "pixel_seconds", "load_seconds"),
    *statements.fields_of(RenderModel, "load_seconds"),
    *statements.fields_of(HeldModel, "loading"),
    *statements.fields_of(RenderModel, "pinned", "digest"),
)


def register(launch_token: str, report: Mapping[str, Any]) -> dict[str, Any]:
    """A node checks in: it gets its own token, and its launch token ends with the first call that uses it.

    Raises Unauthorised for a launch token that is unknown, used, or of a node that is no longer wanted, Invalid for an
    address that is none of its own.
    """
    now = timezone.now()
    node = (
        Node.objects.select_related("site", "resource")
        .filter(launch_digest=tokens.digest_of(launch_token), name=report.get("node"))
        .filter(Q(state__in=NODE_STARTING) | Q(state=NodeState.IDLE))
        .first()
    )
    if node is None:
        raise Unauthorised("This launch token is not known, or was used.")
    secret, digest = tokens.new_node_secret()
    facts = {"token_digest": digest, **_introduction(node, report, now)}
    with transaction.atomic():
        if node.state == NodeState.IDLE:  # the answer to an earlier check-in was lost
            Node.objects.filter(pk=node.pk).update(**facts)
        else:
            advance(node, NodeState.IDLE, started_at=now, idle_since=now, **facts)
            _learn_start_time(node, now)
            if why := blaming.turn_away(node, now):
                patience.failed(node.resource_id, why, now)  # the next one may come to the same machine
            wakeups.wake("rrm.sessions")
    return {
        "node_id": str(node.pk),
        "token": secret,
        "heartbeat_seconds": settings.RRM.heartbeat.total_seconds(),
        "lease_wait_seconds": settings.RRM.lease_wait.total_seconds(),
        "give_up_seconds": settings.RRM.node_give_up.total_seconds(),
        "max_upload_bytes": settings.RRM.max_body_bytes,
    }


def _introduction(node: Node, report: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """What a node that checks in says of itself, as columns. Raises Invalid."""
    return {
        "hostname": str(report.get("hostname", ""))[:255],
        "machine": str(report.get("machine", ""))[:255],
        "address": _address(node, report),
        "version": str(report.get("version", ""))[:50],
        "cores": _cores(report, 1),
        "last_heartbeat": now,
        "ends_at": now + timedelta(seconds=report["lifetime_seconds"]) if report.get("lifetime_seconds") else None,
    }


def _address(node: Node, report: Mapping[str, Any]) -> str:
    """Where the node answers people, "host:port"; empty where it does not. Raises Invalid."""
    if node.resource.renderer != Resource.Renderer.EXTERNAL and not report.get("address"):
        return ""
    own = None if node.site.is_remote else (socket.gethostname(),)
    shares_loopback = node.site.kind != Site.Kind.SLURM  # of a cluster's machines only one is at the connection's end
    return addresses.endpoint(str(report.get("address") or ""), loopback=shares_loopback, names=own)


def _cores(report: Mapping[str, Any], known: int) -> int:
    return max(1, min(int(report.get("cores", known)), _MOST_CORES))


def _learn_start_time(node: Node, now: datetime) -> None:
    took = max(0.0, (now - node.requested_at).total_seconds())
    known = node.resource.start_seconds
    average = took if known is None else known + _SMOOTHING * (took - known)
    Resource.objects.filter(pk=node.resource_id).update(start_seconds=average)
    patience.checked_in(node.resource_id)


def heartbeat(node: Node, report: Mapping[str, Any], now: datetime | None = None) -> dict[str, Any]:
    """The node lives and works on the leases it lists: {"command", "revoked": leases it should abandon, "pinned"}.

    A `problem` is news: why its renderer does not answer at present, or "" when it does again.
    """
    problem = report.get("problem")
    if problem is not None and node.state in NODE_WORKING:
        explain(node, f"{UNANSWERED}: {problem}" if problem else "")
    now, (active, known) = now or timezone.now(), of(node)
    note_life(node, report, now)
    keep(report, active, now)
    held = holds(node, known, report, now).values()
    listed = (str(lease) for lease in report.get("leases", ()))
    revoked = [lease for lease in listed if lease not in active]
    return {
        "command": command_for(node),
        "revoked": revoked,
        "pinned": sorted(one.digest for one in held if one.pinned),
    }


def of(node: Node) -> tuple[dict[str, InHand], dict[str, Held]]:
    """The ACTIVE leases of a node by their ids, and the models that it holds by their digests, by one statement."""
    of_node = statements.key(Node, node.pk)
    rows = statements.rows_of(_BOTH, [of_node, of_node, LeaseState.ACTIVE], _HELD_FIELDS)
    in_hand = {str(row[0]): InHand._make(row[:3]) for row in rows if row[-1] is None}
    return in_hand, {row[-1]: Held._make(row) for row in rows if row[-1] is not None}


def keep(report: Mapping[str, Any], active: Mapping[str, InHand], now: datetime) -> None:
    """Put off the deadlines of those `active` leases that the node says it works on, unless that was done lately."""
    listed = [str(lease) for lease in report.get("leases", ())]
    later, lately = now + settings.RRM.lease_minimum, settings.RRM.lease_minimum / 5
    # One by one: two rows locked together could wait for somebody who takes leases back in another order.
    for id in sorted(active.keys() & listed):
        lease = active[id]
        if later - lease.deadline > lately and now - lease.created_at < settings.RRM.lease_longest:
            statements.update(Lease, {"pk": lease.pk, "state": LeaseState.ACTIVE}, {"deadline": later})


def note_life(node: Node, report: Mapping[str, Any], now: datetime) -> None:
    """Write down that the node lives, and that it has used its launch token, unless that was done a moment ago.

    `node` was just read. A claim writes the same with what else it writes (`claims`).
    """
    cores = _cores(report, node.cores)
    is_news = (cores, "") != (node.cores, node.launch_digest)
    if is_news or node.last_heartbeat is None or abs(now - node.last_heartbeat) > _resolution():
        node.cores, node.last_heartbeat = cores, now
        statements.update(Node, {"pk": node.pk}, {"last_heartbeat": now, "launch_digest": "", "cores": cores})


def _resolution() -> timedelta:
    """Of signs of life: a node that asks often does not cost a write each time, and each heartbeat counts."""
    return min(settings.RRM.heartbeat / 2, settings.RRM.lease_minimum / 5)


def holds(node: Node, known: dict[str, Held], report: Mapping[str, Any], now: datetime) -> dict[str, Held]:
    """What the node holds, by the model's id, once what is `known` of that is in line with what it says it holds."""
    if "models" in report:
        known = _note_models(node, known, report["models"], now)
    return {str(held.model): held for held in known.values()}


def held_by(nodes: Iterable[Node]) -> dict[UUID, set[str]]:
    """The ids of the models that each of these nodes holds or is loading."""
    found: dict[UUID, set[str]] = {}
    for node, model in HeldModel.objects.filter(node__in=nodes).values_list("node", "model"):
        found.setdefault(node, set()).add(str(model))
    return found


def _note_models(node: Node, known: dict[str, Held], reported: Iterable[Any], now: datetime) -> dict[str, Held]:
    told = {entry if isinstance(entry, str) else entry["digest"]: entry for entry in reported}
    missing = told.keys() - known.keys()
    for model in RenderModel.objects.filter(digest__in=missing) if missing else ():
        HeldModel.objects.get_or_create(node=node, model=model, defaults={"loaded_at": now})
    if loaded := [held.model for digest, held in known.items() if held.loading and digest in told]:
        node.held.filter(model__in=loaded).update(loading=False)
    forgotten = [held.model for digest, held in known.items() if digest not in told and not _is_coming(held, now)]
    gone = 0
    if forgotten:
        at_work = node.leases.filter(state=LeaseState.ACTIVE).values("job__model")
        gone = node.held.filter(model__in=forgotten).exclude(model__in=at_work).delete()[0]
    for digest, entry in told.items():
        if isinstance(entry, Mapping) and digest in known:
            _note_load(node, known[digest], entry, now)
    return _held_by(node) if missing or gone else known


def _is_coming(held: Held, now: datetime) -> bool:
    """Whether the node is loading it: it holds it only then."""
    return held.loading and now - held.loaded_at < loading.LONGEST


def _held_by(node: Node) -> dict[str, Held]:
    held = map(Held._make, statements.rows_of(_HELD, [statements.key(Node, node.pk)], _HELD_FIELDS))
    return {one.digest: one for one in held}


def _note_load(node: Node, held: Held, entry: Mapping[str, Any], now: datetime) -> None:
    """Remember what loading the model costs, as moving averages of what nodes tell; the absurd is ignored."""
    told, size, known = entry.get("load_seconds"), entry.get("size_bytes"), held.average_load_seconds
    if told is None or not 0 <= told <= _LONGEST_LOAD:
        return
    if held.load_seconds != told:  # a node says the same each time until it has loaded it anew
        node.held.filter(model=held.model).update(load_seconds=told)
        estimates.learn_load(held.model, node, told, now)
    if told == known:
        return
    if known is None or abs(told - known) > _WORTH_NOTING * max(known, _WORTH_NOTING):
        changes = {"load_seconds": told if known is None else known + _SMOOTHING * (told - known)}
        if size is not None and 0 <= size < 2**50:
            changes["size_bytes"] = size
        RenderModel.objects.filter(pk=held.model).update(**changes)


def command_for(node: Node) -> str:
    """What a node should do now: "run", "drain" (finish what it holds and leave) or "stop" (leave at once)."""
    if node.state in NODE_WORKING:
        return "run"
    return "drain" if node.state == NodeState.DRAINING else "stop"


def goodbye(node: Node, reason: str) -> None:
    """The node leaves in order. It counts as STOPPED once its site confirms that it is gone."""
    with transaction.atomic():
        ranges.give_back_all(node, "the node left")
        node.refresh_from_db(fields=["state"])
        if node.state in NODE_CHECKED_IN - {NodeState.STOPPING}:
            advance(node, NodeState.STOPPING, node.reason or (LEFT if reason == "done" else reason[:400]))
    ask_site(node, "end_node")
