"""Any order of what people, nodes, clocks and loops may do: the invariants hold after every step, and work gets done.

STATEFUL_EXAMPLES sets how many lives are tried. A step is a burst of deeds that follows from its seed: one deed a step
would leave most farms without any work done. A life has bursts of all kinds, in any order, and some deeds are sure to
be in a burst. What all lives came to is counted, since one in which nothing happens proves nothing.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter, deque
from datetime import timedelta
from unittest import mock

import pytest
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from rrm.domain.states import JOB_OFFERED, JobState, SessionState
from rrm.farm import blaming, booking, consistency, deliveries, preloading, quarantine, quotas
from rrm.farm.models import Block, Job, Lease, RenderModel, Session, Site
from tests.integration.farm.conftest import VIEW
from tests.integration.farm.living import Living
from tests.integration.farm.walls import Wall
from tests.thoroughness import tries

EXAMPLES = tries("STATEFUL_EXAMPLES", 8, 48)
STEPS = 6
SEED = st.integers(0, 2**32 - 1)

# By kind of burst: deeds that are done in this order, how many others come among them, and how likely each of those is.
BURSTS: dict[str, tuple[str, int, dict[str, int]]] = {
    "nodes work": (
        "reinforce all_ask fail deliver wait all_ask",
        5,
        {
            "ask": 4,
            "all_ask": 1,
            "deliver": 4,
            "fail": 3,
            "deliver_again": 2,
            "be_heard": 1,
            "wait": 3,
            "end_a_preload": 2,
        },
    ),
    "work is done": (
        "reinforce submit straggle wait_half_a_minute all_ask want_held deliver_all end_a_preload compose",
        1,
        {"end_a_preload": 2, "submit": 1, "wait": 1},
    ),
    "models cannot be loaded": (
        "reinforce submit all_ask fail_loads end_a_preload",
        3,
        {"fail_load": 3, "want_held": 1, "end_a_preload": 3, "forgive": 1, "all_ask": 1},
    ),
    "people want things": (
        "want_held change_a_quota submit submit",
        4,
        {"submit": 4, "change_a_job": 3, "change_a_quota": 3, "want_held": 1, "want_held_no_more": 2, "forgive": 1},
    ),
    "people look around": (
        "reinforce submit submit all_ask book book deliver deliver all_ask use end_a_session",
        2,
        {"book": 2, "use": 3, "end_a_session": 2, "ask": 2, "deliver": 3, "all_are_heard": 1, "turn": 1},
    ),
    "time goes by": (
        "all_ask die_busy check_in die_booked turn",
        4,
        {"wait_long": 3, "expire": 1, "turn": 1, "check_in": 2, "come_up": 2}
        | {"die": 1, "leave": 1, "end": 1, "send_away": 1, "use": 1},
    ),
}
seen: Counter[str] = Counter()  # what the lives of one test came to


class Life(RuleBasedStateMachine):
    """One life of a farm: bursts of deeds."""

    def __init__(self) -> None:
        super().__init__()
        self._before = transaction.savepoint()
        clock = Wall()
        self._patches = contextlib.ExitStack()
        self._patches.enter_context(mock.patch("django.utils.timezone.now", clock))
        # With three each, hardly a life would see one.
        self._patches.enter_context(mock.patch.object(blaming, "MOST_BLAMES", 1))
        self._patches.enter_context(mock.patch.object(quarantine, "MOST_FAILURES", 2))
        self._patches.enter_context(mock.patch.object(deliveries, "MAX_FAILURES", 2))
        self.living = Living(clock)

    @initialize(
        loads=st.sampled_from([None, 1, 2]),
        load_seconds=st.sampled_from([None, 0.1, 20.0]),
        kinds=st.permutations(list(BURSTS)),
    )
    def begin(self, loads: int | None, load_seconds: float | None, kinds: list[str]) -> None:
        """Somebody has a session, somebody ordered a model to be held, and everybody has limits."""
        self.kinds = deque(kinds)
        farm, (ada, bob, cyd) = self.living.farm, self.living.owners
        Site.objects.update(max_parallel_loads=loads)
        for site in (*Site.objects.order_by("pk"), farm.site, farm.site):
            farm.node(site, cores=1, answers=True)
        farm.submit(params=VIEW, width=32, height=32)
        farm.submit(params=VIEW | {"max_iter": 65}, width=32, height=32)
        RenderModel.objects.update(load_seconds=load_seconds)
        now, [first, second] = timezone.now(), RenderModel.objects.order_by("digest")
        preloading.order(cyd, first, farm.resource, 3, now + timedelta(hours=1), now)
        booking.book(bob, booking.Wish(farm.resource, second), now)
        for owner, limits in ((ada, {"max_nodes": 3}), (bob, {"max_sessions": 1}), (cyd, {"max_queued_pixels": 1000})):
            quotas.change(owner, limits)

    @rule(seed=SEED)
    def go_on(self, seed: int) -> None:
        self.kinds.rotate(-1)
        always, times, others = BURSTS[self.kinds[-1]]
        pick = random.Random(seed)
        names = pick.choices(list(others), list(others.values()), k=times)
        for at, name in zip(sorted(pick.choices(range(times + 1), k=len(always.split()))), always.split(), strict=True):
            names.insert(at + len(names) - times, name)
        for name in names:
            note(name)
            self.living.do(name, pick)

    # --- the end

    def teardown(self) -> None:
        try:
            if Session.objects.exists():  # otherwise it was not even begun
                self._count()
                self.living.finish()
                assert not Job.objects.filter(state__in=JOB_OFFERED).exists()
                assert list(consistency.problems()) == []
        finally:
            self._patches.close()
            transaction.savepoint_rollback(self._before)

    def _count(self) -> None:
        copies = Lease.objects.filter(decision="copy")
        served = Session.objects.exclude(ready_at=None)
        seen.update(self.living.seen)
        seen.update(
            {
                "lives": 1,
                "leases": Lease.objects.count(),
                "copies": copies.count(),
                "copies that won": copies.filter(state="DONE").count(),
                "blocks": Block.objects.count(),
                "sessions": served.count(),
                "sessions after a wait": served.filter(ready_at__gt=F("opened_at")).count(),
                "sessions whose node was lost": served.filter(state=SessionState.FAILED).count(),
                "jobs failed": Job.objects.filter(state=JobState.FAILED).count(),
                "jobs completed": Job.objects.filter(state=JobState.COMPLETED).count(),
            }
        )


# What eight lives come to at least; more of it in more lives.
LEAST = {
    "leases": 40,
    "copies": 0.4,
    "jobs completed": 4,
    "refusals by quotas": 2,
    "sessions": 8,
    "uses of sessions": 3,
    "sessions after a wait": 0.2,
    "ends of READY sessions": 2,
    "sessions whose node was lost": 2,
    "deaths of BOOKED nodes": 2,
    "deaths of BUSY nodes": 1,
    "failures of tiles": 1,
    "failures of loads": 4,
    "quarantines": 2,
    "preloads": 1,
    "failures of preloads": 0.4,
}


@pytest.mark.slow
@pytest.mark.timeout(180 if EXAMPLES <= 8 else 900)
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
    missed = {what: seen[what] for what, least in LEAST.items() if seen[what] < int(least * EXAMPLES / 8)}
    assert not missed, f"hardly seen: {missed}, of {dict(seen)}"
