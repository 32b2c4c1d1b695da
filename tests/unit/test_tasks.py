"""Tasks: whatever happens to a worker they are delivered again, none takes long, and what may wait keeps nothing up."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from celery import Task

from rrm.celery import app

COMPOSE = "rrm.compose"
app.loader.import_default_modules()
TASKS = {name: task for name, task in app.tasks.items() if name.startswith("rrm.")}
MOST_SECONDS = 60


def queue_of(task: Task[..., Any]) -> str:
    return str(app.amqp.router.route({}, task.name)["queue"].name)


def seconds_of(task: Task[..., Any]) -> tuple[float | None, float | None]:
    """When a pool of processes interrupts the task, and when it kills it. Where the task says nothing, the pool's."""
    conf = app.conf
    return task.soft_time_limit or conf.task_soft_time_limit, task.time_limit or conf.task_time_limit


def test_the_tasks_of_the_service_are_known() -> None:
    assert {"rrm.autoscale", "rrm.reconcile", "rrm.sessions", "rrm.site.launch_node", COMPOSE} <= TASKS.keys()


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_task_of_a_worker_that_dies_is_delivered_again(task: Task[..., Any]) -> None:
    assert task.acks_late
    assert task.reject_on_worker_lost
    assert task.acks_on_failure_or_timeout  # but not for ever to one that fails or is too slow


@pytest.mark.parametrize("name", sorted(TASKS.keys() - {COMPOSE}))
def test_a_task_ends_within_a_minute(name: str) -> None:
    interrupted, killed = seconds_of(TASKS[name])
    assert interrupted is not None
    assert killed is not None
    assert interrupted < killed < MOST_SECONDS


def test_composing_may_take_as_long_as_the_picture_is_large() -> None:
    interrupted, killed = seconds_of(TASKS[COMPOSE])
    assert interrupted is None or interrupted > 86400
    assert killed is None or killed > 86400


def test_what_talks_to_sites_what_controls_and_what_encodes_have_queues_apart() -> None:
    found = {name: queue_of(task) for name, task in TASKS.items()}
    assert {name for name, queue in found.items() if queue == "sites"} == {
        "rrm.site.launch_node",
        "rrm.site.end_node",
        "rrm.site.survey",
    }
    assert [name for name, queue in found.items() if queue == "encoding"] == [COMPOSE]
    assert set(found.values()) == {"sites", "control", "encoding"}


def test_a_message_comes_back_only_when_its_task_must_be_over() -> None:
    assert app.conf.broker_transport_options["visibility_timeout"] > MOST_SECONDS


def test_each_worker_fetches_no_more_than_it_works_on() -> None:
    assert app.conf.worker_prefetch_multiplier == 1


@pytest.mark.parametrize("entry", app.conf.beat_schedule.values(), ids=app.conf.beat_schedule)
def test_a_tick_that_comes_too_late_is_left_to_the_next(entry: dict[str, object]) -> None:
    assert entry["task"] in TASKS
    period, options = entry["schedule"], entry["options"]
    assert isinstance(options, dict)
    assert options["expires"] == (period.total_seconds() if isinstance(period, timedelta) else period)
