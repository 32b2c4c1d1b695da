"""Any order of what people, nodes, clocks and loops may do: the invariants hold after every step, and work gets done.

STATEFUL_EXAMPLES sets how many lives are tried. A rule is a burst of deeds that follows from its seed: one deed a rule
would leave most farms without any work done.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from unittest import mock
from uuid import UUID

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from rrm.domain.states import JOB_OFFERED, NODE_GONE, NODE_STARTING, SESSION_OPEN, JobState, NodeState
from rrm.errors import RrmError
from rrm.farm import (
    blaming,
    blocking,
    booking,
    composing,
    consistency,
    deliveries,
    jobs,
    nodes,
    quarantine,
    reconciling,
    reports,
    scaling,
    sessions,
)
from rrm.farm.models import Block, Job, Lease, Node, RenderModel, Resource, Session, Site
from tests.integration.farm.conftest import VIEW, Farm
from tests.thoroughness import tries

EXAMPLES = tries("STATEFUL_EXAMPLES", 6, 60)
STEPS = 5
MOST_NODES, MOST_JOBS, MOST_SESSIONS = 6, 5, 2
SEED = st.integers(0, 2**32 - 1)
SHARES: tuple[dict[str, Any], ...] = (
    {},
    {"sites": {"policy": "split", "ids": ["here", "there"]}},
    {"sites": {"policy": "only", "ids": ["there"]}},
)

seen: Counter[str] = Counter()  # what the lives of one test came to


class Clock:
    """The time that everybody goes by."""

    def __init__(self) -> None:
        self.at = timezone.now()

    def __call__(self) -> datetime:
        self.at += timedelta(milliseconds=1)  # no two things happen at the same instant
        return self.at

    def jump(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class Life(RuleBasedStateMachine):
    """A farm of two sites, on which everything may happen."""

    def __init__(self) -> None:
        super().__init__()
        self._before = transaction.savepoint()
        self.clock = Clock()
        self._patches = contextlib.ExitStack()
        self._patches.enter_context(mock.patch("django.utils.timezone.now", self.clock))
        # With three each, hardly a life would see one.
        self._patches.enter_context(mock.patch.object(blaming, "MOST_BLAMES", 1))
        self._patches.enter_context(mock.patch.object(quarantine, "MOST_FAILURES", 2))
        self.farm = Farm()
        self.farm.place(self.farm.add_site("there"), 1)
        self.hands: dict[UUID, list[dict[str, Any]]] = {}
        self.old: list[tuple[UUID, dict[str, Any]]] = []

    @initialize(loads=st.sampled_from([None, 1, 2]), load_seconds=st.sampled_from([None, 0.1, 20.0]), seed=SEED)
    def begin(self, loads: int | None, load_seconds: float | None, seed: int) -> None:
        Site.objects.update(max_parallel_loads=loads)
        self.farm.submit(params=VIEW, width=32, height=32)
        RenderModel.objects.update(load_seconds=load_seconds)
        for site in (*Site.objects.order_by("pk"), self.farm.site):
            self.farm.node(site, cores=1)
        self.nodes_work(seed)

    # --- bursts

    @rule(seed=SEED)
    def nodes_work(self, seed: int) -> None:
        self._live(seed, 14, ask=4, all_ask=4, deliver=5, fail=2, fail_load=1, deliver_again=1, be_heard=1, wait=4)

    @rule(seed=SEED)
    def people_want_things(self, seed: int) -> None:
        self._live(seed, 3, submit=4, change_a_job=2, book=1, end_a_session=1, send_away=1, forgive=1)

    @rule(seed=SEED)
    def time_goes_by(self, seed: int) -> None:
        self._live(seed, 3, wait_long=3, expire=1, turn=2, compose=1, check_in=2, come_up=1, die=1, leave=1, end=1)

    def _live(self, seed: int, times: int, **deeds: int) -> None:
        pick = random.Random(seed)
        for name in pick.choices(list(deeds), list(deeds.values()), k=times):
            note(name)
            getattr(self, name)(pick)
            assert list(consistency.problems()) == []

    # --- people

    def submit(self, pick: random.Random) -> None:
        if Job.objects.exclude(state=JobState.COMPLETED).count() < MOST_JOBS:
            order = {"params": VIEW | {"max_iter": pick.choice([64, 65])}, "priority": pick.choice(["normal", "high"])}
            self.farm.submit(**order, **pick.choice(SHARES), width=16 * pick.randint(1, 3), height=32)

    def change_a_job(self, pick: random.Random) -> None:
        deed = pick.choice([jobs.cancel, jobs.pause, jobs.resume, jobs.resume, jobs.retry])
        _one(Job.objects.order_by("created_at", "pk"), pick, lambda job: deed(job, "ada"))

    def book(self, pick: random.Random) -> None:
        wish = booking.Wish(Resource.objects.get(), max_wait=timedelta(seconds=60))
        if Session.objects.filter(state__in=SESSION_OPEN).count() < MOST_SESSIONS:
            with contextlib.suppress(RrmError):
                booking.book(self.farm.owner, wish, timezone.now())

    def end_a_session(self, pick: random.Random) -> None:
        _one(Session.objects.filter(state__in=SESSION_OPEN), pick, lambda session: sessions.end(session, "ada"))

    def send_away(self, pick: random.Random) -> None:
        deed = pick.choice([nodes.drain, nodes.stop])
        _one(Node.objects.exclude(state__in=NODE_GONE), pick, lambda node: deed(node, "olga"))

    def forgive(self, pick: random.Random) -> None:
        _one(Block.objects.order_by("pk"), pick, lambda block: blocking.forgive(block, "olga"))
        _one(RenderModel.objects.order_by("digest"), pick, lambda model: quarantine.lift(model, "olga"))

    # --- nodes

    def check_in(self, pick: random.Random) -> None:
        if Node.objects.exclude(state__in=NODE_GONE).count() < MOST_NODES:
            site = Site.objects.get(pk=pick.choice(["here", "there"]))
            with contextlib.suppress(RrmError):
                self.farm.node(site, cores=pick.randint(1, 3), answers=pick.random() < 0.5)

    def come_up(self, pick: random.Random) -> None:
        def check_in(node: Node) -> None:
            reports.register(nodes.launch_token(node.name), {"node": node.name, "hostname": "host", "cores": 1})

        _one(Node.objects.filter(state__in=NODE_STARTING), pick, check_in)

    def ask(self, pick: random.Random) -> None:
        most = pick.randint(1, 2)
        _one(_checked_in(), pick, lambda node: self._ask(node, most))

    def all_ask(self, pick: random.Random) -> None:
        for node in _checked_in().select_related("site", "resource"):
            self._ask(node, 1)

    def _ask(self, node: Node, most: int) -> None:
        """The node asks for work if it has less than this in hand."""
        hand = self.hands.setdefault(node.pk, [])
        if len(hand) < most:
            lease = self.farm.ask(node, *(lease["id"] for lease in hand))["lease"]
            hand.extend([dict(lease)] if lease else [])

    def deliver(self, pick: random.Random) -> None:
        self._hand_over(pick, self.farm.deliver)

    def fail(self, pick: random.Random) -> None:
        def fail(node: Node, lease: dict[str, Any]) -> None:
            deliveries.fail(node, UUID(lease["id"]), pick.choice([None, lease["start"]]), "no GPU")

        self._hand_over(pick, fail)

    def fail_load(self, pick: random.Random) -> None:
        self._hand_over(pick, lambda node, lease: deliveries.fail_load(node, UUID(lease["id"]), "MemoryError"))

    def deliver_again(self, pick: random.Random) -> None:
        for pk, lease in [pick.choice(self.old)] if self.old else []:
            with contextlib.suppress(RrmError):
                self.farm.deliver(_node(pk), lease)

    def be_heard(self, pick: random.Random) -> None:
        def hear(node: Node) -> None:
            hand = self.hands.get(node.pk, [])
            models = sorted({lease["model"]["digest"] for lease in hand if pick.random() < 0.5})
            reports.heartbeat(node, {"leases": [lease["id"] for lease in hand], "models": models})

        _one(_checked_in(), pick, hear)

    def die(self, pick: random.Random) -> None:
        _one(_checked_in(), pick, lambda node: nodes.gone(node, NodeState.FAILED, "it died"))

    def leave(self, pick: random.Random) -> None:
        _one(_checked_in(), pick, lambda node: reports.goodbye(node, "done"))

    def end(self, pick: random.Random) -> None:
        stopping = Node.objects.filter(state=NodeState.STOPPING)
        _one(stopping, pick, lambda node: nodes.gone(node, NodeState.STOPPED, node.reason))

    def _hand_over(self, pick: random.Random, deed: Callable[[Node, dict[str, Any]], object]) -> None:
        """Do something with what a node has in hand; it may be refused."""
        held = [(pk, lease) for pk, leases in self.hands.items() for lease in leases]
        if held:
            pk, lease = pick.choice(held)
            self.hands[pk].remove(lease)
            self.old.append((pk, lease))
            with contextlib.suppress(RrmError):
                deed(_node(pk), lease)

    # --- clocks and loops

    def wait(self, pick: random.Random) -> None:
        self.clock.jump(pick.choice([1, 6, 31, 31]))

    def wait_long(self, pick: random.Random) -> None:
        self.clock.jump(pick.choice([16, 61, 1000, -3600]))

    def expire(self, pick: random.Random) -> None:
        deliveries.expire(timezone.now())

    def turn(self, pick: random.Random) -> None:
        for turn in (reconciling.reconcile, scaling.autoscale, sessions.turn):
            turn(timezone.now())

    def compose(self, pick: random.Random) -> None:
        _one(Job.objects.filter(state=JobState.COMPOSING), pick, lambda job: composing.compose_job(job.pk))

    # --- the end

    def teardown(self) -> None:
        try:
            self._count()
            self._finish()
        finally:
            self._patches.close()
            transaction.savepoint_rollback(self._before)

    def _finish(self) -> None:
        """Whatever has happened, sound nodes bring every job that is offered to its end."""
        for node in Node.objects.exclude(state__in=NODE_GONE).select_related("site", "resource"):
            nodes.gone(node, NodeState.FAILED, "the test is over")
        self.clock.jump(6 * 3600)
        if Site.objects.count() == 2:
            self.farm.work_off(*(self.farm.node(site) for site in Site.objects.all()))
        assert not Job.objects.filter(state__in=JOB_OFFERED).exists()
        assert list(consistency.problems()) == []

    def _count(self) -> None:
        copies = Lease.objects.filter(decision="copy")
        seen.update(
            lives=1,
            leases=Lease.objects.count(),
            copies=copies.count(),
            copies_that_won=copies.filter(state="DONE").count(),
            blocks=Block.objects.count(),
            quarantines=RenderModel.objects.exclude(quarantined_until=None).count(),
            sessions=Session.objects.exclude(ready_at=None).count(),
            failed=Job.objects.filter(state=JobState.FAILED).count(),
            completed=Job.objects.filter(state=JobState.COMPLETED).count(),
        )


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


@pytest.mark.slow
@pytest.mark.django_db
def test_whatever_happens_the_invariants_hold_and_sound_nodes_finish_what_is_offered() -> None:
    seen.clear()
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
            phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a seed that is smaller is not a simpler one
        ),
    )
    print(dict(seen))
    assert seen["leases"] > 3 * EXAMPLES
