"""The session side over real sockets."""

import base64
import io
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from websockets.exceptions import InvalidStatus

from renderers.mandelbrot.deep.model import DeepModel
from renderers.mandelbrot.render import TilePainter, Work
from renderers.streaming.server import key_of
from tests.unit.renderers.streaming.clients import ENDLESS, SEAHORSES, Shown, Side, serving, working
from tests.unit.renderers.streaming.test_same_as_jobs import lease_of

DEEP = {"center": ["0.0000000000000000000000000000000000000000000001", "1"], "radius": "1e-40", "max_iter": 500}
CAMERA = {"width": 320, "height": 200}


@pytest.fixture
def side() -> Iterator[Side]:
    with serving() as served:
        yield served


def pixels(image: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))


def of_a_job(place: dict[str, Any], look: dict[str, Any]) -> Any:
    """The pixels that a node delivers for a job of this view."""
    lease = lease_of(place, CAMERA["width"], CAMERA["height"], look)
    model = DeepModel(lease.reference, lease.reference.orbit()) if lease.reference else None
    result = TilePainter().render(Work(lease, model), 0)
    assert result is not None
    return pixels(result.parts["png"])


def problem(answer: httpx.Response, status: int) -> Any:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    return answer.json()


# --- who may ask


@pytest.mark.parametrize("key", ["", "x", key_of("another"), "ä"])
def test_without_the_key_nothing_is_answered(side: Side, key: str) -> None:
    headers = [(b"X-RRM-Key", key.encode("latin-1"))]
    for method, route in (("GET", "registry"), ("PUT", "v1/exit"), ("GET", "nothing")):
        answer = httpx.request(method, f"{side.url}/{route}", headers=headers, trust_env=False)
        assert problem(answer, 403)["code"] == "forbidden"
    if key.isascii():
        with pytest.raises(InvalidStatus) as refused, side.watching(key=key):
            pass
        assert refused.value.response.status_code == 403
    assert not side.drained.is_set()


def test_a_key_is_of_one_node_alone() -> None:
    assert len(key_of("launch-secret")) == 64
    assert key_of("launch-secret") != key_of("launch-secret2")


def test_it_says_what_it_is(side: Side) -> None:
    with side.http("session-7") as http:
        told = http.get("/registry").json()
        assert (told["renderer"], told["session"]) == ("mandelbrot", "session-7")
        assert {"camera", "frame.jpg", "frame.png", "image-jpeg", "stream", "ws", "v1/exit"} <= set(told["routes"])
        assert http.put("/registry").status_code == 200
        assert problem(http.get("/other"), 404)["code"] == "not-found"
        assert problem(http.delete("/camera"), 405)["code"] == "method-not-allowed"


def test_the_node_leaves_when_asked_after_it_has_answered(side: Side) -> None:
    with side.http() as http:
        assert http.put("/v1/exit").json() == {"leaving": True}
        assert side.drained.wait(60.0)


# --- frames


def test_a_camera_is_shown_coarsely_first_and_then_in_full(side: Side) -> None:
    with side.watching() as watcher:
        watcher.say(id=7, **CAMERA, **SEAHORSES)
        frames = [frame for frame in watcher.until_final(7) if frame.camera == 7]

    assert [frame.step for frame in frames] == sorted({frame.step for frame in frames}, reverse=True)
    assert frames[0].step in (4, 8)  # by how fast the last one was
    assert frames[-1].step == 1
    assert [frame.final for frame in frames] == [False] * (len(frames) - 1) + [True]
    for frame in frames:
        assert (frame.width, frame.height, frame.max_iter, frame.type) == (320, 200, 2000, "image/jpeg")
        assert (frame.center, frame.radius) == (SEAHORSES["center"], SEAHORSES["radius"])
        assert pixels(frame.image).shape == (-(-200 // frame.step), -(-320 // frame.step), 3)


def test_an_old_camera_is_left_for_a_newer_one_at_once(side: Side) -> None:
    with side.watching() as watcher:
        watcher.say(id="slow", width=1024, height=1024, **ENDLESS)
        time.sleep(0.5)
        began = time.monotonic()
        watcher.say(id="quick", max_iter=50, **CAMERA)
        frames = watcher.until_final("quick")
        took = time.monotonic() - began
        watcher.say(id="last")
        after = watcher.until_final("last")

    assert took < 20.0  # the other would have taken minutes
    assert not [frame for frame in frames if frame.final and frame.camera == "slow"]
    assert {frame.camera for frame in after} <= {"quick", "last"}


def test_frames_are_never_sent_after_newer_ones(side: Side) -> None:
    with side.watching() as watcher:
        for step in range(60):
            watcher.say(id=step, center=[str(-0.7436 + step * 1e-5), "0.1318"], radius="0.001", **CAMERA)
            time.sleep(0.005)
        frames = watcher.until_final(59)

    numbers = [frame.frame for frame in frames]
    cameras = [frame.camera for frame in frames if frame.camera is not None]
    assert numbers == sorted(set(numbers))
    assert cameras == sorted(cameras)


@pytest.mark.parametrize("place", [SEAHORSES | {"max_iter": 500}, DEEP])
@pytest.mark.parametrize("look", [{}, {"palette": "viridis", "method": "bands", "offset": 0.3}])
def test_final_frames_have_the_pixels_of_a_job(side: Side, place: dict[str, Any], look: dict[str, Any]) -> None:
    expected = of_a_job({name: place[name] for name in ("center", "radius")}, look)
    with side.watching() as watcher, side.http() as http:
        watcher.say(id=1, format="png", **CAMERA, **place, **look)
        final = watcher.until_final(1)[-1]
        still = http.get("/frame.png")

    assert final.type == "image/png"
    assert np.array_equal(pixels(final.image), expected)
    assert np.array_equal(pixels(still.content), expected)


def test_other_colours_of_the_same_view_are_painted_without_computing(side: Side) -> None:
    with side.watching() as watcher:
        watcher.say(id=1, **CAMERA, **SEAHORSES)
        watcher.until_final(1)
        watcher.say(id=2, palette="fire")
        frames = [frame for frame in watcher.until_final(2) if frame.camera == 2]

    assert [frame.step for frame in frames] == [1]


def test_a_view_near_a_deep_one_needs_no_other_reference(side: Side, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"), side.watching() as watcher:
        for step in range(5):
            center = [f"{step}e-41", "1"]
            watcher.say(id=step, **CAMERA, **(DEEP | {"center": center}))
            watcher.until_final(step)

    assert len([line for line in caplog.messages if "loaded a reference" in line]) == 1


# --- what is refused


def test_a_camera_that_cannot_be_shown_is_refused_and_the_one_before_stays(side: Side) -> None:
    with side.watching() as watcher:
        watcher.say(id=1, **CAMERA, **SEAHORSES)
        watcher.until_final(1)
        watcher.say(id=2, radius="0", width="wide")
        refusal = watcher.hear()
        watcher.say(id=3, width=8192, height=8192)
        too_large = watcher.hear()
        watcher.say(id=4, radius="1e-30", formula="tricorn")
        too_deep = watcher.hear()
        watcher.say(id=5)
        assert watcher.until_final(5)[-1].radius == SEAHORSES["radius"]

    assert (refusal["error"], refusal["camera"], set(refusal["errors"])) == ("invalid", 2, {"radius", "width"})
    assert (too_large["camera"], set(too_large["errors"])) == (3, {"width"})
    assert (too_deep["camera"], set(too_deep["errors"])) == (4, {"formula"})


@pytest.mark.parametrize(
    "message", ["", "{", "[1]", "7", b"bytes", '{"ack": "1"}', '{"ack": 1, "id": 2}', '{"radius": NaN}', "[" * 5000]
)
def test_a_message_that_makes_no_sense_is_answered(side: Side, message: str | bytes) -> None:
    with side.watching() as watcher:
        watcher.socket.send(message)
        while isinstance(refusal := watcher.hear(), Shown):
            pass
        assert refusal["error"] == "unreadable"


@pytest.mark.parametrize("id_", ["1e400", "[" * 980 + "]" * 980, "{}", "1" * 4000])
def test_an_id_that_cannot_be_told_back_is_refused_without_it(side: Side, id_: str) -> None:
    with side.watching() as watcher:
        watcher.socket.send(f'{{"id": {id_}}}')
        while isinstance(refusal := watcher.hear(), Shown):
            pass
        assert (refusal["camera"], set(refusal["errors"])) == (None, {"id"})


def test_a_client_that_makes_no_sense_for_long_is_left(side: Side) -> None:
    with side.watching() as watcher:
        for _ in range(101):
            watcher.socket.send("nonsense")
        assert watcher.until_closed() == 1003


def test_messages_and_bodies_have_a_bound(side: Side) -> None:
    with side.watching() as watcher:
        watcher.socket.send("x" * 70_000)
        assert watcher.until_closed() == 1009
    with side.http() as http:
        assert problem(http.put("/camera", content=b" " * 70_000), 413)["code"] == "too-large"


def test_a_camera_is_read_and_changed_over_http(side: Side) -> None:
    with side.http() as http:
        assert http.get("/camera").json()["center"] == ["-0.75", "0"]
        assert http.put("/camera", json={"radius": "1e-20", "width": 640}).json()["deep"] is True
        told = http.get("/camera").json()
        assert (told["radius"], told["width"], told["max_iter"]) == ("1e-20", 640, None)
        assert told["iterations"] > 1000
        assert set(problem(http.put("/camera", json={"radius": "-1"}), 422)["errors"]) == {"radius"}
        assert set(problem(http.put("/camera", content=b"{"), 422)["errors"]) == {"camera"}
        assert set(problem(http.put("/camera", json=[]), 422)["errors"]) == {"camera"}


# --- stills and streams


def test_one_picture_may_have_a_camera_of_its_own(side: Side) -> None:
    with side.http() as http:
        query = {"center": "-0.5,0.25", "radius": "0.5", "width": "64", "height": "48", "palette": "fire"}
        still = http.get("/frame.jpg", params=query)
        assert (still.headers["content-type"], pixels(still.content).shape) == ("image/jpeg", (48, 64, 3))
        assert http.get("/camera").json()["width"] == 1280
        assert set(problem(http.get("/frame.png", params={"width": "many", "x": "1"}), 422)["errors"]) == {"width", "x"}


def test_the_first_rrms_route_gives_the_picture_in_base64(side: Side) -> None:
    with side.http() as http:
        http.put("/camera", json=CAMERA)
        data = base64.b64decode(http.get("/image-jpeg").json()["data"])
    assert pixels(data).shape == (200, 320, 3)


def test_a_stream_follows_the_camera_in_its_own_size(side: Side) -> None:
    with side.http() as http, side.http() as other, http.stream("GET", "/stream") as stream:
        other.put("/camera", json=CAMERA | SEAHORSES)
        received, found = b"", []
        for piece in stream.iter_raw():
            received += piece
            found = [part.partition(b"\r\n\r\n")[2] for part in received.split(b"--frame\r\n")[1:-1]]
            if found and Image.open(io.BytesIO(found[-1])).size == (320, 200):  # there may be no coarse one before it
                break
        kind = stream.headers["content-type"]

    assert kind == "multipart/x-mixed-replace; boundary=frame"
    assert {Image.open(io.BytesIO(part)).size for part in found} <= {(320, 200), (1280, 720)}


def test_a_picture_that_nobody_waits_for_is_given_up(side: Side) -> None:
    with side.http() as http:
        http.put("/camera", json=ENDLESS)
        with pytest.raises(httpx.ReadTimeout):
            http.get("/frame.png", timeout=0.3)
    assert not working()


# --- several viewers, and sessions


def test_all_viewers_of_a_session_see_the_same(side: Side) -> None:
    with side.watching() as one, side.watching() as two:
        one.say(id=1, **CAMERA, **SEAHORSES)
        assert one.until_final(1)[-1].image == two.until_final(1)[-1].image


def test_a_viewer_that_does_not_read_holds_up_nobody_and_then_gets_the_newest(side: Side) -> None:
    size = {"width": 1600, "height": 1200, "format": "png"}
    with side.watching(max_queue=1) as slow, side.watching() as quick:
        for step in range(30):
            quick.say(id=step, palette="fire" if step % 2 else "ocean", **size, **SEAHORSES)
            frames = quick.until_final(step)
        assert frames[-1].camera == 29
        late = slow.until_final(29)

    assert len(late) < 25  # of the 30 final frames and more that there were


def test_a_client_that_acknowledges_gets_two_frames_ahead_and_no_more(side: Side) -> None:
    with side.watching() as watcher, side.watching() as other:
        watcher.say(id=0, **CAMERA, **SEAHORSES)
        last = watcher.until_final(0)[-1]
        watcher.say(ack=last.frame)
        for step in range(1, 8):
            watcher.say(id=step, palette="fire" if step % 2 else "ocean")
            time.sleep(0.1)
        other.until_final(7)  # it is there for who may have it
        ahead = [watcher.hear(), watcher.hear()]
        with pytest.raises(TimeoutError):
            watcher.hear(0.3)
        watcher.say(ack=ahead[-1].frame)
        newest = watcher.hear()

    assert (newest.camera, newest.final) == (7, True)


def test_another_session_begins_afresh_and_the_one_before_is_over(side: Side) -> None:
    with side.http("one") as one, side.http("two") as two, side.watching("one") as watcher:
        one.put("/camera", json={"radius": "0.01"})
        assert two.get("/camera").json()["radius"] == "1.25"
        assert problem(one.get("/camera"), 409)["code"] == "session-ended"
        assert watcher.until_closed() == 1001


def test_what_the_manager_says_of_a_session_is_its_first_camera(side: Side) -> None:
    place = {"center": ["0.1", "1"], "radius": "1e-30", "max_iter": 400, "formula": "mandelbrot"}
    side.desk.announce({"id": "one", "params": place})
    with side.http("one") as http:
        told = http.get("/camera").json()
        assert (told["center"], told["radius"], told["max_iter"]) == (["0.1", "1"], "1e-30", 400)
    side.desk.announce(None)
    with side.http("one") as http:
        assert problem(http.get("/camera"), 409)["code"] == "session-ended"


def test_a_user_who_is_faster_than_the_managers_word_is_shown_what_was_booked() -> None:
    params = {"center": ["0.1", "0.2"], "radius": "0.125", "max_iter": 400}
    with serving(patience=10.0) as side, side.http("one") as http:
        word = threading.Timer(0.3, side.desk.announce, [{"id": "one", "params": params}])
        word.start()
        told = http.put("/camera", json={"width": 640}).json()
        word.join()
    assert (told["width"], told["radius"], told["max_iter"]) == (640, "0.125", 400)


def test_a_user_of_whom_the_manager_says_nothing_is_served_all_the_same() -> None:
    with serving(patience=0.1) as side, side.http("one") as http:
        assert http.get("/camera").json()["radius"] == "1.25"


def test_no_thread_draws_when_nobody_watches(side: Side) -> None:
    for _ in range(3):
        with side.watching() as one, side.watching() as two:
            one.say(id=1, width=1024, height=1024, **ENDLESS)
            two.say(id=2)
            time.sleep(0.1)
        assert not working()


def test_the_side_closes_while_somebody_watches() -> None:
    with serving() as side, side.watching() as watcher:
        watcher.say(id=1, **CAMERA, **ENDLESS)
        watcher.hear()
        began = time.monotonic()
        side.server.close(30.0)
        assert time.monotonic() - began < 15
        assert watcher.until_closed() == 1001
