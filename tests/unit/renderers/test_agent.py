"""A node's life against a real server."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from renderers.agent import Agent
from renderers.client import ManagerClient
from renderers.mandelbrot.deep import model as deep_model
from renderers.node import Exit, Identity
from renderers.streaming.place import ALONE
from renderers.streaming.server import SessionServer, key_of
from tests.unit.renderers.bundles import Bundle
from tests.unit.renderers.manager_server import (
    LAUNCH_TOKEN,
    NODE_TOKEN,
    Answer,
    Manager,
    deep_lease,
    endless_lease,
    lease_document,
    serving,
)


class Life:
    """An agent running in a thread."""

    def __init__(
        self, url: str, token: str = LAUNCH_TOKEN, give_up: float = 20.0, side: SessionServer | None = None
    ) -> None:
        identity = Identity("rrm-test", "host", "0.1.0", 2, 4711, side.address if side else None)
        self.agent = Agent(ManagerClient(url, token, give_up), identity, side=side)
        self.outcome: Exit | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.outcome = self.agent.run()

    def end(self, timeout: float = 60.0) -> Exit | None:
        self._thread.join(timeout)
        assert not self._thread.is_alive()
        return self.outcome


@contextmanager
def living(url: str, **options: Any) -> Iterator[Life]:
    life = Life(url, **options)
    try:
        yield life
    finally:
        life.agent.abandon("the test is over")
        life.end()
        assert life.agent.close(60.0)


@contextmanager
def farm(*leases: dict[str, Any], **options: Any) -> Iterator[tuple[Manager, Life]]:
    with serving(Manager(leases=list(leases), **options)) as manager, living(manager.url) as life:
        yield manager, life


def delivered(manager: Manager, *leases: str) -> Callable[[], bool]:
    return lambda: set(leases) <= set(manager.uploads)


def failed_at_first(count: int, route: str, fault: Answer | str) -> Callable[[str], Answer | str | None]:
    """The first calls of a route meet a fault."""
    left = {route: count}

    def decide(called: str) -> Answer | str | None:
        left[called] = left.get(called, 0) - 1
        return fault if left[called] >= 0 else None

    return decide


def test_a_node_introduces_itself() -> None:
    with farm() as (manager, _):
        manager.wait_for(manager.saw("lease"))
        assert manager.bodies("register") == [
            {
                "node": "rrm-test",
                "hostname": "host",
                "machine": "",
                "address": None,
                "version": "0.1.0",
                "cores": 2,
                "pid": 4711,
                "lifetime_seconds": None,
            }
        ]


def test_leases_are_rendered_and_delivered_one_upload_each() -> None:
    names = ["a", "b", "c", "d"]
    with farm(*(lease_document(name) for name in names)) as (manager, _):
        manager.wait_for(delivered(manager, *names))
        for name in names:
            assert len(manager.bodies(f"lease/{name}")) == 1
            header = Bundle.read(manager.uploads[name]).header
            assert (header["lease"], len(header["tiles"])) == (name, 4)


def test_the_next_lease_is_asked_for_while_one_renders_and_names_what_is_in_hand() -> None:
    slow = endless_lease("slow") | {"stop": 1}
    with farm(slow, lease_document("next")) as (manager, _):
        manager.wait_for(lambda: len(manager.bodies("lease")) >= 2)
        first, second = manager.bodies("lease")[:2]
        assert (first["leases"], first["wait"], first["models"]) == ([], True, [])
        assert (second["leases"], second["wait"]) == (["slow"], False)
        assert [model["digest"] for model in second["models"]] == ["deep"]
        manager.wait_for(delivered(manager, "next"))


def test_a_lease_refused_while_a_bundle_was_sent_is_asked_for_again_at_once() -> None:
    """A manager that allows two leases says no while one is being sent; a pause then would leave cores idle."""
    slow = endless_lease("slow") | {"stop": 1}

    def slowly(route: str) -> None:
        time.sleep(0.3 if route == "lease/quick" else 0.0)

    leases = [slow, lease_document("quick")]
    with farm(*leases, faults=slowly, retry_after=200.0) as (manager, _):
        manager.wait_for(delivered(manager, "quick"))
        manager.leases.append(lease_document("third"))
        manager.wait_for(delivered(manager, "third"))


def test_heartbeats_name_leases_and_models() -> None:
    with farm(endless_lease()) as (manager, _):
        beat = {"leases": ["endless"], "models": ["deep"], "cores": 2}
        manager.wait_for(lambda: beat in manager.bodies("heartbeat"))


def test_draining_finishes_and_delivers_what_is_in_hand_and_says_goodbye() -> None:
    model = lease_document()["model"]
    middling = endless_lease("middling") | {
        "width": 256,
        "height": 256,
        "tile_size": 128,
        "model": model | {"params": {"max_iter": 100_000}},
    }
    with farm(middling) as (manager, life):
        manager.wait_for(lambda: len(manager.bodies("lease")) > 1)  # it has the first answer
        life.agent.drain("test")
        assert life.end() is Exit.DONE
        assert "middling" in manager.uploads
        assert manager.bodies("goodbye") == [{"reason": "done"}]
        routes = [route for route, _ in manager.calls]
        assert routes.index("lease/middling") < routes.index("goodbye")


def test_draining_an_idle_node_does_not_wait_for_the_long_poll() -> None:
    with farm(lease_wait=60.0) as (manager, life):
        manager.wait_for(manager.saw("heartbeat"))
        started = time.monotonic()
        life.agent.drain("test")
        assert life.end() is Exit.DONE
        assert time.monotonic() - started < 40
        assert manager.saw("goodbye")()


@pytest.mark.parametrize("route", ["heartbeat", "lease", "lease/a"])
def test_the_manager_can_ask_a_node_to_drain(route: str) -> None:
    with farm(lease_document("a"), commands={route: "drain"}) as (manager, life):
        assert life.end() is Exit.DONE
        assert manager.saw("goodbye")()


def test_the_manager_can_stop_a_node_at_once() -> None:
    with farm(endless_lease(), commands={"heartbeat": "stop"}) as (manager, life):
        assert life.end() is Exit.DONE
        assert manager.saw("goodbye")()
        assert not manager.uploads


def test_a_revoked_lease_is_dropped_and_work_goes_on() -> None:
    with farm(endless_lease()) as (manager, _):
        manager.wait_for(lambda: any(beat["leases"] for beat in manager.bodies("heartbeat")))
        manager.revoked.append("endless")
        manager.wait_for(lambda: manager.bodies("heartbeat")[-1]["leases"] == [])
        manager.leases.append(lease_document("after"))
        manager.wait_for(delivered(manager, "after"))
        assert not manager.saw("lease/endless")()
        assert not manager.saw("lease/endless/fail")()


def test_a_failing_tile_is_reported_and_work_goes_on() -> None:
    with farm(lease_document("bad", start=9, stop=10), lease_document("good")) as (manager, _):
        manager.wait_for(delivered(manager, "good"))
        manager.wait_for(manager.saw("lease/bad/fail"))
        report = manager.bodies("lease/bad/fail")[0]
        assert report["tile"] == 9
        assert "ValueError" in report["error"]


def test_a_lease_that_cannot_be_read_is_handed_back() -> None:
    with farm(lease_document("odd", view=None), lease_document("good")) as (manager, _):
        manager.wait_for(delivered(manager, "good"))
        manager.wait_for(manager.saw("lease/odd/fail"))
        assert manager.bodies("lease/odd/fail")[0]["tile"] is None


@pytest.mark.parametrize("fault", ["cut", (503, {})])
def test_an_upload_whose_answer_is_lost_is_sent_again(fault: Answer | str) -> None:
    with farm(lease_document("a"), faults=failed_at_first(2, "lease/a", fault)) as (manager, _):
        manager.wait_for(lambda: len(manager.bodies("lease/a")) == 3)
        assert len(set(manager.bodies("lease/a"))) == 1
        manager.leases.append(lease_document("b"))
        manager.wait_for(delivered(manager, "b"))


def test_a_lease_whose_answer_is_lost_is_rendered_once_it_is_handed_out_again() -> None:
    with farm(lease_document("a"), faults=failed_at_first(1, "lease", "cut")) as (manager, _):
        manager.wait_for(delivered(manager, "a"))
        assert len(manager.bodies("lease/a")) == 1


def test_a_fenced_upload_is_dropped_and_work_goes_on() -> None:
    fenced: Answer = (409, {"code": "stale-lease", "detail": ""})
    with farm(lease_document("a"), lease_document("b"), faults=failed_at_first(9, "lease/a", fenced)) as (manager, _):
        manager.wait_for(delivered(manager, "b"))
        assert len(manager.bodies("lease/a")) == 1
        assert not manager.saw("lease/a/fail")()


def test_a_refused_bundle_is_handed_back() -> None:
    refused: Answer = (422, {"code": "bad-bundle", "detail": "tile 2 is missing"})
    with farm(lease_document("a"), faults=failed_at_first(9, "lease/a", refused)) as (manager, _):
        manager.wait_for(manager.saw("lease/a/fail"))
        assert "tile 2 is missing" in manager.bodies("lease/a/fail")[0]["error"]


def test_results_larger_than_the_manager_takes_are_handed_back_unsent() -> None:
    with farm(lease_document("a"), max_upload=100) as (manager, _):
        manager.wait_for(manager.saw("lease/a/fail"))
        assert not manager.saw("lease/a")()


def test_a_manager_that_was_away_finds_the_node_working() -> None:
    with serving(Manager(leases=[lease_document("a")])) as manager, living(manager.url) as life:
        manager.wait_for(delivered(manager, "a"))
        manager.faults = lambda route: "cut"
        time.sleep(0.5)
        manager.leases.append(lease_document("b"))
        manager.faults = lambda route: None
        manager.wait_for(delivered(manager, "b"))
        assert life.outcome is None


def test_a_node_that_is_not_known_ends_with_4() -> None:
    with serving(Manager()) as manager, living(manager.url, token="wrong") as life:
        assert life.end() is Exit.NOT_AUTHORIZED
        assert not manager.saw("goodbye")()


def test_a_node_whose_token_was_withdrawn_ends_with_4() -> None:
    with farm() as (manager, life):
        manager.wait_for(manager.saw("heartbeat"))
        manager.known_token = False
        assert life.end() is Exit.NOT_AUTHORIZED


def test_a_node_without_its_manager_ends_with_3() -> None:
    with farm(give_up=0.4) as (manager, life):
        manager.wait_for(manager.saw("heartbeat"))
        manager.faults = lambda route: "cut"
        assert life.end() is Exit.MANAGER_GONE


def test_abandoning_leaves_soon_whatever_is_in_hand() -> None:
    with farm(endless_lease()) as (manager, life):
        manager.wait_for(lambda: any(beat["leases"] for beat in manager.bodies("heartbeat")))
        started = time.monotonic()
        life.agent.abandon("test")
        assert life.end() is Exit.ABANDONED
        assert life.agent.close(60.0)
        assert time.monotonic() - started < 40


def test_no_token_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with farm(lease_document("a"), commands={"lease/a": "drain"}) as (_, life):
        life.end()
    assert LAUNCH_TOKEN not in caplog.text
    assert NODE_TOKEN not in caplog.text


def test_a_deep_lease_is_delivered_and_its_model_told() -> None:
    with farm(deep_lease("d1"), deep_lease("d2")) as (manager, _):
        manager.wait_for(delivered(manager, "d1", "d2"))
        manager.wait_for(lambda: any(body["models"] for body in manager.bodies("lease")))
        told = next(body["models"] for body in manager.bodies("lease") if body["models"])
        assert [model["digest"] for model in told] == ["deep"]
        assert told[0]["size_bytes"] > 16 * 100
        counts = Bundle.read(manager.uploads["d1"]).array(0, "counts", (32, 32))
        assert 50 < counts.min() < counts.max() < 5000


def _slow_model() -> dict[str, Any]:
    """A deep lease whose orbit takes long."""
    model = deep_lease()["model"]
    params = model["params"] | {"max_iter": 10_000_000, "center": ["-1", "0"], "radius": "1e-300"}
    view = {"method": "perturbation", "center": ["-1", "0"], "dx": "1e-301", "dy": "1e-301"}
    return deep_lease("slow", model={**model, "digest": "slow", "params": params}, view=view)


def test_other_leases_are_rendered_while_a_model_is_loaded() -> None:
    with farm(_slow_model(), lease_document("quick")) as (manager, _):
        manager.wait_for(delivered(manager, "quick"))
        assert "slow" not in manager.uploads
        assert "slow" in manager.bodies("lease")[-1]["leases"]


def test_a_lease_taken_back_while_its_model_is_loaded_is_forgotten() -> None:
    with farm(_slow_model()) as (manager, _):
        manager.wait_for(lambda: any("slow" in body["leases"] for body in manager.bodies("heartbeat")))
        manager.revoked = ["slow"]
        manager.wait_for(lambda: not manager.bodies("heartbeat")[-1]["leases"])
        manager.leases.append(lease_document("next"))
        manager.wait_for(delivered(manager, "next"))


def test_a_lease_whose_model_cannot_be_loaded_is_handed_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError("no room for the orbit")

    monkeypatch.setattr(deep_model, "reference_orbit", fail)
    with farm(deep_lease("d"), lease_document("good")) as (manager, _):
        manager.wait_for(manager.saw("lease/d/fail"))
        report = manager.bodies("lease/d/fail")[0]
        assert "no room for the orbit" in report["error"]
        assert (report["stage"], report["tile"]) == ("load", None)
        manager.wait_for(delivered(manager, "good"))


# --- people who look at it


@contextmanager
def booked(session: dict[str, Any] | None, **more: Any) -> Iterator[tuple[Manager, Life, httpx.Client]]:
    """A node with a session side, and what the manager would send there."""
    side = SessionServer(ALONE, key_of(LAUNCH_TOKEN), 2)
    headers = {"X-RRM-Key": key_of(LAUNCH_TOKEN)}
    with serving(Manager(session=session, **more)) as manager, living(manager.url, side=side) as life:
        manager.wait_for(manager.saw("lease"))
        with httpx.Client(base_url=f"http://{side.address}", headers=headers, trust_env=False, timeout=60.0) as http:
            yield manager, life, http


def test_a_node_tells_where_its_session_side_answers() -> None:
    with booked(None) as (manager, _, http):
        assert manager.bodies("register")[0]["address"] == f"{http.base_url.host}:{http.base_url.port}"
        assert http.get("/registry").json()["session"] is None


def test_a_booked_node_begins_with_the_model_of_its_session_and_forgets_it_afterwards() -> None:
    with booked({"id": "s-1", "params": {"center": ["0.1", "0.2"], "radius": "1e-20"}}) as (manager, _, http):
        told = len(manager.bodies("lease"))
        manager.wait_for(lambda: len(manager.bodies("lease")) > told)
        assert http.get("/registry").json()["session"] == "s-1"
        assert http.get("/camera").json()["center"] == ["0.1", "0.2"]
        manager.session = None
        told = len(manager.bodies("lease"))
        manager.wait_for(lambda: len(manager.bodies("lease")) > told + 1)
        assert http.get("/registry").json()["session"] is None


def test_a_node_that_hears_of_another_session_asks_on_at_once() -> None:
    """The next person may have booked it meanwhile, and waits for what they booked."""
    with booked({"id": "s-1", "params": None}, retry_after=60.0) as (manager, _, http):
        manager.wait_for(lambda: len(manager.bodies("lease")) == 2)
        assert [body["session"] for body in manager.bodies("lease")] == [None, "s-1"]
        assert http.get("/registry").json()["session"] == "s-1"


def test_a_node_that_is_asked_to_exit_leaves_in_order() -> None:
    with booked(None) as (manager, life, http):
        assert http.put("/v1/exit").status_code == 200
        assert life.end() is Exit.DONE
        assert manager.bodies("goodbye") == [{"reason": "done"}]


def test_a_session_side_that_fails_does_not_keep_a_node_from_rendering(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("no session side")

    monkeypatch.setattr(SessionServer, "_serve", fail)
    side = SessionServer(ALONE, "key", 2)
    with serving(Manager(leases=[lease_document("a")])) as manager, living(manager.url, side=side):
        manager.wait_for(delivered(manager, "a"))
