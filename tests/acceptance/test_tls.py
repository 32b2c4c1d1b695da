"""Sessions as they are served in production: over TLS, through nginx, to a web process started as its unit says."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shlex
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.acceptance.stack import PREFIX, ROOT, START_SECONDS, Stack, running_rrm
from tests.nginx import HOST, encrypted, running_nginx
from tests.services import free_port

pytestmark = [pytest.mark.acceptance, pytest.mark.redis]
UNIT = ROOT / "deployment" / "systemd" / "rrm-web.service"
ORIGIN = f"https://{HOST}"


class Browser:
    """What a browser does at https://HOST/, which is port `port` of this machine."""

    def __init__(self, port: int, certificate: Path) -> None:
        self.port, self.trust = port, ssl.create_default_context(cafile=str(certificate))
        self.http = httpx.Client(
            base_url=f"https://127.0.0.1:{port}",
            headers={"Host": HOST, "Origin": ORIGIN, "Referer": f"{ORIGIN}/"},
            verify=self.trust,
            timeout=60,
            trust_env=False,
        )

    def token(self) -> str:
        return next(value for name, value in self.http.cookies.items() if name.startswith("rrm-csrf"))

    def sign_in(self, password: str) -> list[str]:
        """The cookies that are set, as they are written."""
        page = self.http.get("/login/")
        assert page.status_code == 200, page.text
        form = {"username": "operator", "password": password, "csrfmiddlewaretoken": self.token()}
        answer = self.http.post("/login/", data=form)
        assert answer.status_code == 302, answer.text
        return [*page.headers.get_list("set-cookie"), *answer.headers.get_list("set-cookie")]

    def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self.http.request(method, PREFIX + path, headers={"X-CSRFToken": self.token()}, **more)

    @contextlib.contextmanager
    def socket(self, address: str, origin: str = ORIGIN) -> Iterator[ClientConnection]:
        cookies = "; ".join(f"{name}={value}" for name, value in self.http.cookies.items())
        place = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        options: dict[str, Any] = {"additional_headers": {"Cookie": cookies, "Origin": origin}, "max_size": None}
        with place, connect(address, sock=place, ssl=self.trust, **options) as opened:
            yield opened


@contextlib.contextmanager
def production_web(stack: Stack, key: str, redis_url: str) -> Iterator[int]:
    """A web process as in production, over the data of a running copy; its port."""
    port = free_port()
    started = re.sub(r"\\\n", " ", UNIT.read_text()).split("ExecStart=")[1].split("\n")[0]
    words = started.replace("--port 9000", f"--port {port}").replace("--workers 4", "--workers 1")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RRM_", "DJANGO_"))}
    environment |= {"RRM_MODE": "production", "RRM_DATA": str(stack.data), "RRM_SECRET_KEY": key}
    environment |= {"DATABASE_URL": f"sqlite:///{stack.data}/rrm.sqlite3", "REDIS_URL": redis_url}
    environment |= {"RRM_ALLOWED_HOSTS": HOST, "RRM_TRUSTED_ORIGINS": ORIGIN, "RRM_MANAGER_URL": ORIGIN}
    command = [sys.executable, "manage.py", "collectstatic", "--no-input"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    web = subprocess.Popen([sys.executable, *shlex.split(words)[1:]], cwd=ROOT, env=environment)
    try:
        end = time.monotonic() + START_SECONDS
        while not answers(port):
            assert web.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        yield port
    finally:
        web.terminate()
        web.wait(60)


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[tuple[Stack, int, int, Path]]:
    """The service, the ports for https and for http, and nginx's folder."""
    folder = tmp_path_factory.mktemp("tls")
    (folder / "nginx").mkdir()
    key, port, redirecting = secrets.token_urlsafe(48), free_port(), free_port()
    shared = {"RRM_SECRET_KEY": key, "REDIS_URL": redis_url}
    with running_rrm(folder, **shared) as stack, production_web(stack, key, redis_url) as web:
        with stack.client() as client:
            client.call("PATCH", "resource/mandelbrot/", json={"min_nodes": 1, "max_nodes": 1})
            client.until(lambda: [node["state"] for node in client.live_nodes()], lambda found: found == ["IDLE"])
        with running_nginx(folder / "nginx", encrypted(port, redirecting, web, folder / "nginx")):
            yield stack, port, redirecting, folder / "nginx"


@pytest.fixture
def browser(served: tuple[Stack, int, int, Path]) -> Iterator[Browser]:
    _, port, _, folder = served
    found = Browser(port, folder / f"{HOST}.pem")
    with found.http:
        yield found


def test_a_renderer_is_booked_watched_and_given_back_over_tls(
    served: tuple[Stack, int, int, Path], browser: Browser
) -> None:
    cookies = browser.sign_in(served[0].secret("operator.password"))
    assert {cookie.partition("=")[0].rpartition("-")[0] for cookie in cookies} == {"rrm-session", "rrm-csrf"}
    assert all("; Secure" in cookie for cookie in cookies)
    answer = browser.call("POST", "session/", json={"max_wait": 60})
    assert answer.status_code == 201, answer.text
    session = answer.json()
    with served[0].client() as client:
        client.until(lambda: client.get(f"session/{session['id']}/"), lambda seen: seen["state"] == "READY")
    assert session["url"].startswith(f"{ORIGIN}/")
    assert session["ws_url"].startswith(f"wss://{HOST}/")

    with browser.socket(session["ws_url"]) as opened:
        opened.send('{"id": 1, "width": 320, "height": 200}')
        frame = opened.recv(60)
        assert isinstance(frame, bytes)
        (length,) = struct.unpack(">I", frame[:4])
        assert frame[4 + length :].startswith(b"\xff\xd8")
    path = session["url"].removeprefix(ORIGIN)
    with browser.http.stream("GET", f"{path}stream") as stream:
        pieces = stream.iter_raw()
        assert b"Content-Type: image/jpeg" in next(pieces) + next(pieces)
    with pytest.raises(InvalidStatus) as refused, browser.socket(session["ws_url"], "https://elsewhere.example.org"):
        pass
    assert refused.value.response.status_code == 403
    assert browser.call("DELETE", f"session/{session['id']}/").status_code == 204


def test_plain_http_leads_to_https_and_pages_say_that_it_stays_so(
    served: tuple[Stack, int, int, Path], browser: Browser
) -> None:
    answer = httpx.get(
        f"http://127.0.0.1:{served[2]}/explore/?x=1", headers={"Host": HOST}, timeout=30, trust_env=False
    )
    assert (answer.status_code, answer.headers["location"]) == (301, f"{ORIGIN}/explore/?x=1")
    assert "max-age=31536000" in browser.http.get("/login/").headers["strict-transport-security"]
