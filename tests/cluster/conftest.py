"""What a test broke in the shared cluster is mended after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deployment.minicluster.cluster import MiniCluster
from rrm.launchers.connection import Connection
from rrm.launchers.slurm import SlurmLauncher
from tests.cluster.slurm_nodes import end_all, launcher_on
from tests.hosts import target_of


@pytest.fixture
def cluster(shared_cluster: MiniCluster) -> Iterator[MiniCluster]:
    yield shared_cluster
    shared_cluster.slurm.heal()
    for host in (shared_cluster.login, *shared_cluster.hosts):
        host.thaw()
        host.accept_user_key()
    shared_cluster.start()


@pytest.fixture
def launcher(cluster: MiniCluster) -> Iterator[SlurmLauncher]:
    made = launcher_on(Connection(target_of(cluster.login)))
    yield made
    end_all(made)
