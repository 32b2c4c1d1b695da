"""The whole stack on the services of production: PostgreSQL and Redis, and a broker that goes away under load."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psycopg
import pytest
import redis

from tests import services
from tests.acceptance.stack import running_rrm

pytestmark = [pytest.mark.acceptance, pytest.mark.postgres, pytest.mark.redis]


@pytest.fixture
def database(postgres_url: str) -> str:
    """A database of its own on the server."""
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute("CREATE DATABASE acceptance")
    return postgres_url.replace("/postgres?", "/acceptance?")


def test_a_job_is_rendered_with_postgresql_and_redis(folder: Path, database: str, redis_url: str) -> None:
    with running_rrm(folder, DATABASE_URL=database, REDIS_URL=redis_url) as own, own.client() as client:
        job = client.submit(model="burst", width=2048, height=2048, outputs=["png", "counts"])
        client.finished(job)

        (folder / "counts.npy").write_bytes(client.content(f"job/{job}/counts.npy"))
        counts = np.load(folder / "counts.npy")
        assert int(counts.sum()) == 200_817_516
        assert {process.role for process in own.processes()} == {"", "web", "worker", "sites", "beat", "node"}
        assert own.manage("check_farm").returncode == 0
        with psycopg.connect(database) as rows:
            assert rows.execute("SELECT count(*) FROM farm_job WHERE state = 'COMPLETED'").fetchone() == (1,)


def test_without_its_broker_everything_goes_on_at_the_pace_of_the_loops(folder: Path) -> None:
    often = {"RRM_AUTOSCALE_SECONDS": "1", "RRM_RECONCILE_SECONDS": "1"}
    with ExitStack() as broker:
        url = broker.enter_context(services.redis())
        with running_rrm(folder, REDIS_URL=url, **often) as own, own.client() as client:
            before = client.submit(model="valley", width=2048, height=2048)
            client.until(lambda: client.job(before), lambda body: body["state"] != "QUEUED")
            broker.close()

            client.finished(before)
            client.finished(client.submit(model="burst", width=512, height=512))
            client.call("PATCH", "resource/mandelbrot/", json={"min_nodes": 2, "max_nodes": 2})
            client.until(lambda: [node["state"] for node in client.live_nodes()], lambda states: len(states) == 2)
            client.until(lambda: [node["state"] for node in client.live_nodes()], lambda states: states == ["IDLE"] * 2)
            assert own.manage("check_farm").returncode == 0


def test_a_node_renders_on_while_the_broker_forgets_everything(folder: Path, redis_url: str) -> None:
    with running_rrm(folder, REDIS_URL=redis_url) as own, own.client() as client:
        job = client.submit(model="valley", width=4096, height=4096)
        client.until(lambda: client.job(job), lambda body: body["progress"]["done"] > 0)
        redis.Redis.from_url(redis_url).flushall()

        client.finished(job)
        assert own.manage("check_farm").returncode == 0
