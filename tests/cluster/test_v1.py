"""A program written for the first RRM schedules renderers at a real Slurm cluster."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from deployment.minicluster.cluster import MiniCluster
from tests.acceptance.test_v1 import FirstRrm
from tests.cluster.sites import register, service

pytestmark = pytest.mark.acceptance

PAGES = {
    "id": "Pages",
    "command_line": "/bin/sh -c 'echo job $1 >&2; exec python3 -m http.server --directory /etc $2' sh",
    "environment_variables": "",
    "modules": "",
    "process_rest_parameters_format": "",
    "scheduler_rest_parameters_format": "${job_id} ${rest_port}",
    "project": "proj3",
    "queue": "batch",
    "exclusive": False,
    "nb_nodes": 1,
    "nb_cpus": 1,
    "nb_gpus": 0,
    "graceful_exit": True,
    "wait_until_running": True,
    "name": "Pages",
    "description": "",
}


@pytest.fixture(scope="module")
def program(shared_cluster: MiniCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FirstRrm]:
    with service(tmp_path_factory.mktemp("v1")) as (stack, client):
        slurm = {"kind": "slurm", "connection": "tunnel", "gateway": "127.0.0.1", "max_nodes": 4}
        register(stack, client, "slurm", shared_cluster.login, **slurm)
        first = FirstRrm(stack.url)
        with first.http:
            assert first.call("POST", "config/", **PAGES).status_code == 201
            yield first


@pytest.fixture
def session(program: FirstRrm, cluster: MiniCluster) -> Iterator[str]:
    program.session = ""
    answer = program.call("POST", "session/", owner="me", configuration_id="Pages")
    program.session = answer.json()["session_id"]
    yield program.session
    program.call("DELETE", "session/")


def record_of(program: FirstRrm) -> dict[str, str]:
    """What the scheduler says of the session's job."""
    text = program.call("GET", "session/job").json()["contents"]
    return dict(re.findall(r"(\w+)=(\S*)", text))


def test_a_job_is_scheduled_with_the_requests_options_used_and_ended(
    program: FirstRrm, session: str, cluster: MiniCluster
) -> None:
    wish: dict[str, Any] = {"memory": 300, "nb_cpus": 0, "allocation_time": "0:07:00", "exclusive": False}
    answer = program.call("PUT", "session/schedule", params="", environment="A=1,B=2", queue="", **wish)
    assert (answer.status_code, answer.json()) == (200, {"message": "pages successfully started"})
    program.until(5, 150)
    seen = record_of(program)
    assert (seen["TimeLimit"], seen["Partition"], seen["JobState"]) == ("00:07:00", "batch", "RUNNING")
    assert seen["MinMemoryNode"] == "300M"
    assert seen["Account"] in ("proj3", "(null)")
    page = program.call("GET", "session/os-release")
    assert page.status_code == 200
    assert "NAME=" in page.text
    assert f"job {seen['JobId']}\n" in program.call("GET", "session/err").json()["contents"]
    assert program.call("DELETE", "session/").status_code == 200
    end = time.monotonic() + 120
    while cluster.slurm.ask("squeue", "--noheader", "--jobs", seen["JobId"]).strip() and time.monotonic() < end:
        time.sleep(0.5)
    assert not cluster.slurm.ask("squeue", "--noheader", "--jobs", seen["JobId"]).strip()


def test_a_refusal_is_told_in_the_schedulers_words_and_may_be_tried_again(program: FirstRrm, session: str) -> None:
    answer = program.call("PUT", "session/schedule", queue="nosuch")
    assert answer.status_code == 400, answer.text
    assert "partition" in answer.json()["contents"].lower()
    assert program.call("GET", "session/status").json()["code"] == 7
    assert program.call("PUT", "session/schedule", nb_cpus=1).status_code == 200
    program.until(5, 150)


def test_a_job_cancelled_by_an_administrator_is_told_once(
    program: FirstRrm, session: str, cluster: MiniCluster
) -> None:
    assert program.call("PUT", "session/schedule").status_code == 200
    program.until(5, 150)
    cluster.slurm.ask("scancel", record_of(program)["JobId"])
    end = time.monotonic() + 90
    while (answer := program.call("GET", "session/status")).status_code == 200 and time.monotonic() < end:
        time.sleep(0.2)
    assert answer.status_code == 404
    assert (answer.json()["code"], answer.json()["description"]) == (0, "Job has been cancelled")
    assert program.call("GET", "session/status").json() == {"contents": "Session does not exist"}
