"""What people, nodes, clocks and loops may do on a small farm, one deed each, and what must be so after each."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import Count
from django.utils import timezone

from rrm.domain.states import JOB_FINAL, NODE_GONE, NODE_STARTING, SESSION_OPEN, JobState, NodeState, SessionState
from rrm.errors import RrmError, TooMany
from rrm.farm import (
    blocking,
    booking,
    composing,
    consistency,
    deliveries,
    jobs,
    leases,
    loading,
    nodes,
    preloading,
    quarantine,
    quotas,
    reconciling,
    reports,
    scaling,
    sessions,
)
from rrm.farm.models import Block, HeldModel, Job, Node, Preload, Quota, RenderModel, Session, Site
from tests.integration.farm.conftest import VIEW, Farm
from tests.integration.farm.walls import Wall

MOST_NODES, MOST_JOBS, MOST_SESSIONS = 6, 4, 3
SHARES: tuple[dict[str, Any], ...] = (
    {},
    {"sites": {"policy": "split", "ids": ["here", "there"]}},
    {"sites": {"policy": "only", "ids": ["there"]}},
)
LIMITS: Mapping[str, list[Any]] = {
    "max_nodes": [None, 1, 2],
    "max_queued_pixels": [None, 1000, 3000],
    "max_sessions": [0, 1, 2, 3],
    "weight": [0.5, 1.0, 4.0],
}


class Living:
    """A farm of two sites and three owners, on which everything may happen. `pick` makes the choices of a deed."""

    def __init__(self, clock: Wall) -> None:
        self.clock, self.farm, self.seen = clock, Farm(), Counter[str]()
        self.farm.place(self.farm.add_site("there"), 1)
        self.owners = [self.farm.owner, *map(User.objects.create_user, ("bob", "cyd"))]
        self.hands: dict[UUID, list[dict[str, Any]]] = {}
        self.old: list[tuple[UUID, dict[str, Any]]] = []
        self.held: dict[UUID, set[str]] = {}
        """By node: digests of the models that it has loaded."""
        self.told: dict[UUID, str] = {}
        """By node: the model that it was told to load, and does."""
        self.used: Mapping[str, int] = {}

    def do(self, name: str, pick: random.Random) -> None:
        """One deed, after which the farm is in order and nobody has more than before of what they have too much of."""
        getattr(self, name)(pick)
        assert list(consistency.problems()) == []
        before, self.used = self.used, self._used()
        if not name.startswith("wait"):  # a clock that is set brings forgotten loads back
            grown = {key: used for key, used in self.used.items() if used > before.get(key, 0)}
            most = self._most() if grown else {}
            over = {key: used for key, used in grown.items() if (limit := most.get(key)) is not None and used > limit}
            assert not over, f"too much after {name}: {over}, of {most}"

    def _used(self) -> dict[str, int]:
        """What is limited: nodes and sessions of each owner, and loads under way at each site."""
        use = quotas.usage([owner.pk for owner in self.owners])
        loads = HeldModel.objects.filter(loading._under_way(timezone.now())).values_list("node__site")
        return {
            **{f"{what} of {owner}": number for owner, has in use.items() for what, number in has.items()},
            **{f"loads at {site}": number for site, number in loads.order_by().annotate(Count("pk"))},
        }

    def _most(self) -> dict[str, int | None]:
        fields = {"nodes": "max_nodes", "queued_pixels": "max_queued_pixels", "sessions": "max_sessions"}
        limits = Quota.objects.values("owner", *fields.values())
        most = {f"{what} of {of['owner']}": of[field] for of in limits for what, field in fields.items()}
        return most | {f"loads at {site}": most for site, most in Site.objects.values_list("pk", "max_parallel_loads")}

    # --- people

    def submit(self, pick: random.Random) -> None:
        if Job.objects.exclude(state__in=JOB_FINAL).count() < MOST_JOBS:
            order: dict[str, Any] = {"params": VIEW | {"max_iter": pick.choice([64, 65])}, **pick.choice(SHARES)}
            order |= {"priority": pick.choice(["normal", "high"]), "width": 16 * pick.randint(1, 3), "height": 32}
            self._ask_for(lambda: jobs.submit(pick.choice(self.owners), {"tile_size": 16, **order}))

    def change_a_job(self, pick: random.Random) -> None:
        deed = pick.choice([jobs.cancel, jobs.pause, jobs.resume, jobs.resume, jobs.retry])
        _one(Job.objects.order_by("created_at", "pk"), pick, lambda job: deed(job, "ada"))

    def change_a_quota(self, pick: random.Random) -> None:
        limit = pick.choice(list(LIMITS))
        quotas.change(pick.choice(self.owners), {limit: pick.choice(LIMITS[limit])}, "olga")

    def book(self, pick: random.Random) -> None:
        model = pick.choice([None, *RenderModel.objects.order_by("digest")])
        wish = booking.Wish(self.farm.resource, model, max_wait=timedelta(seconds=pick.choice([0, 60, 600, 600])))
        if Session.objects.filter(state__in=SESSION_OPEN).count() < MOST_SESSIONS:
            self._ask_for(lambda: booking.book(pick.choice(self.owners), wish, timezone.now()))

    def use(self, pick: random.Random) -> None:
        def use(session: Session) -> None:
            sessions.keepalive(session)
            assert sessions.way_to(session.pk, None).session == session.pk
            self.seen["uses of sessions"] += 1
            sessions.extend(session, timedelta(minutes=pick.choice([5, 5000])), "ada")

        _one(Session.objects.filter(state=SessionState.READY).order_by("opened_at"), pick, use)

    def end_a_session(self, pick: random.Random) -> None:
        def end(session: Session) -> None:
            state = session.state
            sessions.end(session, "ada")
            self.seen[f"ends of {state} sessions"] += 1

        _one(Session.objects.filter(state__in=SESSION_OPEN).order_by("created_at"), pick, end)

    def want_held(self, pick: random.Random) -> None:
        def want(model: RenderModel) -> None:
            until = timezone.now() + timedelta(hours=1)
            owner, count = pick.choice(self.owners), pick.randint(1, 4)
            preloading.order(owner, model, self.farm.resource, count, until, timezone.now())

        _one(RenderModel.objects.order_by("digest"), pick, want)

    def want_held_no_more(self, pick: random.Random) -> None:
        def withdraw(wish: Preload) -> None:
            preloading.withdraw(wish.owner, wish.model, wish.resource_id, timezone.now(), is_operator=True)

        _one(Preload.objects.order_by("pk"), pick, withdraw)

    def send_away(self, pick: random.Random) -> None:
        deed = pick.choice([nodes.drain, nodes.stop])
        _one(Node.objects.exclude(state__in=NODE_GONE), pick, lambda node: deed(node, "olga"))

    def forgive(self, pick: random.Random) -> None:
        _one(Block.objects.order_by("pk"), pick, lambda block: blocking.forgive(block, "olga"))
        _one(RenderModel.objects.order_by("digest"), pick, lambda model: quarantine.lift(model, "olga"))

    def _ask_for(self, deed: Callable[[], object]) -> None:
        try:
            deed()
        except TooMany:
            self.seen["refusals by quotas"] += 1
        except RrmError:
            self.seen["other refusals"] += 1

    # --- nodes

    def check_in(self, pick: random.Random) -> None:
        if Node.objects.exclude(state__in=NODE_GONE).count() < MOST_NODES:
            site = Site.objects.get(pk=pick.choice(["here", "there"]))
            with contextlib.suppress(RrmError):
                self.farm.node(site, cores=pick.randint(1, 3), answers=pick.random() < 0.8)

    def reinforce(self, pick: random.Random) -> None:
        """So many nodes are there as work needs."""
        for node in Node.objects.filter(state=NodeState.STOPPING):
            nodes.gone(node, NodeState.STOPPED, node.reason)
        for site in Site.objects.order_by("pk"):
            able = Node.objects.filter(site=site, state__in=[NodeState.IDLE, NodeState.BUSY])
            for _ in range(able.count(), 2):
                self.farm.node(site, cores=pick.randint(1, 3), answers=True)

    def come_up(self, pick: random.Random) -> None:
        def check_in(node: Node) -> None:
            report = {"node": node.name, "hostname": "host", "cores": 1, "address": "127.0.0.1:5000"}
            reports.register(nodes.launch_token(node.name), report)

        _one(Node.objects.filter(state__in=NODE_STARTING), pick, check_in)

    def ask(self, pick: random.Random) -> None:
        most = pick.randint(1, 2)
        _one(_checked_in(), pick, lambda node: self._ask(node, most))

    def all_ask(self, _: random.Random) -> None:
        for node in _checked_in().select_related("site", "resource"):
            self._ask(node, 1)

    def _ask(self, node: Node, most: int) -> bool:
        """The node asks for work if it has less than this in hand; whether it got something."""
        hand = self.hands.setdefault(node.pk, [])
        if len(hand) >= most:
            return False
        answer = leases.next_lease(node, self._report(node), timezone.now())
        hand.extend([dict(answer["lease"])] if answer["lease"] else [])
        if preload := answer.get("preload"):
            self.told[node.pk] = preload["digest"]
            self.seen["preloads begun"] += 1
        return bool(answer["lease"] or preload)

    def _report(self, node: Node) -> dict[str, Any]:
        in_hand = [lease["id"] for lease in self.hands.get(node.pk, [])]
        return {"leases": in_hand, "models": sorted(self.held.get(node.pk, ())), "cores": node.cores}

    def deliver(self, pick: random.Random) -> None:
        self._hand_over(pick, self._deliver)

    def _deliver(self, node: Node, lease: dict[str, Any]) -> None:
        self.held.setdefault(node.pk, set()).add(lease["model"]["digest"])
        self.farm.deliver(node, lease)

    def fail(self, pick: random.Random) -> None:
        def fail(node: Node, lease: dict[str, Any]) -> None:
            deliveries.fail(node, UUID(lease["id"]), pick.choice([None, lease["start"]]), "no GPU")
            self.seen["failures of tiles"] += 1

        self._hand_over(pick, fail)

    def fail_load(self, pick: random.Random) -> None:
        self._hand_over(pick, self._fail_load)

    def fail_loads(self, pick: random.Random) -> None:
        """No node can load a model that they have work of."""
        digests = sorted({lease["model"]["digest"] for hand in self.hands.values() for lease in hand})
        digest = pick.choice(digests) if digests else ""
        for pk, hand in self.hands.items():
            if any(lease["model"]["digest"] == digest for lease in hand):
                self._hand_over(pick, self._fail_load, {pk})

    def _fail_load(self, node: Node, lease: dict[str, Any]) -> None:
        with self._counting_quarantines():
            deliveries.fail_load(node, UUID(lease["id"]), "MemoryError")
            self.held.get(node.pk, set()).discard(lease["model"]["digest"])
            self.seen["failures of loads"] += 1

    def end_a_preload(self, pick: random.Random) -> None:
        """A node has loaded what it was told to, or could not."""
        if self.told:
            pk = pick.choice(list(self.told))
            digest, node = self.told.pop(pk), _node(pk)
            if node.state in NODE_GONE:
                return
            if pick.random() < 0.4:
                with self._counting_quarantines():
                    deliveries.fail_preload(node, [digest], timezone.now())
                self.seen["failures of preloads"] += 1
            else:
                self._loaded(node, digest)

    def _loaded(self, node: Node, digest: str) -> None:
        self.held.setdefault(node.pk, set()).add(digest)
        reports.heartbeat(node, self._report(node))
        self.seen["preloads"] += 1

    @contextlib.contextmanager
    def _counting_quarantines(self) -> Iterator[None]:
        def known() -> set[Any]:
            return set(RenderModel.objects.exclude(quarantined_until=None).values_list("pk", "quarantined_until"))

        before = known()
        yield
        self.seen["quarantines"] += len(known() - before)

    def deliver_again(self, pick: random.Random) -> None:
        for pk, lease in [pick.choice(self.old)] if self.old else []:
            with contextlib.suppress(RrmError):
                self.farm.deliver(_node(pk), lease)

    def be_heard(self, pick: random.Random) -> None:
        def hear(node: Node) -> None:
            report = self._report(node)
            reports.heartbeat(node, report | {"models": [one for one in report["models"] if pick.random() < 0.5]})

        _one(_checked_in(), pick, hear)

    def all_are_heard(self, _: random.Random) -> None:
        for node in _checked_in().select_related("site", "resource"):
            reports.heartbeat(node, self._report(node))

    def die(self, pick: random.Random) -> None:
        _one(_checked_in(), pick, self._die)

    def die_booked(self, pick: random.Random) -> None:
        _one(Node.objects.filter(state=NodeState.BOOKED).order_by("name"), pick, self._die)

    def die_busy(self, pick: random.Random) -> None:
        _one(Node.objects.filter(state=NodeState.BUSY).order_by("name"), pick, self._die)

    def _die(self, node: Node) -> None:
        self.seen[f"deaths of {node.state} nodes"] += 1
        nodes.gone(node, NodeState.FAILED, "it died")

    def leave(self, pick: random.Random) -> None:
        _one(_checked_in(), pick, lambda node: reports.goodbye(node, "done"))

    def end(self, pick: random.Random) -> None:
        stopping = Node.objects.filter(state=NodeState.STOPPING)
        _one(stopping, pick, lambda node: nodes.gone(node, NodeState.STOPPED, node.reason))

    def _hand_over(
        self, pick: random.Random, deed: Callable[[Node, dict[str, Any]], object], able: Collection[UUID] | None = None
    ) -> None:
        """Do something with what a node has in hand, one of the `able` ones; it may be refused."""
        held = [(pk, lease) for pk in self.hands if able is None or pk in able for lease in self.hands[pk]]
        if held:
            pk, lease = pick.choice(held)
            self.hands[pk].remove(lease)
            self.old.append((pk, lease))
            with contextlib.suppress(RrmError):
                deed(_node(pk), lease)

    def deliver_all(self, pick: random.Random) -> None:
        """All nodes deliver what they have in hand, and what they get for it, as far as a few rounds go."""
        self._work(pick, set(self.hands))

    def straggle(self, pick: random.Random) -> None:
        """The same, but for one."""
        at_work = [pk for pk, hand in self.hands.items() if hand]
        self._work(pick, set(self.hands) - {pick.choice(at_work)} if at_work else set(self.hands))

    def _work(self, pick: random.Random, able: set[UUID]) -> None:
        for _ in range(6):
            while any(self.hands[pk] for pk in able):
                self._hand_over(pick, self._deliver, able)
            self.all_ask(pick)
            if not any(self.hands[pk] for pk in able):
                return

    # --- clocks and loops

    def wait(self, pick: random.Random) -> None:
        self.clock.set(timedelta(seconds=pick.choice([1, 6, 31, 31])))

    def wait_half_a_minute(self, _: random.Random) -> None:
        self.clock.set(timedelta(seconds=31))

    def wait_long(self, pick: random.Random) -> None:
        self.clock.set(timedelta(seconds=pick.choice([16, 61, 1000, -3600])))

    def expire(self, _: random.Random) -> None:
        deliveries.expire(timezone.now())

    def turn(self, _: random.Random) -> None:
        for turn in (reconciling.reconcile, scaling.autoscale, sessions.turn):
            turn(timezone.now())

    def compose(self, _: random.Random) -> None:
        for job in Job.objects.filter(state=JobState.COMPOSING):
            composing.compose_job(job.pk)

    # --- the end

    def finish(self) -> None:
        """Whatever has happened, sound nodes bring every job that is offered to its end."""
        for node in Node.objects.exclude(state__in=NODE_GONE).select_related("site", "resource"):
            nodes.gone(node, NodeState.FAILED, "the test is over")
        self.clock.set(timedelta(seconds=6 * 3600))
        sessions.turn(timezone.now())
        assert not Session.objects.filter(state__in=SESSION_OPEN).exists()
        workers = [self.farm.node(site) for site in Site.objects.all()]
        while sum([self._one_turn(_node(worker.pk)) for worker in workers]):
            pass

    def _one_turn(self, node: Node) -> bool:
        got_something = self._ask(node, 1)
        for lease in self.hands.pop(node.pk, []):
            self._deliver(node, lease)
        if digest := self.told.pop(node.pk, ""):
            self._loaded(node, digest)
        return got_something


def _one(rows: Any, pick: random.Random, deed: Callable[[Any], object]) -> None:
    """Do something to one of the rows, if there are any; it may be refused."""
    found = list(rows.select_related("site", "resource") if rows.model is Node else rows)
    if found:
        with contextlib.suppress(RrmError):
            deed(pick.choice(found))


def _checked_in() -> Any:
    working = Node.objects.exclude(state__in=NODE_GONE | NODE_STARTING | {NodeState.STOPPING})
    return working.order_by("requested_at", "name")


def _node(pk: UUID) -> Node:
    return Node.objects.select_related("site", "resource").get(pk=pk)
