"""How coarse a first frame is, and what follows it."""

import pytest

from renderers.streaming.pacing import FIRST_SECONDS, Pace, is_given_up

PIXELS = 1280 * 720


def paced(seconds_for_all: float) -> Pace:
    pace = Pace()
    pace.learn(PIXELS, seconds_for_all)
    return pace


def test_an_unknown_view_is_looked_at_coarsely() -> None:
    assert Pace().first(PIXELS) == 8


@pytest.mark.parametrize(("seconds", "step"), [(0.01, 1), (0.04, 2), (0.2, 4), (0.9, 8), (60.0, 8)])
def test_the_first_frame_is_as_fine_as_the_time_allows(seconds: float, step: int) -> None:
    assert paced(seconds).first(PIXELS) == step
    assert step == 8 or 1.2 * seconds / step**2 <= FIRST_SECONDS


@pytest.mark.parametrize(("seconds", "steps"), [(0.05, [1]), (0.3, [2, 1]), (1.2, [4, 2, 1]), (30.0, [4, 2, 1])])
def test_steps_are_skipped_where_drawing_is_quick(seconds: float, steps: list[int]) -> None:
    pace, step, found = paced(seconds), 8, []
    while step > 1:
        step = pace.next(step, PIXELS)
        found.append(step)
    assert found == steps


def test_a_view_that_became_slow_counts_at_once_and_one_that_became_quick_bit_by_bit() -> None:
    pace = paced(0.01)
    pace.learn(PIXELS, 1.0)
    slow = pace.per_sample
    pace.learn(PIXELS, 0.01)

    assert slow == pytest.approx(1.0 / PIXELS)
    assert pace.per_sample == pytest.approx((0.6 * 1.0 + 0.4 * 0.01) / PIXELS)


def test_nothing_is_learnt_from_nothing() -> None:
    pace = paced(0.01)
    pace.learn(0.0, 5.0)
    assert pace.first(PIXELS) == 1


def test_what_is_still_wanted_is_never_given_up() -> None:
    assert not is_given_up(outdated=False, is_first=False, seconds=100.0, blank=0.0)


def test_a_refinement_is_left_at_once() -> None:
    assert is_given_up(outdated=True, is_first=False, seconds=0.0, blank=10.0)


def test_a_first_frame_that_is_nearly_there_is_finished() -> None:
    assert not is_given_up(outdated=True, is_first=True, seconds=0.01, blank=0.0)
    assert is_given_up(outdated=True, is_first=True, seconds=0.03, blank=0.0)


def test_who_moves_all_the_time_still_sees_something() -> None:
    assert not is_given_up(outdated=True, is_first=True, seconds=0.2, blank=0.3)
    assert is_given_up(outdated=True, is_first=True, seconds=0.3, blank=0.6)
