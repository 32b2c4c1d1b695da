"""What policies are told of a farm without a look at all its nodes is what a look at all would find."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rrm.domain.facts import Holders, JobFacts, NodeFacts
from rrm.simulate.dispatch import EPOCH, StreakBound
from rrm.simulate.engine import Simulation
from rrm.simulate.farm import RESOURCE, Farm, FarmHolders, HeldBy, Job, Node
from rrm.simulate.workload import Workload


def looked_at(farm: Farm) -> Holders:
    return Holders.of(
        NodeFacts(node.id, RESOURCE, node.site, node.models, busy_seconds=_busy(node, farm.now))
        for node in farm.nodes.values()
    )


def _busy(node: Node, now: float) -> float:
    return 0.0 if node.is_idle else max(0.0, node.free_at - now)


@pytest.mark.parametrize("nodes", [{"here": 6}, {"here": 3, "there": 3}])
def test_holders_are_those_that_a_look_at_all_nodes_finds(nodes: dict[str, int]) -> None:
    workload = Workload(rho=0.8, jobs=150, nodes=nodes, models=12, node_mtbf=2000.0)
    compared = 0

    def watch(at: float, node: Node, job: Job, warm: bool) -> None:
        nonlocal compared
        farm = simulation.farm
        told, all_of_them = FarmHolders(HeldBy(farm), farm=farm), looked_at(farm)
        asked = JobFacts("x", RESOURCE, job.model, "ada", "normal", EPOCH, 1.0)
        for sites in (None, frozenset({"there"})):
            here = replace(asked, sites=sites)
            assert told.among(here) == pytest.approx(all_of_them.among(here))
            compared += told.among(here)[0] > 1

    simulation = Simulation(workload.scenario(1), StreakBound(), watch=watch)
    simulation.run()
    assert compared
