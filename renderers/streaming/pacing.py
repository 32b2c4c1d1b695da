"""How coarsely a camera is drawn at first, and how it is refined: from what drawing took lately.

A pure decision: seconds in, a step out. A step s is one sample for s x s pixels.
"""

from dataclasses import dataclass, field

STEPS = (8, 4, 2, 1)
FIRST_SECONDS = 0.018  # drawing the first frame of a camera should take no longer
REFINING_SECONDS = 0.12  # nor should a refinement, unless there is none that takes less
PATIENCE = 0.025  # a first frame is left for a newer camera when it takes longer than this
LONGEST_BLANK = 0.25  # unless nothing was shown for so long: then it is worth waiting for, as long once more
SMOOTHING = 0.4
CAUTION = 1.2  # what lies ahead may take longer than what was drawn


@dataclass
class Pace:
    """What a sample took lately, in seconds; None is not known."""

    per_sample: float | None = field(default=None)

    def forget(self) -> None:
        """Something else is being looked at."""
        self.per_sample = None

    def learn(self, samples: float, seconds: float) -> None:
        """So many samples took so long. Slower counts at once, faster bit by bit."""
        if samples < 1.0:
            return
        told = seconds / samples
        known = self.per_sample
        self.per_sample = told if known is None or told > known else known + SMOOTHING * (told - known)

    def first(self, pixels: int) -> int:
        """The step of a camera's first frame."""
        return STEPS[0] if self.per_sample is None else self._finest(pixels, FIRST_SECONDS) or STEPS[0]

    def next(self, step: int, pixels: int) -> int:
        """The step that follows: the finest that is quick enough, or half of this one."""
        return min(self._finest(pixels, REFINING_SECONDS) or step, step // 2)

    def _finest(self, pixels: int, seconds: float) -> int | None:
        each = CAUTION * (self.per_sample or 0.0)
        return next((step for step in reversed(STEPS) if each * pixels / step**2 <= seconds), None)


def is_given_up(*, outdated: bool, is_first: bool, seconds: float, blank: float) -> bool:
    """Whether a drawing is abandoned after so many seconds, with nothing shown for `blank` seconds.

    A first frame of a camera that is no longer the newest is finished if that is a matter of a moment: otherwise
    nobody would see anything while they move.
    """
    if not outdated:
        return False
    return not is_first or seconds > (PATIENCE if blank < LONGEST_BLANK else LONGEST_BLANK)
