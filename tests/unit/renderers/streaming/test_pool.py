"""Drawing on several threads: what is not wanted is left, and no thread stays."""

import os
import threading
import time
from collections.abc import Iterator

import pytest

from renderers.mandelbrot.native import load
from renderers.streaming.camera import Camera, changed
from renderers.streaming.pool import Drawing, Pool
from renderers.streaming.subject import Subject
from tests.unit.renderers.streaming.clients import ENDLESS, working

QUICK = Subject.of(changed(Camera(), {"width": 200, "height": 100, "max_iter": 50}))
SLOW = Subject.of(changed(Camera(), ENDLESS | {"width": 512, "height": 512}))


@pytest.fixture
def pool() -> Iterator[Pool]:
    load()
    pool = Pool(2)
    pool.enter()
    yield pool
    pool.leave()
    assert not working()


def never(_share: float) -> bool:
    return False


def test_a_picture_is_drawn_whole(pool: Pool) -> None:
    drawing = Drawing(QUICK, 1, None, 2)
    drawing.picture.fill(77)
    assert pool.draw(drawing, never)
    assert drawing.share == 1.0
    assert not (drawing.picture == 77).all(axis=1).any()
    assert (drawing.values.counts <= 50).all()


def test_a_drawing_is_given_up_within_a_moment(pool: Pool) -> None:
    unwanted = threading.Event()
    drawing, ended = Drawing(SLOW, 1, None, 2), []
    thread = threading.Thread(target=lambda: ended.append(pool.draw(drawing, lambda _: unwanted.is_set())))
    thread.start()
    time.sleep(0.1)
    assert not ended
    unwanted.set()
    pool.nudge()
    thread.join(30.0)
    assert ended == [False]


def test_threads_that_are_nice_give_way_to_others() -> None:
    pool = Pool(1, niceness=7)
    pool.enter()
    pool.draw(Drawing(QUICK, 1, None, 1), never)
    nice = [
        os.getpriority(os.PRIO_PROCESS, each.native_id or 0) for each in threading.enumerate() if each.name == "draw"
    ]
    pool.leave()
    assert nice == [os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) + 7]
    assert not working()


def test_an_error_is_told_to_who_waits(pool: Pool) -> None:
    deep = Subject.of(changed(Camera(), {"radius": "1e-30", "width": 64, "height": 64}))
    drawing = Drawing(QUICK, 1, None, 2)
    drawing.values.view = deep.grid.deep(deep.grid.center)
    with pytest.raises(ValueError, match="needs its model"):
        pool.draw(drawing, never)


def test_threads_that_are_wanted_again_stay(pool: Pool) -> None:
    for _ in range(50):
        pool.enter()
        pool.leave()
    assert len([thread for thread in threading.enumerate() if thread.name == "draw"]) == 2
