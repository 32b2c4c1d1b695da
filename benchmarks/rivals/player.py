"""One scheduler: a process that says "ready", waits for a line, does its part and prints what came of it as JSON.

python -m benchmarks.rivals.player ROLE '{"index": 0, "of": 8, ...}'
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import django
from django.apps import apps

if not apps.ready:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rrm.settings")
    django.setup()

from django.contrib.auth.models import User
from django.db import IntegrityError
from django.db.models import Count, F
from django.utils import timezone

from benchmarks.rivals import ground
from rrm.domain.states import JOB_OFFERED, LeaseState
from rrm.errors import NoCapacity, StateConflict
from rrm.farm import beckoning, booking, deliveries, jobs, leases, nodes, tokens, wakeups
from rrm.farm.models import JobShare, Lease, Node, Resource

Figures = dict[str, Any]
_REST, _REST_SECONDS = 4.0, 0.2  # between two looks: so many times what a look takes, and at least so long
_AGAIN_SECONDS = 1.0  # a node with work in hand that got no more asks again after that, or when it has delivered
_SWEEPS_WITHOUT = 3  # rounds over all nodes that gave nothing: then there is nothing


class Hand:
    """What one node has in hand."""

    def __init__(self, id: UUID, models: set[str]) -> None:
        self.id = id
        self.leases: list[str] = []
        self.models = set(models)
        self.waits = False
        """A node that has nothing and got nothing waits until it is called."""
        self.asks_at = 0.0


class Taker:
    """Asks for some nodes by turns, as they do that have so many leases in hand at most, and delivers for them."""

    def __init__(self, hands: list[Hand], ahead: int, seconds: float) -> None:
        self.hands = hands
        self.ahead = ahead
        self.ends_at = time.monotonic() + seconds
        self.millis: list[float] = []
        self.tiles = self.finished = 0
        self._looks_at = 0.0
        self.last = time.time()

    def sweep(self, *, deliver: bool) -> int:
        """One turn for each node; how many leases that gave. A node with full hands delivers, if it is to."""
        before = len(self.millis)
        for hand in self.hands:
            if time.monotonic() >= self.ends_at:
                break
            has_more = self._asks(hand) and self._ask(hand)
            if deliver and hand.leases and not has_more:
                self._deliver(hand)
        return len(self.millis) - before

    def call(self) -> int:
        """Call those who wait and for whom there is something, as the lobby of a web server does; how many."""
        waiting: dict[UUID, Hand] = {hand.id: hand for hand in self.hands if hand.waits}
        if not waiting or time.monotonic() < self._looks_at:
            return 0
        began = time.monotonic()
        called = beckoning.called(dict.fromkeys(waiting), timezone.now())
        for id in called:
            waiting[id].waits, waiting[id].asks_at = False, 0.0
        self._looks_at = time.monotonic() + max(_REST_SECONDS, _REST * (time.monotonic() - began))
        return len(called)

    def empty_hands(self) -> None:
        """Deliver one range for each node that has any."""
        for hand in self.hands:
            if hand.leases:
                self._deliver(hand)

    def _asks(self, hand: Hand) -> bool:
        return len(hand.leases) < self.ahead and not hand.waits and time.monotonic() >= hand.asks_at

    def _ask(self, hand: Hand) -> bool:
        asked = time.perf_counter()
        node = tokens.calling(pk=hand.id)
        assert node is not None
        report = {"leases": hand.leases, "models": sorted(hand.models), "cores": node.cores}
        lease = leases.next_lease(node, report, timezone.now())["lease"]
        hand.waits = lease is None and not hand.leases
        hand.asks_at = 0.0 if lease else time.monotonic() + _AGAIN_SECONDS
        if lease:
            self.millis.append(1e3 * (time.perf_counter() - asked))
            self.tiles, self.last = self.tiles + lease["stop"] - lease["start"], time.time()
            hand.leases.append(lease["id"])
            hand.models.add(lease["model"]["digest"])
        return lease is not None

    def _deliver(self, hand: Hand) -> None:
        """Record results of the oldest range in hand, as an upload of them does once they are on disk."""
        node = tokens.calling(pk=hand.id)
        assert node is not None
        lease = Lease.objects.select_related("job__model", "share").get(pk=hand.leases.pop(0))
        lease.node = node
        hand.asks_at = 0.0
        with contextlib.suppress(StateConflict, IntegrityError):  # a second node was faster
            deliveries._finish(lease, node, 1.0, 1000)
            jobs.finish_if_done(lease.job)
            self.finished += 1


def take(index: int, of: int, *, deliver: bool, ahead: int, seconds: float, seed: int, warm: bool) -> Figures:
    """Ask for every node of this scheduler's part until nothing is given any more, or the time is over."""
    known = set(ground.digests()) if warm else set()
    hands = [Hand(id, known) for id in Node.objects.order_by("name").values_list("pk", flat=True)[index::of]]
    random.Random(seed + index).shuffle(hands)
    taker, began, cpu, fruitless = Taker(hands, ahead, seconds), time.time(), time.process_time(), 0
    while fruitless < _SWEEPS_WITHOUT and time.monotonic() < taker.ends_at:
        fruitless = 0 if taker.sweep(deliver=deliver) else fruitless + 1
        if fruitless and deliver:
            taker.empty_hands()
            if _all_given():
                break
            fruitless = 0  # others have what is left, or may not have more before they deliver
        if not taker.call() and fruitless:
            time.sleep(_REST_SECONDS)
    cpu = time.process_time() - cpu
    while deliver and any(hand.leases for hand in hands):
        taker.empty_hands()
    took = len(taker.millis)
    times = {"began": began, "ended": taker.last, "cpu": cpu, "millis": taker.millis}
    return {**times, "took": took, "finished": taker.finished, "tiles": taker.tiles}


def _all_given() -> bool:
    return not JobShare.objects.filter(cursor__lt=F("stop"), job__state__in=JOB_OFFERED).exists()


def request(index: int, of: int, *, tries: int) -> Figures:
    """Ask for nodes of both resources until that was refused `tries` times for each."""
    started, refused = 0, {ground.RESOURCE: 0, ground.SECOND: 0}
    names = sorted(refused, reverse=bool(index % 2))
    while any(count < tries for count in refused.values()):
        for name in names:
            if refused[name] < tries:
                try:
                    nodes.request_node(Resource.objects.get(pk=name), None, "rivals")
                    started += 1
                except StateConflict:
                    refused[name] += 1
    return {"started": started}


def book(index: int, of: int, *, tries: int) -> Figures:
    """Book nodes for people, as many as there are, until that was refused `tries` times."""
    owner, resource = User.objects.get(username="owner0"), Resource.objects.get(pk=ground.RESOURCE)
    booked, refused = 0, 0
    while refused < tries:
        try:
            booking.book(owner, booking.Wish(resource), timezone.now())
            booked += 1
        except NoCapacity:
            refused += 1
    return {"booked": booked}


def audit(index: int, of: int, *, limited_to: int) -> Figures:
    """Look, again and again until a line comes, at what has been committed; count looks and breaches of the quota."""
    over = threading.Event()

    def until_told() -> None:
        sys.stdin.readline()
        over.set()

    threading.Thread(target=until_told, daemon=True).start()
    looks = breaches = most = 0
    active = Lease.objects.filter(state=LeaseState.ACTIVE, job__owner__quota__max_nodes__isnull=False).order_by()
    while not over.wait(0.05):
        held = active.values_list("job__owner").annotate(nodes=Count("node", distinct=True))
        most = max([most, *(nodes for _, nodes in held)])
        breaches += most > limited_to > 0
        looks += 1
    return {"looks": looks, "quota_breaches": breaches, "most_nodes": most}


_ROLES: Mapping[str, Callable[..., Figures]] = {"take": take, "request": request, "book": book, "audit": audit}


def main(role: str, options: str) -> None:
    Node.objects.exists()  # the connection is open before the clock starts
    print("ready", flush=True)
    sys.stdin.readline()
    figures = _ROLES[role](**json.loads(options))
    wakeups.flush(2.0)
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
