"""What a test broke in the shared cluster is mended after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deployment.minicluster.cluster import MiniCluster


@pytest.fixture
def cluster(shared_cluster: MiniCluster) -> Iterator[MiniCluster]:
    yield shared_cluster
    shared_cluster.slurm.heal()
    for host in (shared_cluster.login, *shared_cluster.hosts):
        host.thaw()
        host.accept_user_key()
    shared_cluster.start()
