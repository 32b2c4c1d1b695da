"""What the autoscaler does over minutes and hours: it settles, follows, comes back, and never asks for too much."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise

import pytest

from rrm.domain.autoscaling import Demand, History, Limits, Phase, Pool, SiteRoom, SupplyNode, Work, plan_farm
from tests.unit.domain.demands import HERE, NOW, seconds

PERIOD = 15


@dataclass
class Resource:
    """Its nodes take `boot` seconds to start; as many of them are busy as its load, in nodes, tells at each instant."""

    load: Callable[[float], float]
    limits: Limits = HERE
    boot: float = 60
    machines: int = 1
    nodes: dict[str, tuple[datetime, datetime | None]] = field(default_factory=dict)  # asked for, idle since
    history: History = field(default_factory=History)
    counts: list[int] = field(default_factory=list)
    started: int = 0

    def supply(self, now: datetime, load: float) -> list[SupplyNode]:
        found, busy = [], round(load)
        for name, (since, idle) in self.nodes.items():
            ready = now - since >= seconds(self.boot)
            works = ready and busy > 0
            busy -= works
            idle_since = None if works or not ready else idle or now
            self.nodes[name] = (since, idle_since)
            phase = Phase.BUSY if works else Phase.IDLE if ready else Phase.STARTING
            found.append(SupplyNode(name, "here", phase, idle_since))
        return found


def run(minutes: float, room: int, **resources: Resource) -> None:
    """Plan every period, and do at once what the plans say."""
    for step in range(round(minutes * 60 / PERIOD)):
        now = NOW + seconds(step * PERIOD)
        left = room - sum(len(one.nodes) for one in resources.values())
        pools = []
        for name, one in resources.items():
            load = one.load(step * PERIOD)
            demand = Demand((Work(load * 300, 1000),) if load else ())
            limits = replace(one.limits, sites=(SiteRoom("here", left, one.machines),))
            pools.append(Pool(name, demand, one.supply(now, load), limits, one.history))
        for name, made in plan_farm(pools, now).items():
            one = resources[name]
            for node in made.leaving:
                del one.nodes[node]
            for _ in made.launch:
                one.started += 1
                one.nodes[f"{name}{one.started}"] = (now, None)
            one.history = made.history
            one.counts.append(len(one.nodes))
            assert len(one.nodes) <= one.limits.max_nodes
        assert sum(len(one.nodes) for one in resources.values()) <= room


def turns(counts: list[int]) -> list[int]:
    """The steps at which the number of nodes changes its direction."""
    moves = [(step, after > before) for step, (before, after) in enumerate(pairwise(counts)) if after != before]
    return [step for (_, up), (step, down) in pairwise(moves) if up != down]


@pytest.mark.parametrize("nodes", [1, 3, 40])
@pytest.mark.parametrize("noise", [0.0, 0.05, 0.3])
def test_under_a_constant_load_the_direction_changes_at_most_once_in_ten_minutes(nodes: int, noise: float) -> None:
    chance = random.Random(nodes)
    farm = Resource(lambda _: nodes * chance.uniform(1 - noise, 1 + noise))
    run(120, 100, a=farm)
    changes = turns(farm.counts)
    window = 600 // PERIOD
    assert all(later - earlier > window for earlier, later in pairwise(changes))
    assert 0.9 * nodes <= farm.counts[-1] <= 1.4 * nodes + 1


@pytest.mark.parametrize("boot", [5, 60, 200])
@pytest.mark.parametrize("before", [1, 4])
def test_ten_times_the_load_has_its_nodes_after_two_periods_and_the_boot(before: int, boot: float) -> None:
    farm = Resource(lambda at: before * (10 if at >= 600 else 1), boot=boot)
    run(20, 100, a=farm)
    assert farm.counts[600 // PERIOD - 1] == before
    assert farm.counts[600 // PERIOD + 2] == 10 * before


@pytest.mark.parametrize("least", [0, 2])
def test_after_the_work_is_done_only_the_minimum_is_left(least: int) -> None:
    farm = Resource(lambda at: 8 if at < 600 else 0, limits=replace(HERE, min_nodes=least))
    run(25, 100, a=farm)
    assert max(farm.counts) >= 8
    assert farm.counts[-1] == least


def test_two_resources_that_fill_a_site_with_work_move_no_node_once_they_share_it() -> None:
    chance = random.Random(1)
    busy = {name: Resource(lambda _: chance.uniform(6, 10)) for name in ("a", "b")}
    run(60, 8, **busy)
    for farm in busy.values():
        assert farm.counts[-1] >= 1
        assert turns(farm.counts) == []


def test_a_resource_with_work_now_and_then_does_not_make_the_other_start_over_and_over() -> None:
    steady = Resource(lambda _: 20)
    rare = Resource(lambda at: 1 if at % 120 < 30 else 0, boot=60)
    run(60, 8, a=steady, b=rare)
    assert steady.started + rare.started <= 8 + 2 * 60 / 2


def test_what_one_does_not_use_the_other_gets_and_back() -> None:
    first = Resource(lambda at: 6 if at < 900 else 0)
    second = Resource(lambda at: 0 if at < 600 else 6)
    run(40, 6, a=first, b=second)
    assert first.counts[600 // PERIOD - 1] == 6
    assert second.counts[600 // PERIOD + 2] >= 1
    assert (first.counts[-1], second.counts[-1]) == (0, 6)
    assert second.counts[1200 // PERIOD] == 6


@pytest.mark.parametrize(("room", "fits"), [(3, False), (4, False), (5, True), (6, True)])
def test_a_batch_job_that_does_not_fit_beside_another_moves_no_node_of_it(room: int, fits: bool) -> None:
    steady = Resource(lambda _: 3)
    batch = Resource(lambda at: 4 if at >= 300 else 0, machines=4)
    run(30, room, a=steady, b=batch)
    assert batch.counts[-1] == (4 if fits else 0)
    assert steady.counts[-1] == (room - 4 if fits else 3)
    assert steady.started <= 3
