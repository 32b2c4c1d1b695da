"""The client against a real server."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from renderers.client import (
    Interrupted,
    ManagerClient,
    ManagerError,
    ManagerGone,
    NotAuthorized,
    StaleLease,
)
from tests.unit.renderers.manager_server import LAUNCH_TOKEN, Answer, Manager, serving

ABOUT = {"node": "n", "hostname": "h", "address": None, "version": "1", "cores": 1, "pid": 1}


@pytest.fixture
def manager() -> Iterator[Manager]:
    with serving(Manager(lease_wait=0.05)) as running:
        yield running


@contextmanager
def connected(url: str, token: str = LAUNCH_TOKEN, give_up: float = 20.0) -> Iterator[ManagerClient]:
    client = ManagerClient(url, token, give_up)
    try:
        yield client
    finally:
        client.close()


@pytest.fixture
def client(manager: Manager) -> Iterator[ManagerClient]:
    with connected(manager.url + "/") as client:
        client.register(ABOUT)
        yield client


@pytest.fixture
def nobody() -> str:
    """An address where no manager answers."""
    with serving(Manager()) as manager:
        return manager.url


def test_registration_gives_the_intervals_and_a_token_for_later_calls(manager: Manager) -> None:
    with connected(manager.url) as client:
        registration = client.register(ABOUT)
        assert (registration.heartbeat, registration.lease_wait, registration.give_up) == (0.1, 0.05, 5.0)
        assert client.heartbeat([], [], 1) == {"command": "run", "revoked": [], "pinned": []}
        assert manager.bodies("register") == [ABOUT]


def test_an_unknown_launch_token_is_an_error_of_its_own(manager: Manager) -> None:
    with connected(manager.url, "wrong") as client, pytest.raises(NotAuthorized):
        client.register(ABOUT)


def test_the_text_of_an_error_has_no_token(manager: Manager) -> None:
    with connected(manager.url, "very-secret") as client, pytest.raises(NotAuthorized) as error:
        client.register(ABOUT)
    assert "very-secret" not in str(error.value)


def test_a_fenced_upload_is_an_error_of_its_own(manager: Manager, client: ManagerClient) -> None:
    manager.faults = lambda route: (409, {"code": "stale-lease", "detail": "taken back"})
    with pytest.raises(StaleLease, match="stale-lease: taken back"):
        client.upload("x", b"")


def test_a_refusal_carries_its_code(manager: Manager, client: ManagerClient) -> None:
    manager.faults = lambda route: (422, {"code": "bad-bundle", "detail": "tile 3 is missing"})
    with pytest.raises(ManagerError) as error:
        client.upload("x", b"")
    assert (error.value.status, error.value.code) == (422, "bad-bundle")


@pytest.mark.parametrize("fault", ["cut", (503, {}), (429, {})])
def test_a_call_is_repeated_until_it_is_answered(manager: Manager, client: ManagerClient, fault: Answer | str) -> None:
    faults = iter([fault, fault])
    manager.faults = lambda route: next(faults, None)
    client.upload("x", b"bundle")
    assert manager.bodies("lease/x") == [b"bundle"] * 3
    assert manager.uploads == {"x": b"bundle"}


def test_a_lost_answer_is_asked_for_again(manager: Manager) -> None:
    faults = iter(["cut"])
    manager.faults = lambda route: next(faults, None)
    with connected(manager.url) as client:
        assert client.register(ABOUT).node_id == "node-1"
    assert len(manager.bodies("register")) == 2


def test_a_manager_that_stays_away_is_given_up(nobody: str) -> None:
    started = time.monotonic()
    with connected(nobody, give_up=0.3) as client, pytest.raises(ManagerGone):
        client.register(ABOUT)
    assert 0.3 < time.monotonic() - started < 20


def test_leaving_interrupts_the_attempts(nobody: str) -> None:
    started = time.monotonic()
    with connected(nobody, give_up=60.0) as client:
        threading.Timer(0.2, client.patience.leaving.set).start()
        with pytest.raises(Interrupted):
            client.register(ABOUT)
    assert time.monotonic() - started < 30


def test_one_request_that_always_breaks_the_server_is_an_error_while_others_work(
    manager: Manager, client: ManagerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("renderers.client.LONGEST_PAUSE", 0.01)
    manager.faults = lambda route: (500, {"code": "internal"}) if route.startswith("lease/") else None
    beating = threading.Event()

    def beat() -> None:
        while not beating.wait(0.01):
            client.heartbeat([], [], 1)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(ManagerError, match="500"):
            client.upload("x", b"")
    finally:
        beating.set()
        thread.join()


def test_goodbye_makes_one_attempt_and_does_not_mind_silence(nobody: str) -> None:
    started = time.monotonic()
    with connected(nobody) as client:
        client.goodbye("done", 1.0)
    assert time.monotonic() - started < 10


def test_the_address_in_a_file_is_read_again_when_nobody_answers(manager: Manager, nobody: str, tmp_path: Path) -> None:
    place = tmp_path / "manager.url"
    place.write_text(f"{nobody}\n")
    client = ManagerClient(place, LAUNCH_TOKEN)
    threading.Timer(0.3, place.write_text, [manager.url]).start()
    client.register(ABOUT)
    place.unlink()
    assert client.heartbeat([], [], 1)["command"] == "run"
    client.close()
