"""What a node does next."""

import pytest

from renderers.steps import Hand, Step, next_step


def hand(**changes: int) -> Hand:
    fields = {"rendering": 1, "tiles": 8, "unstarted": 8, "sending": 0, "threads": 2} | changes
    draining = bool(fields.pop("draining", False))
    return Hand(**fields, draining=draining)


@pytest.mark.parametrize(
    ("situation", "step"),
    [
        (hand(rendering=0, tiles=0, unstarted=0), Step.POLL),
        (hand(rendering=0, tiles=0, unstarted=0, sending=1), Step.PREFETCH),
        (hand(unstarted=8), Step.REST),
        (hand(unstarted=5), Step.REST),
        (hand(unstarted=4), Step.PREFETCH),
        (hand(unstarted=0), Step.PREFETCH),
        (hand(unstarted=0, sending=1), Step.PREFETCH),
        (hand(unstarted=0, sending=2), Step.REST),
        (hand(rendering=0, tiles=0, unstarted=0, sending=2), Step.REST),
        (hand(rendering=2, tiles=16, unstarted=9), Step.REST),
        (hand(rendering=2, tiles=16, unstarted=1), Step.REST),
        (hand(rendering=2, tiles=2, unstarted=0, threads=8), Step.PREFETCH),
        (hand(rendering=8, tiles=8, unstarted=0, threads=8), Step.REST),
        (hand(unstarted=0, draining=1), Step.REST),
        (hand(rendering=0, tiles=0, unstarted=0, sending=1, draining=1), Step.REST),
        (hand(rendering=0, tiles=0, unstarted=0, draining=1), Step.LEAVE),
    ],
)
def test_the_next_step_follows_from_what_is_in_hand(situation: Hand, step: Step) -> None:
    assert next_step(situation) is step
