"""One real Slurm cluster with SSH hosts for the whole run."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployment.minicluster.cluster import MiniCluster, running_cluster
from deployment.minicluster.daemons import CannotStart
from deployment.minicluster.slurm import Timing
from tests.hosts import forget_folders

_TIMING = Timing(min_job_age=8, kill_wait=2, slurmd_timeout=6)


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[MiniCluster]:
    """Skips the test where there is no Slurm; with CI=true it fails."""
    folder = Path(tempfile.mkdtemp(prefix="rrm-cluster-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        with running_cluster(folder, timing=_TIMING) as cluster:
            yield cluster
        forget_folders(cluster.login.account)
    except CannotStart as missing:
        shutil.rmtree(folder, ignore_errors=True)
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))
