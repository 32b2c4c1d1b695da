"""The real service as a user starts it: `manage.py run` on a free port and a folder of its own, and a client of it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.acceptance.living import Process, processes, wait_until_gone
from tests.services import free_port

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "/rendering-resource-manager/v2/"
START_SECONDS = 120.0
STOP_SECONDS = 40.0  # it gives its processes seven, and kills what is left
FINAL = {"COMPLETED", "FAILED", "CANCELLED"}
_POLL_SECONDS = 0.05


class Failed(AssertionError):
    """The service did not do what it must; the text says what, and where to look."""


class Stack:
    """One copy of the service. `start` and `stop` may be repeated: the folder and the port stay."""

    def __init__(self, data: Path, environment: Mapping[str, str]) -> None:
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.ready_seconds = 0.0
        self.stop_seconds = 0.0
        self._output = data.with_name(data.name + ".out")
        self._environment = _environment(data, self.port, environment)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until /readyz says yes."""
        began = time.monotonic()
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "manage.py", "run", "--no-demo"],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that Ctrl-C can be imitated: a signal to the whole group
            )
        while not self.is_ready():
            if self._process.poll() is not None:
                raise Failed(f"it ended with {self._process.returncode} before it was ready:\n{self.output()}")
            if time.monotonic() - began > START_SECONDS:
                raise Failed(f"not ready after {START_SECONDS:.0f} s:\n{self.output()}")
            time.sleep(_POLL_SECONDS)
        self.ready_seconds = time.monotonic() - began

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to stop, and insist that everything it caused is gone in time."""
        if self._process is None:
            return
        began = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
        left = self._wait_for_end(STOP_SECONDS)
        self.stop_seconds = time.monotonic() - began
        if left:
            self.kill_everything()
            raise Failed(f"{STOP_SECONDS:.0f} s after {number.name} there are still {left}\n{self.output()}")
        self._process = None

    def _wait_for_end(self, seconds: float) -> list[Process]:
        end = time.monotonic() + seconds
        while self._process is not None and self._process.poll() is None and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)
        return wait_until_gone(self.data, max(0.0, end - time.monotonic()))

    def restart(self) -> None:
        """Stop in order and start again."""
        self.stop()
        self.start()

    def kill_everything(self) -> list[Process]:
        """SIGKILL every process of the folder at once, the supervisor first; those that were hit."""
        hit = sorted(processes(self.data), key=lambda process: process.role != "")
        for process in hit:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait(STOP_SECONDS)
        return hit

    def wait_for_supervisor(self) -> None:
        """Collect the supervisor after it was killed."""
        if self._process is not None:
            self._process.wait(STOP_SECONDS)

    @property
    def supervisor(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=10.0, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def processes(self, role: str | None = None) -> list[Process]:
        return processes(self.data, role)

    def output(self) -> str:
        """What the supervisor has said."""
        return self._output.read_text(errors="replace") if self._output.exists() else ""

    def secret(self, name: str) -> str:
        """The content of a file like operator.token."""
        return (self.data / name).read_text().strip()

    def client(self) -> Client:
        """A client with the operator's token."""
        return Client(self.url, self.secret("operator.token"))

    def manage(self, *arguments: str, timeout: float = 240.0) -> subprocess.CompletedProcess[str]:
        """Run a management command on the folder."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


class Client:
    """REST calls that raise unless they succeed. Requests that found nobody are repeated: restarts are no failures."""

    def __init__(self, url: str, token: str) -> None:
        self.http = httpx.Client(
            base_url=url + PREFIX,
            headers={"Authorization": f"Bearer {token}"},
            timeout=60.0,
            trust_env=False,
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.http.close()

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The answer to one request; not for what must not happen twice. Raises Failed for an error."""
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                response = self.http.request(method, path, **options)
            except httpx.TransportError:
                if time.monotonic() > end:
                    raise
                time.sleep(_POLL_SECONDS)
                continue
            if response.is_error:
                raise Failed(f"{method} {path}: {response.status_code} {response.text[:2000]}")
            return response

    def get(self, path: str, **options: Any) -> Any:
        return self.call("GET", path, **options).json()

    def content(self, path: str) -> bytes:
        return self.call("GET", path).content

    def submit(self, **order: Any) -> str:
        """Order a job; its id. The key makes a repeated request harmless."""
        key = {"Idempotency-Key": os.urandom(8).hex()}
        return str(self.call("POST", "job/", json=order, headers=key).json()["id"])

    def job(self, job: str) -> dict[str, Any]:
        body: dict[str, Any] = self.get(f"job/{job}/")
        return body

    def act(self, job: str, action: str) -> dict[str, Any]:
        """cancel, pause, resume or retry."""
        body: dict[str, Any] = self.call("POST", f"job/{job}/{action}").json()
        return body

    def finished(self, job: str, seconds: float = 150.0) -> dict[str, Any]:
        """The job's body once it is COMPLETED. Raises Failed when it ends otherwise, or does not end."""
        body: dict[str, Any] = self.until(lambda: self.job(job), lambda found: found["state"] in FINAL, seconds)
        if body["state"] != "COMPLETED":
            raise Failed(f"job {job} is {body['state']}: {body['reason']}")
        return body

    def until(
        self, look: Callable[[], Any], holds: Callable[[Any], bool], seconds: float = 90.0, *, most: float = 0.2
    ) -> Any:
        """What `look` sees, each `most` seconds at least, once `holds` accepts it. Raises Failed when it never does."""
        began = time.monotonic()
        while not holds(seen := look()):
            if (waited := time.monotonic() - began) > seconds:
                raise Failed(f"this did not change for {seconds:.0f} s: {str(seen)[:2000]}")
            time.sleep(pause(waited, most))
        return seen

    def live_nodes(self) -> list[dict[str, Any]]:
        """Nodes that were not seen to their end."""
        nodes: list[dict[str, Any]] = self.get("node/?page_size=1000")["results"]
        return [node for node in nodes if node["state"] not in ("STOPPED", "FAILED")]


def pause(waited: float, most: float = 0.2) -> float:
    """Seconds until the next look: a part of what has passed, for each look is work for both sides."""
    return min(most, max(0.02, waited / 20))


@contextmanager
def running_rrm(folder: Path, **environment: str) -> Iterator[Stack]:
    """A started copy with its data in `folder`/var. Afterwards it is stopped, and nothing of it may be left."""
    stack = Stack(folder / "var", environment)
    try:
        stack.start()
        yield stack
    except BaseException:
        stack.kill_everything()
        wait_until_gone(stack.data, STOP_SECONDS)
        raise
    stack.stop()


def _environment(data: Path, port: int, extra: Mapping[str, str]) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("RRM_")}
    # Without kept byte code each process would compile Django and everything else once more.
    for name in ("DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE", "PYTHONDONTWRITEBYTECODE"):
        own.pop(name, None)
    data.parent.mkdir(parents=True, exist_ok=True)
    return {**own, "RRM_DATA": str(data), "RRM_PORT": str(port), "PYTHONUNBUFFERED": "1", **extra}
