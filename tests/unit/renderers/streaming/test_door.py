"""Who may be connected to a session side without having shown its key: few, and not for long."""

import contextlib
import select
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from renderers.streaming import door
from renderers.streaming.door import MOST_STRANGERS
from tests.unit.renderers.streaming.clients import KEY, Side, serving


@pytest.fixture
def side() -> Iterator[Side]:
    with serving() as served:
        yield served


def silent(side: Side, count: int) -> list[socket.socket]:
    """So many connections that say nothing, or the beginning of a request."""
    place = side.server.address.rsplit(":", 1)
    crowd = [socket.create_connection((place[0], int(place[1])), timeout=60) for _ in range(count)]
    for one in crowd[::2]:
        one.sendall(b"GET /registry HTTP/1.1\r\n")
    return crowd


def answer(stream: socket.socket) -> bytes:
    """Head and body of one, which is a JSON object."""
    said = b""
    while not said.endswith(b"}"):
        piece = stream.recv(1000)
        assert piece, said
        said += piece
    return said


def ended(crowd: list[socket.socket]) -> int:
    """How many of them the other side has ended."""
    watch = select.poll()
    for one in crowd:
        watch.register(one, select.POLLRDHUP)
    return len(watch.poll(0))


def until(condition: Callable[[], bool], patience: float = 60.0) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + patience
    while not (true := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return true


def test_a_crowd_without_the_key_takes_nobodys_place(side: Side) -> None:
    with side.watching() as watcher, side.http() as http, contextlib.ExitStack() as stack:
        watcher.say(id=1, width=320, height=200)
        watcher.until_final(1)
        crowd = [stack.enter_context(one) for one in silent(side, 600)]
        assert http.get("/registry").status_code == 200
        with side.http() as another:
            assert another.get("/registry").status_code == 200
        assert until(lambda: ended(crowd) >= 600 - MOST_STRANGERS)
        watcher.say(id=2, palette="fire")
        watcher.until_final(2)


def test_who_does_not_show_the_key_is_sent_away_and_who_did_stays(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "STRANGER_SECONDS", 2.0)
    known = f"GET /registry HTTP/1.1\r\nHost: x\r\nX-RRM-Key: {KEY}\r\n\r\n".encode()
    with side.watching() as watcher, contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(one) for one in silent(side, 20)]
        for one, request, status in ((crowd[1], known.replace(b"Key: ", b"Key: x"), 403), (crowd[3], known, 200)):
            one.sendall(request)
            assert b" %d " % status in answer(one)
        assert until(lambda: ended(crowd) == 19)
        crowd[3].sendall(known)
        assert b" 200 " in answer(crowd[3])
        watcher.say(id=1, width=320, height=200)
        watcher.until_final(1)
