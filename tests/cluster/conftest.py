"""What a test broke in the shared cluster is mended after it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from deployment.minicluster.cluster import MiniCluster
from rrm.launchers.base import Handle
from rrm.launchers.connection import Connection
from rrm.launchers.slurm import SlurmLauncher
from tests.cluster.slurm_nodes import WORKS, end_all, launcher_on, spec
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


@pytest.fixture(scope="session")
def out_of_time(shared_cluster: MiniCluster) -> Iterator[tuple[SlurmLauncher, list[Handle]]]:
    """Nodes whose jobs have the shortest time limit there is: while it passes, other tests run."""
    made = launcher_on(Connection(target_of(shared_cluster.login, installation="timed")))
    there: dict[str, Any] = {"time_limit": timedelta(minutes=1), "extra_directives": ("--nodelist=mini-n1",)}
    stubborn = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WORKS}"
    yield made, [made.launch(spec(program, **there)) for program in (WORKS, stubborn)]
    end_all(made)
