"""What holds of every plan, whatever is asked for and whatever is there."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from rrm.domain.autoscaling import (
    Demand,
    History,
    Limits,
    Phase,
    SiteRoom,
    SupplyNode,
    Work,
    plan,
)
from tests.unit.domain.demands import (
    NOW,
    decide,
    nodes,
    seconds,
    work,
)


def test_the_history_stays_short() -> None:
    history = History()
    for step in range(2000):
        history = decide(work(step % 7), nodes(7), history=history, now=NOW + seconds(step)).history
    assert len(history.wanted) <= 8


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 9)), min_size=1, max_size=40))
def test_the_history_knows_the_most_that_was_wanted_during_the_window(steps: list[tuple[int, int]]) -> None:
    history, now, seen = History(), NOW, list[tuple[datetime, int]]()
    for wait, want in steps:
        now += seconds(wait)
        seen.append((now, want))
        history = decide(Demand(sessions=want), nodes(9), history=history, now=now).history
        assert max(one for _, one in history.wanted) == max(one for at, one in seen if at > now - seconds(600))


sites = st.sampled_from(["a", "b", "c"])
works = st.builds(Work, st.floats(0, 1e5), st.integers(0, 500), st.none() | st.frozensets(sites, min_size=1))
demands = st.builds(Demand, st.lists(works, max_size=4).map(tuple), st.integers(0, 5), st.frozensets(sites))
supplies = st.lists(
    st.builds(
        SupplyNode,
        id=st.uuids().map(str),
        site=sites,
        phase=st.sampled_from(Phase),
        idle_since=st.none() | st.floats(0, 2000).map(lambda age: NOW - seconds(age)),
        models=st.frozensets(sites),
        pinned=st.booleans(),
        booked=st.booleans(),
    ),
    max_size=15,
)
limits_of_any_kind = st.builds(
    Limits,
    min_nodes=st.integers(0, 4),
    max_nodes=st.integers(4, 20),
    taken=st.integers(0, 2),
    sites=st.lists(
        st.builds(SiteRoom, sites, st.integers(-2, 10), st.sampled_from([1, 1, 2, 3]), st.integers(0, 3)),
        unique_by=lambda site: site.id,
    ).map(tuple),
    standby=st.integers(0, 3),
    enabled=st.booleans(),
    idle_timeout=st.none() | st.floats(0, 1000).map(seconds),
)
histories = st.builds(
    History,
    wanted=st.just(()),
    up_since=st.none() | st.floats(0, 100).map(lambda age: NOW - seconds(age)),
    launch_failures=st.integers(0, 5),
    retry_at=st.none() | st.floats(-50, 50).map(lambda age: NOW - seconds(age)),
)


@given(demand=demands, supply=supplies, limits=limits_of_any_kind, history=histories)
def test_every_plan_keeps_the_limits(
    demand: Demand, supply: list[SupplyNode], limits: Limits, history: History
) -> None:
    made = plan(demand, supply, limits, history, NOW)
    launched, by_id = Counter(made.launch), {node.id: node for node in supply}
    rooms = {site.id: site.room for site in limits.sites}
    assert all(count <= rooms[site] for site, count in launched.items())
    assert not any(launched[site.id] % site.machines for site in limits.sites)
    assert not made.launch or len(supply) + len(made.launch) <= limits.max_nodes
    assert all(by_id[id_].phase is Phase.IDLE and not by_id[id_].pinned for id_ in made.drain)
    assert len(set(made.leaving)) == len(made.leaving)
    kept = [node for node in supply if node.phase is not Phase.LEAVING and node.id not in made.leaving]
    assert len(kept) <= limits.most or all(node.booked for node in kept)
    assert not made.beyond or made.have - len(made.beyond) >= limits.most
    assert not any(by_id[id_].booked for id_, _ in made.beyond)
    assert not (made.beyond and made.launch)
    if limits.enabled:
        assert limits.min_nodes <= made.want <= limits.max_nodes
        left = made.have - len(made.drain) - len(made.beyond)
        assert not made.drain or left >= min(limits.min_nodes, limits.most - 1)
    assert made.reason.endswith(".")
    assert "\n" not in made.reason


@given(demand=demands, limits=limits_of_any_kind)
def test_steady_demand_is_reached_and_then_left_alone(demand: Demand, limits: Limits) -> None:
    limits = replace(limits, sites=tuple(replace(site, room=100) for site in limits.sites), enabled=True, taken=0)
    supply, history, now = list[SupplyNode](), History(), NOW
    for step in range(40):
        made = plan(demand, supply, limits, history, now)
        for i, site in enumerate(made.launch):
            supply.append(SupplyNode(f"{step}-{i}", site, Phase.BUSY, booked=len(supply) < demand.sessions))
        assert made.drain == ()
        history, now = made.history, now + seconds(15)
    if limits.sites:
        over = sum(site.machines - 1 for site in limits.sites)
        assert abs(made.want - len(supply)) <= 0.1 * len(supply) + over
