"""The Celery application: which loops tick how often, and how tasks are delivered.

Celery on Redis may lose or repeat a message, so nothing here is the only way that work gets done: every task is
idempotent, and the periodic ones find whatever a lost wake-up left behind.
"""

from __future__ import annotations

import os

from celery import Celery
from celery.signals import worker_ready

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rrm.settings")

from rrm.settings import RRM

_WEEK = 7 * 86400

app = Celery("rrm", broker=RRM.broker_url, backend=None)
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_default_queue="control",
    task_routes={"rrm.compose": {"queue": "encoding"}, "rrm.site.*": {"queue": "sites"}},
    # Of all tasks but composing, which is as long as the picture is large and ends when it stands still. Pools of
    # threads have no limits; what is done there is bounded by the deadlines of its SSH commands.
    task_soft_time_limit=45,
    task_time_limit=55,
    # A week stands for no limit: where a task has none, those of its worker hold, which are the above.
    task_annotations={"rrm.compose": {"soft_time_limit": _WEEK, "time_limit": _WEEK}},
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    worker_max_tasks_per_child=2000,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # Publishing must never stall a request: one try, and the loops do the rest.
    task_publish_retry=False,
    broker_transport_options={
        "visibility_timeout": 600,
        "unacked_restore_interval": 2,
        "unacked_restore_throttle": 1,
        "socket_connect_timeout": 1,
        "socket_timeout": 2,
        "max_retries": 0,
        "interval_start": 0,
    },
    beat_scheduler="rrm.clock:Clock",
    beat_schedule_filename=str(RRM.data_dir / "beat-schedule"),
    beat_schedule={
        "autoscale": {
            "task": "rrm.autoscale",
            "schedule": RRM.autoscale_period,
            "options": {"expires": RRM.autoscale_period.total_seconds()},
        },
        "reconcile": {
            "task": "rrm.reconcile",
            "schedule": RRM.reconcile_period,
            "options": {"expires": RRM.reconcile_period.total_seconds()},
        },
        "sessions": {
            "task": "rrm.sessions",
            "schedule": RRM.reconcile_period,
            "options": {"expires": RRM.reconcile_period.total_seconds()},
        },
        "housekeeping": {"task": "rrm.housekeeping", "schedule": 3600, "options": {"expires": 3600}},
    },
)
app.autodiscover_tasks(["rrm.farm"])


@worker_ready.connect
def tick_at_once(**_: object) -> None:
    """A worker that has just started need not wait a whole period to find out what there is to do."""
    if "control" not in app.amqp.queues.consume_from:  # the one that talks to sites is told when to
        return
    for loop in ("rrm.autoscale", "rrm.reconcile", "rrm.sessions"):
        app.send_task(loop)
