"""Loaded models that one node leaves with the manager and another fetches, by the nodes' own client over HTTP."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from renderers import models as module
from renderers.client import ManagerClient, ManagerError
from renderers.lease import Lease, parse_lease
from renderers.mandelbrot.deep import model as deep
from renderers.mandelbrot.deep.model import DeepModel, DeepView
from renderers.mandelbrot.deep.storage import OrbitFolder
from renderers.models import HeldModels
from rrm.farm import nodes, tokens
from rrm.farm.models import Node
from tests.integration.farm.conftest import Farm

pytestmark = pytest.mark.django_db(transaction=True)
VIEW = {"center": ["0", "1.00000000000000000000000000000001"], "radius": "1e-60", "max_iter": 3000}


@pytest.fixture(autouse=True)
def every_orbit_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORTH_ASKING", 0.0)
    monkeypatch.setattr(module, "WORTH_KEEPING", 0.0)


class Worker:
    """A node's side: its client, its own folder, and what it holds."""

    def __init__(self, farm: Farm, url: str, folder: Path) -> None:
        self.row = farm.node()
        secret, digest = tokens.new_node_secret()
        Node.objects.filter(pk=self.row.pk).update(token_digest=digest)
        self.client = ManagerClient(url, secret)
        self.orbits = OrbitFolder(folder, 1 << 30)
        self.folder = folder
        self.models = HeldModels(folder=self.orbits)
        self.models.depot = self.client

    def work(self, farm: Farm) -> Lease:
        self.row.refresh_from_db()
        return parse_lease(farm.lease(self.row))

    def load(self, lease: Lease) -> DeepModel:
        assert lease.reference is not None
        assert isinstance(lease.view, DeepView)
        return self.models.load(lease.reference, lease.view)


@pytest.fixture
def workers(farm: Farm, live_server: Any, tmp_path: Path, settings: Any) -> Iterator[tuple[Worker, Worker]]:
    shutil.rmtree(settings.RRM.data_dir / "models", ignore_errors=True)
    farm.submit(params=VIEW, tile_size=16, width=256, height=256)
    pair = tuple(Worker(farm, live_server.url, tmp_path / name) for name in ("first", "second"))
    yield pair  # type: ignore[misc]
    for worker in pair:
        worker.client.close()


def left(settings: Any, digest: str) -> Path:
    return Path(settings.RRM.data_dir / "models" / digest)


def left_in_time(settings: Any, digest: str) -> bytes:
    """What was left, which happens beside the load."""
    for _ in range(3000):
        if left(settings, digest).exists():
            break
        time.sleep(0.02)
    return left(settings, digest).read_bytes()


def test_what_one_node_computed_the_next_fetches(
    farm: Farm, workers: tuple[Worker, Worker], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = workers
    lease = first.work(farm)
    computed = first.load(lease)
    left_in_time(settings, lease.digest)

    monkeypatch.delattr(deep, "reference_orbit")
    fetched = second.load(second.work(farm))
    assert fetched.orbit.twice.tobytes() == computed.orbit.twice.tobytes()
    assert fetched.orbit.tiny.tobytes() == computed.orbit.tiny.tobytes()


@pytest.mark.parametrize("damage", [b"", b"RRMO", b"x" * 100])
def test_a_damaged_file_is_not_used_and_the_orbit_is_computed(
    farm: Farm, workers: tuple[Worker, Worker], settings: Any, damage: bytes
) -> None:
    first, second = workers
    lease = first.work(farm)
    whole = first.load(lease)
    left_in_time(settings, lease.digest)
    left(settings, lease.digest).write_bytes(damage)
    assert second.load(second.work(farm)).orbit.twice.tobytes() == whole.orbit.twice.tobytes()


def test_the_file_of_another_model_is_not_used(farm: Farm, workers: tuple[Worker, Worker], settings: Any) -> None:
    first, second = workers
    lease = first.work(farm)
    whole = first.load(lease)
    assert lease.reference is not None
    left_in_time(settings, lease.digest)
    other = replace(lease.reference, digest="0" * 64, max_iter=50)
    second.orbits.put(other, other.orbit())
    left(settings, lease.digest).write_bytes(second.orbits.path(other).read_bytes())
    assert second.load(second.work(farm)).orbit.twice.tobytes() == whole.orbit.twice.tobytes()


def test_only_a_node_at_work_on_a_model_may_leave_it(
    farm: Farm, workers: tuple[Worker, Worker], settings: Any, tmp_path: Path
) -> None:
    stranger, _ = workers
    file = tmp_path / "file"
    file.write_bytes(b"RRMO" + hashlib.sha256(b"RRMO").digest())
    with pytest.raises(ManagerError, match="403 forbidden"):
        stranger.client.keep_model("0" * 64, file)
    lease = stranger.work(farm)
    nodes.stop(Node.objects.get(pk=stranger.row.pk), "ada")
    with pytest.raises(ManagerError):
        stranger.client.keep_model(lease.digest, file)
    assert not left(settings, lease.digest).exists()


def test_a_file_that_was_cut_is_refused_and_the_first_whole_one_stays(
    farm: Farm, workers: tuple[Worker, Worker], settings: Any, tmp_path: Path
) -> None:
    node, _ = workers
    lease = node.work(farm)
    file = tmp_path / "file"
    for content in (b"", b"RRMO" * 100, b"x" * 31):
        file.write_bytes(content)
        with pytest.raises(ManagerError, match="422 bad-bundle"):
            node.client.keep_model(lease.digest, file)
        assert not list(left(settings, lease.digest).parent.iterdir())
    for content in (os.urandom(3_000_000), b"later"):
        file.write_bytes(content + hashlib.sha256(content).digest())
        node.client.keep_model(lease.digest, file)
    assert left(settings, lease.digest).stat().st_size == 3_000_032
    assert len(b"".join(node.client.fetch_model(lease.digest))) == 3_000_032


def test_the_models_unused_for_longest_make_room(
    farm: Farm, workers: tuple[Worker, Worker], settings: Any, tmp_path: Path
) -> None:
    settings.RRM = replace(settings.RRM, model_cache_bytes=250)
    node, _ = workers
    lease = node.work(farm)
    folder = left(settings, lease.digest).parent
    folder.mkdir(parents=True, exist_ok=True)
    for age, name in enumerate("abc"):
        (folder / (name * 64)).write_bytes(b"x" * 100)
        os.utime(folder / (name * 64), (1000 - age, 1000 - age))
    file = tmp_path / "file"
    file.write_bytes(b"x" * 68 + hashlib.sha256(b"x" * 68).digest())
    node.client.keep_model(lease.digest, file)
    assert {path.name for path in folder.iterdir()} == {"a" * 64, lease.digest}
