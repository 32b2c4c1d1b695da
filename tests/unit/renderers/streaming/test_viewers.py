"""What a viewer gets: the newest frame when it is ready for one, and never an older one after it."""

import asyncio
import contextlib
import threading

import pytest

from renderers.streaming.frames import SMALL, WHOLE, Frame
from renderers.streaming.viewers import Audience, Gone, Viewer


def frame(number: int, form: str = SMALL) -> Frame:
    return Frame(number, {"final": False}, {form: ("image/jpeg", b"")})


def test_what_was_not_taken_is_left_out_for_what_is_newer() -> None:
    async def watch() -> None:
        viewer = Viewer(SMALL)
        viewer.offer(frame(1))
        viewer.offer(frame(2))
        await viewer.wait()
        assert viewer.take().number == 2
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(viewer.wait(), 0.01)

    asyncio.run(watch())


def test_a_late_frame_is_forgotten() -> None:
    async def watch() -> None:
        viewer = Viewer(SMALL)
        viewer.offer(frame(2))
        viewer.offer(frame(1))
        await viewer.wait()
        assert viewer.take().number == 2

    asyncio.run(watch())


def test_a_frame_in_another_form_is_none() -> None:
    async def watch() -> None:
        viewer = Viewer(WHOLE)
        viewer.offer(frame(1))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(viewer.wait(), 0.01)

    asyncio.run(watch())


def test_a_viewer_without_room_waits_and_then_takes_the_newest() -> None:
    async def watch() -> None:
        viewer, room = Viewer(SMALL), [False]
        viewer.offer(frame(1))
        waiting = asyncio.create_task(viewer.wait(lambda: room[0]))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        viewer.offer(frame(2))
        room[0] = True
        viewer.wake()
        await asyncio.wait_for(waiting, 30.0)
        assert viewer.take().number == 2

    asyncio.run(watch())


def test_frames_come_from_any_thread_and_so_does_the_end() -> None:
    async def watch() -> list[int]:
        audience, viewer, seen = Audience(), Viewer(SMALL), []

        def show() -> None:
            for number in range(1, 200):
                audience.show(frame(number))
            audience.end()

        audience.join(viewer)
        thread = threading.Thread(target=show)
        thread.start()
        with contextlib.suppress(Gone):
            while True:
                await viewer.wait()
                seen.append(viewer.take().number)
        thread.join()
        return seen

    seen = asyncio.run(watch())
    assert seen == sorted(set(seen))


def test_a_viewer_may_leave_twice_and_whoever_left_gets_nothing() -> None:
    async def watch() -> None:
        audience, viewer = Audience(), Viewer(SMALL)
        audience.join(viewer)
        assert audience.forms() == {SMALL}
        assert (audience.leave(viewer), audience.leave(viewer)) == (0, 0)
        assert audience.forms() == set()

    asyncio.run(watch())
