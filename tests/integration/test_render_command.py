"""`manage.py render` against a manager that listens: pictures are saved, and whatever goes wrong is said."""

from __future__ import annotations

import contextlib
import io
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connections
from PIL import Image

from rrm.asgi import application
from rrm.client import Client
from rrm.domain.states import JobState
from rrm.farm import catalog, composing, demo, jobs
from rrm.farm.models import Job, Site
from tests.integration.farm.conftest import Farm

VIEW = '{"center": [-0.5, 0], "radius": 1.25, "max_iter": 64}'
MODELS: dict[str, dict[str, Any]] = {
    "valley": {"viewport": [-0.745, -0.735, 0.105, 0.115], "max_iter": 2000},
    "burst": {"viewport": [-2.5, 1, -1.25, 1.25], "max_iter": 256, "fit": "stretch"},
    "rows": {"viewport": ["-0.0655945", "0.0600945", "0.741986625", "0.836253375"], "max_iter": 800},
}


@pytest.fixture
def farm(transactional_db: None) -> Farm:
    demo.ensure_operator(settings.RRM.data_dir)
    return Farm()


@pytest.fixture
def manager(farm: Farm) -> Iterator[str]:
    """The address of a manager in this process."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(application, lifespan="off", log_config=None, timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def worker(farm: Farm) -> Iterator[None]:
    """A node that renders whatever comes, and the composing that follows."""
    done = threading.Event()

    def work() -> None:
        node = farm.node()
        while not done.wait(0.05):
            farm.work_off(node)
            for job in Job.objects.filter(state=JobState.COMPOSING):
                composing.compose_job(job.pk)
        connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    yield
    done.set()
    thread.join()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def render(manager: str, *args: object, out: io.StringIO | None = None) -> str:
    out = out or io.StringIO()
    token = settings.RRM.data_dir / "operator.token"
    call_command("render", *map(str, args), f"--url={manager}", f"--token-file={token}", stdout=out, no_color=True)
    return out.getvalue()


def refused(manager: str, *args: object) -> CommandError:
    with pytest.raises(CommandError) as caught:
        render(manager, *args)
    return caught.value


def eventually(found: Callable[[], Any], seconds: float = 60) -> Any:
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        if result := found():
            return result
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def test_a_picture_and_its_counts_are_rendered_and_saved(manager: str, worker: None, tmp_path: Path) -> None:
    picture, counts = tmp_path / "set.png", tmp_path / "set.npy"

    said = render(manager, "--params", VIEW, "--size=64x48", "--tile=16", "-o", picture, "--counts", counts)

    with Image.open(picture) as image:
        assert image.size == (64, 48)
    array = np.load(counts)
    assert (array.shape, array.dtype, int(array.max())) == ((48, 64), np.uint32, 64)
    assert sorted(tmp_path.iterdir()) == [counts, picture]
    assert said.splitlines()[0].endswith("is submitted.")
    assert "completed 100 %, 12/12 tiles" in said
    assert said.splitlines()[-1].startswith(f"Saved {counts}")


def test_a_terminal_gets_a_bar(manager: str, worker: None, tmp_path: Path) -> None:
    said = render(manager, "--params", VIEW, "--size=32x32", "--tile=16", "-o", tmp_path / "a.png", out=Terminal())

    assert "\r\x1b[K[##############################] completed 100 %, 4/4 tiles" in said


@pytest.mark.parametrize(
    ("model", "size", "coloring"),
    [
        ("valley", (4096, 4096), {}),
        ("burst", (2048, 2048), {"palette": "electric"}),
        ("rows", (8192, 6144), {"palette": "Hippi", "offset": 800 / 6000, "scale": -256 / 6000}),
    ],
)
def test_historic_views_have_their_own_size_and_colours(
    manager: str, tmp_path: Path, model: str, size: tuple[int, int], coloring: dict[str, Any]
) -> None:
    catalog.render_model("mandelbrot", MODELS[model], model)
    failure: list[CommandError] = []
    run = threading.Thread(target=lambda: failure.append(refused(manager, model, "-o", tmp_path / "a.png")))

    run.start()
    job = eventually(Job.objects.first)
    jobs.cancel(job, "somebody else")
    run.join()

    assert (job.width, job.height, job.coloring, job.tile_size) == (*size, coloring, 256)
    assert failure[0].returncode == 4
    assert str(failure[0]) == f"Job {job.pk} is CANCELLED: Cancelled by somebody else"
    assert list(tmp_path.iterdir()) == []


def test_every_option_reaches_the_job(manager: str, farm: Farm, worker: None, tmp_path: Path) -> None:
    (tmp_path / "view.json").write_text(VIEW)
    Site.objects.update(capabilities=["gpu", "mpi"])
    wanted = ["--size=32X32", "--tile=16", "--palette=fire", "--method=bands", "--offset=0.5", "--scale=-2"]
    wanted += ["--interior=#102030", "--outputs=png,counts", "--priority=high", "--sites=here", "--policy=split"]
    wanted += ["--name=All", "--resource=mandelbrot", "--supersample=2", "--adaptive", "--requires=mpi,gpu"]
    wanted += [f"--smooth={tmp_path / 's.npy'}"]

    render(manager, f"--params=@{tmp_path / 'view.json'}", *wanted)

    job = Job.objects.get()
    chosen = {"palette": "fire", "method": "bands", "offset": 0.5, "scale": -2.0, "interior": "#102030"}
    assert (job.name, job.coloring, job.priority) == ("All", chosen, "high")
    assert (job.supersample, job.adaptive, job.requires) == (2, True, ["gpu", "mpi"])
    assert (job.outputs, job.site_policy, job.site_ids) == (["png", "counts", "smooth"], "split", ["here"])
    assert np.load(tmp_path / "s.npy").dtype == np.float32


def test_every_bad_field_is_named(manager: str, tmp_path: Path) -> None:
    error = refused(manager, "nowhere", "--size=0x64", "--tile=7", "-o", tmp_path / "a.png")

    lines = str(error).splitlines()
    assert error.returncode == 1
    assert lines[0].startswith("The manager refused: ")
    assert [line.partition(":")[0] for line in lines[1:]] == ["  width", "  tile_size"]


def test_an_unknown_token_is_refused(manager: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("rrm_unknown")
    where = [f"--url={manager}", f"--token-file={tmp_path / 'token'}"]

    with pytest.raises(CommandError, match="The manager refused: ") as caught:
        call_command("render", "valley", "-o", tmp_path / "a.png", *where)

    assert caught.value.returncode == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["valley"], "Say where to save"),
        (["valley", "-o", "no/such/folder/a.png"], "there is no such folder"),
        (["valley", "-o", "."], "there is no such folder"),
        (["-o", "a.png"], "Give either a model or --params"),
        (["valley", "--params={}", "-o", "a.png"], "Give either a model or --params"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_submitted(
    manager: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)

    error = refused(manager, *args)

    assert message in str(error)
    assert error.returncode == 1
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--size=big", "is not a size like"),
        ("--params={", "not JSON"),
        ('--params={"radius": NaN}', "NaN is not a JSON number"),
        ("--params=@gone.json", "cannot read"),
        ("--scale=nan", "'nan' is not a number"),
        ("--offset=far", "'far' is not a number"),
    ],
)
def test_options_that_cannot_be_read_are_named(option: str, message: str) -> None:
    with pytest.raises(CommandError, match=message):
        call_command("render", "-o", "a.png", option)


def test_a_token_is_not_sent_to_another_manager_by_default() -> None:
    with pytest.raises(CommandError, match="--url needs --token-file"):
        call_command("render", "valley", "-o", "a.png", "--url=http://elsewhere.example")


def test_an_address_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="--url must be an address"):
        call_command("render", "valley", "-o", tmp_path / "a.png", "--url=localhost:9000")


def test_a_manager_that_does_not_answer_is_said_to_be_so(farm: Farm, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"http://127.0.0.1:{free.getsockname()[1]}"

    error = refused(address, "valley", "-o", tmp_path / "a.png")

    assert error.returncode == 3
    assert "does not answer" in str(error)


def test_ctrl_c_cancels_the_job_and_says_so(manager: str, tmp_path: Path) -> None:
    token = settings.RRM.data_dir / "operator.token"
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "render", "--params", VIEW, "--size=64x64"]
    command += ["-o", str(tmp_path / "a.png"), f"--url={manager}", f"--token-file={token}"]

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert "is submitted" in run.stdout.readline()
        assert "queued" in run.stdout.readline()
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate(timeout=60)

    job = Job.objects.get()
    assert run.returncode == 130
    assert f"Interrupted. Job {job.pk} is cancelled." in errors
    assert "Traceback" not in errors
    assert job.state == JobState.CANCELLED
    assert list(tmp_path.iterdir()) == []


def cut(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes until somebody asks for a stream."""
    with source, target, contextlib.suppress(OSError):
        while (data := source.recv(65536)) and b"/events HTTP" not in data:
            target.sendall(data)


@pytest.fixture
def without_streams(manager: str) -> Iterator[str]:
    """The address of a go-between that cuts every event stream."""
    upstream = ("127.0.0.1", int(manager.rpartition(":")[2]))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, far = listener.accept()[0], socket.create_connection(upstream)
                threading.Thread(target=cut, args=(near, far), daemon=True).start()
                threading.Thread(target=cut, args=(far, near), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def test_a_job_is_followed_to_its_end_without_a_stream(without_streams: str, worker: None, tmp_path: Path) -> None:
    said = render(without_streams, "--params", VIEW, "--size=64x64", "--tile=16", "-o", tmp_path / "a.png")

    assert "completed 100 %, 16/16 tiles" in said
    assert (tmp_path / "a.png").is_file()


def test_a_file_of_an_earlier_run_stays_until_the_new_one_is_whole(manager: str, worker: None, tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    target.write_text("earlier")

    error = refused(manager, "--params", '{"center": [0, 0], "radius": -1}', "-o", target)
    assert error.returncode == 1
    assert target.read_text() == "earlier"

    render(manager, "--params", VIEW, "--size=32x32", "--tile=16", "-o", target)
    assert target.read_bytes() == jobs.files(Job.objects.get()).image.read_bytes()


@pytest.mark.usefixtures("worker")
def test_the_client_has_a_finished_job_painted_anew(farm: Farm, manager: str, tmp_path: Path) -> None:
    token = (settings.RRM.data_dir / "operator.token").read_text().strip()
    with Client(manager, token) as client:
        params = {"center": [-0.5, 0], "radius": 1.25, "max_iter": 64}
        first = client.submit({"params": params, "width": 64, "height": 64, "outputs": ["png", "smooth"]})
        assert [*client.follow(first["id"])][-1].is_final
        second = client.recolor(first["id"], {"palette": "viridis"})
        assert [*client.follow(second["id"])][-1].is_final
        client.save(second["id"], "png", tmp_path / "new.png")
    with Image.open(tmp_path / "new.png") as picture:
        assert picture.size == (64, 64)
    assert second["id"] != first["id"]
