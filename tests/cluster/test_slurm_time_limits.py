"""Nodes that reach their time limit: their jobs are those of `test_slurm_ends`, a minute and some tests later."""

from __future__ import annotations

import pytest

from rrm.launchers.base import Handle, Liveness
from rrm.launchers.slurm import SlurmLauncher
from tests.cluster.slurm_nodes import comes_to


@pytest.mark.timeout(400)
def test_a_node_that_reaches_its_time_limit_was_told_and_says_so(
    out_of_time: tuple[SlurmLauncher, list[Handle]],
) -> None:
    launcher, (told, stubborn) = out_of_time
    assert "its time limit was near" in comes_to(launcher, told, Liveness.GONE, 180).reason
    assert "reached its time limit" in comes_to(launcher, stubborn, Liveness.GONE, 180).reason
