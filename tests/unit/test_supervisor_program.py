"""The start and the watch of the embedded mode: lock, port, health, and what is run."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rrm.config import RrmConfig
from rrm.supervisor import embedded
from rrm.supervisor.program import CannotStart, Watchdog, listen, locked

LOOPBACK = "127.0.0.1"


def config_for(folder: Path, **environment: str) -> RrmConfig:
    return RrmConfig.from_environ({"RRM_DATA": str(folder), "RRM_SECRET_KEY": "k" * 40, **environment})


def checks(*failed: str) -> str:
    names = ("database", "broker", "loops")
    return json.dumps({"checks": [{"name": name, "ok": name not in failed, "detail": name} for name in names]})


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server


def test_a_second_run_on_the_same_folder_is_refused_and_told_where_the_first_one_is(tmp_path: Path) -> None:
    config = config_for(tmp_path)
    with (
        locked(config),
        pytest.raises(CannotStart, match=r"http://127\.0\.0\.1:9000/.*\n.*RRM_PORT=9001"),
        locked(config),
    ):
        pass


def test_the_folder_is_free_again_after_a_run(tmp_path: Path) -> None:
    for _ in range(2):
        with locked(config_for(tmp_path)):
            pass


def test_a_port_in_use_is_named_with_a_remedy(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with pytest.raises(CannotStart, match=rf"Port {port} .* RRM_PORT={port + 1} make run"):
        listen(LOOPBACK, port)


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    with pytest.raises(CannotStart, match=r"Cannot listen on 192\.0\.2\.1"):
        listen("192.0.2.1", 9000)


def test_the_private_broker_is_left_out_when_redis_is_given(tmp_path: Path, listener: socket.socket) -> None:
    own = embedded.children(config_for(tmp_path), "run", listener)
    given = embedded.children(config_for(tmp_path, REDIS_URL="redis://127.0.0.1:1/0"), "run", listener)
    assert [spec.name for spec in own] == ["broker", "web", "worker", "beat", "sites"]
    assert [(spec.name, spec.after) for spec in given] == [("web", ()), ("worker", ()), ("beat", ()), ("sites", ())]


def test_no_secret_is_in_any_command_line(tmp_path: Path, listener: socket.socket) -> None:
    secret, password = "s" * 40, "opensesame"
    config = config_for(tmp_path, RRM_SECRET_KEY=secret, REDIS_URL=f"redis://:{password}@127.0.0.1:1/0")
    words = " ".join(word for spec in embedded.children(config, "run", listener) for word in spec.argv)
    assert secret not in words
    assert password not in words


def test_a_broker_socket_path_stays_short_in_a_deep_folder(tmp_path: Path, listener: socket.socket) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    broker = embedded.children(config_for(deep), "run", listener)[0]
    path = broker.argv[broker.argv.index("--unixsocket") + 1]
    assert len(path) <= 100


@pytest.mark.parametrize(
    ("status", "body", "ready", "stalled"),
    [
        (200, checks(), True, False),
        (503, checks("loops"), False, True),
        (503, checks("broker", "loops"), False, False),
        (503, checks("database", "loops"), False, False),
        (502, "<html>not ours</html>", False, False),
        (500, "[]", False, False),
    ],
)
def test_the_worker_is_to_blame_only_when_nothing_else_is(status: int, body: str, ready: bool, stalled: bool) -> None:
    health = embedded.reading(status, body.encode())
    assert (health.reachable, health.ready, health.stalled) == (True, ready, stalled)


def test_health_is_unknown_when_nobody_answers(listener: socket.socket) -> None:
    address = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
    listener.close()
    assert embedded.health(address) == embedded.Health(reachable=False)


def test_a_worker_is_restarted_after_a_minute_of_standing_still_and_not_before() -> None:
    watchdog = Watchdog()
    assert [watchdog.bites(stalled=True, uptime=500, now=now) for now in (0, 30, 60, 61)] == [False, False, False, True]


def test_one_tick_of_the_loops_is_enough_to_keep_the_worker() -> None:
    watchdog = Watchdog()
    seen = [(True, 0), (False, 50), (True, 55), (True, 100), (True, 115)]
    assert not any(watchdog.bites(stalled=stalled, uptime=500, now=now) for stalled, now in seen)


def test_a_worker_that_has_just_been_restarted_gets_a_minute_of_its_own() -> None:
    watchdog = Watchdog(stalled_since=0)
    assert not watchdog.bites(stalled=True, uptime=20, now=300)
