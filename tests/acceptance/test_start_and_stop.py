"""Starting, stopping and running several copies side by side."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.acceptance.stack import STOP_SECONDS, Stack, running_rrm

pytestmark = pytest.mark.acceptance
LONG = {"params": {"viewport": [-0.745, -0.735, 0.105, 0.115], "max_iter": 1_000_000}, "width": 2048, "height": 2048}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_it_is_ready_soon_and_one_signal_ends_everything(folder: Path, number: signal.Signals) -> None:
    with running_rrm(folder) as own:
        assert own.ready_seconds < 60
        with own.client() as client:
            job = client.submit(**LONG)
            client.until(lambda: client.job(job), lambda body: body["state"] == "RUNNING")
        assert {process.role for process in own.processes()} == {"", "web", "worker", "beat", "sites", "broker", "node"}
        own.stop(number)
        assert own.processes() == []
        assert own.stop_seconds < STOP_SECONDS


def test_what_was_not_finished_goes_on_after_a_restart(folder: Path) -> None:
    with running_rrm(folder) as own, own.client() as client:
        done = client.submit(model="burst", width=512, height=512)
        client.finished(done)
        token = own.secret("operator.token")
        job = client.submit(model="valley", width=4096, height=4096, outputs=["counts"])
        own.restart()
        assert own.secret("operator.token") == token
        client.finished(job)
        assert client.job(done)["state"] == "COMPLETED"
        assert own.manage("check_farm").returncode == 0


def test_copies_on_two_ports_and_folders_do_not_disturb_each_other(stack: Stack, folder: Path) -> None:
    with stack.client() as ours:
        ours.finished(ours.submit(model="burst", width=128, height=128))
        mine = {process.pid for process in stack.processes()}
        with running_rrm(folder) as other, other.client() as theirs:
            assert theirs.get("job/")["results"] == []
            both = [(ours, ours.submit(model="burst", width=512, height=512))]
            both += [(theirs, theirs.submit(model="burst", width=512, height=512))]
            results = [(client.finished(job), client.content(f"job/{job}/image.png")) for client, job in both]
            assert results[0][1] == results[1][1]
            assert theirs.http.get(f"job/{both[0][1]}/").status_code == 404
            theirs.http.headers["Authorization"] = ours.http.headers["Authorization"]
            assert theirs.http.get("job/").status_code == 401
            assert not mine & {process.pid for process in other.processes()}
        own = {process.pid for process in stack.processes() if process.leads and process.role != "node"}
        assert own <= mine, "the first copy runs on as it did"
        assert stack.is_ready()


def test_a_second_run_on_the_same_folder_is_refused(stack: Stack) -> None:
    refused = stack.manage("run")
    assert refused.returncode == 2
    assert f"http://127.0.0.1:{stack.port}/" in refused.stderr
