"""However many nodes and callers there are, a scheduler is asked once in a while."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rrm.errors import SiteUnavailable
from rrm.launchers.slurm.sharing import SharedSurvey, shared_survey

ANSWER: Mapping[str, Any] = {"nodes": {}, "jobs": {"rrm-1": ["7", 1, "RUNNING", "", ""]}}


def test_many_callers_are_one_question() -> None:
    shared, asked = SharedSurvey(), []

    def ask() -> Mapping[str, Any]:
        asked.append(time.monotonic())
        time.sleep(0.05)
        return ANSWER

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: shared.refresh(600, ask).jobs, range(50)))
    assert len(asked) == 1
    assert found == [ANSWER["jobs"]] * 50


def test_a_question_that_failed_is_not_repeated_before_its_time() -> None:
    shared, asked = SharedSurvey(), []

    def ask() -> Mapping[str, Any]:
        asked.append(1)
        raise SiteUnavailable("no")

    assert [shared.refresh(600, ask).problem for _ in range(3)] == ["no"] * 3
    assert len(asked) == 1


def test_who_comes_a_little_early_waits_and_gets_a_fresh_answer() -> None:
    shared, asked = SharedSurvey(), []

    def ask() -> Mapping[str, Any]:
        asked.append(time.monotonic())
        return ANSWER

    shared.refresh(0.2, ask)
    shared.refresh(0.2, ask)
    assert len(asked) == 2
    assert asked[1] - asked[0] >= 0.2


def test_a_job_is_proven_by_an_answer_that_names_it() -> None:
    shared = SharedSurvey()
    handle = {"name": "rrm-1", "job": "7"}
    assert not shared.proves(handle)
    shared.refresh(0, lambda: ANSWER)
    assert shared.proves(handle)
    assert not shared.proves({"name": "rrm-1", "job": "8"})
    assert not shared.proves({"name": "rrm-2", "job": "7"})
    assert not shared.proves({"name": "rrm-1"})


def test_a_launch_is_newer_than_the_last_answer_until_the_next() -> None:
    shared = SharedSurvey()
    shared.refresh(0, lambda: ANSWER)
    shared.launched({"name": "rrm-2", "job": "8"})
    assert shared.is_newer({"name": "rrm-2", "job": "8"})
    assert not shared.is_newer({"name": "rrm-2", "job": "9"})
    assert not shared.is_newer({"name": "rrm-1", "job": "7"})
    assert not shared.refresh(0, lambda: ANSWER).is_newer({"name": "rrm-2", "job": "8"})


def test_sites_do_not_share() -> None:
    assert shared_survey("a") is shared_survey("a")
    assert shared_survey("a") is not shared_survey("b")
