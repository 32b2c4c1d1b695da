"""One running copy of the service for all ordinary acceptance tests, and a finished job that several of them read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.stack import Client, Stack, running_rrm


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The service with its loops ticking each second, so that what they do is seen soon."""
    folder = tmp_path_factory.mktemp("stack")
    with running_rrm(folder, RRM_AUTOSCALE_SECONDS="1", RRM_RECONCILE_SECONDS="1") as running:
        yield running


@pytest.fixture(scope="session")
def client(stack: Stack) -> Iterator[Client]:
    with stack.client() as operator:
        yield operator


@pytest.fixture(scope="session")
def burst(client: Client) -> dict[str, Any]:
    """The body of a completed burst job."""
    order = {"width": 2048, "height": 2048, "outputs": ["png", "counts"], "coloring": {"palette": "fire"}}
    return client.finished(client.submit(name="burst", model="burst", **order))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a test may run a copy of its own."""
    return tmp_path / "copy"
