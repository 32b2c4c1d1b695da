"""A large farm: what the manager's loops and its pages take with many nodes, much that waits and a long history.

python -m benchmarks large [--json FILE] [--quick]

PostgreSQL, then SQLite. Nothing is rendered: the rows of nodes, half of them at work, of jobs that wait and of finished
ones are written, and the service's own code is called, one call after the other.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import _command
from tests import services

if TYPE_CHECKING:
    from rrm.farm.models import Job, Node

_FULL = {"nodes": 1200, "models": 300, "waiting": 3000, "finished": 20_000, "leases": 10}
_QUICK = {"nodes": 120, "models": 30, "waiting": 300, "finished": 1000, "leases": 10}
_TIMES = 5
_HERE = "RRM_LARGE_FARM"  # the size, for the process that measures
_V2 = "/rendering-resource-manager/v2"
_PAGES = ("farm/", "job/", "job/?state=COMPLETED", "node/", "event/", "resource/")
Size = dict[str, int]
Millis = dict[str, float]


def lay_out(size: Size) -> None:
    """Write the rows of the farm: what waits, what is finished, and nodes of which half are at work."""
    from benchmarks.rivals import ground
    from rrm.farm.models import Job, Lease, Node

    ground.lay_out(ground.Size(size["nodes"], jobs=size["models"], tiles=100 * size["models"], owners=40))
    samples, nodes = list(Job.objects.all()), list(Node.objects.all())
    waiting = _jobs(samples, size["waiting"])
    finished = _jobs(samples, size["finished"], state="COMPLETED")
    Lease.objects.bulk_create(_leases(finished, nodes, size["leases"]), batch_size=2000)
    _put_to_work(nodes[: len(nodes) // 2], waiting)


def _jobs(samples: Sequence[Job], count: int, state: str = "QUEUED") -> list[Job]:
    """So many jobs like these, hours or days old."""
    from rrm.farm.models import Job, JobShare

    is_done, made = state != "QUEUED", []
    for number in range(count):
        job = Job(**{field.attname: getattr(samples[number % len(samples)], field.attname) for field in _fields()})
        job.state, job.created_at = state, job.created_at - timedelta(seconds=number * (40 if is_done else 1))
        job.tiles_done = job.tiles if is_done else 0
        job.finished_at = job.created_at + timedelta(minutes=1) if is_done else None
        made.append(job)
    Job.objects.bulk_create(made, batch_size=1000)
    shares = (JobShare(job=job, start=0, stop=job.tiles, cursor=job.tiles_done) for job in made)
    JobShare.objects.bulk_create(shares, batch_size=2000)
    return made


def _fields() -> list[Any]:
    from rrm.farm.models import Job

    return [field for field in Job._meta.concrete_fields if not field.primary_key]


def _leases(jobs: Sequence[Job], nodes: Sequence[Node], each: int) -> Iterator[Any]:
    from rrm.farm.models import JobShare, Lease

    shares = dict(JobShare.objects.filter(cursor__gt=0).values_list("job", "pk"))
    for number, job in enumerate(jobs):
        for part in range(each):
            start = part * job.tiles // each
            yield Lease(
                job=job,
                share_id=shares[job.pk],
                node=nodes[(number + part) % len(nodes)],
                start=start,
                stop=(part + 1) * job.tiles // each,
                state="DONE",
                decision="warm",
                warm=True,
                deadline=job.created_at,
                created_at=job.created_at,
                finished_at=job.finished_at,
            )


def _put_to_work(nodes: Sequence[Node], waiting: Sequence[Job]) -> None:
    """Each has a tile of another job, and holds its model."""
    from django.utils import timezone

    from rrm.farm.models import HeldModel, JobShare, Lease, Node

    deadline, jobs = timezone.now() + timedelta(hours=1), [waiting[at % len(waiting)] for at in range(len(nodes))]
    shares = dict(JobShare.objects.filter(job__in=jobs).values_list("job", "pk"))
    taken = [(node, job, at // len(waiting)) for at, (node, job) in enumerate(zip(nodes, jobs, strict=True))]
    leases = (
        Lease(job=job, share_id=shares[job.pk], node=node, start=at, stop=at + 1, decision="warm", deadline=deadline)
        for node, job, at in taken
    )
    Lease.objects.bulk_create(leases, batch_size=1000)
    held = (HeldModel(node=node, model_id=job.model_id, pixel_seconds=1e-6) for node, job, _ in taken)
    HeldModel.objects.bulk_create(held, batch_size=1000)
    Node.objects.filter(pk__in=[node.pk for node in nodes]).update(state="BUSY", idle_since=None)


def calls() -> dict[str, Callable[[], object]]:
    """What is measured, by name."""
    from django.contrib.auth.models import User
    from django.test import Client
    from django.utils import timezone

    from benchmarks.rivals import ground
    from rrm.farm import market, reconciling, scaling, sessions

    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(User.objects.create_superuser("root"))

    def page(path: str) -> None:
        answer = client.get(path)
        assert answer.status_code == 200, (path, answer.content[:200])

    return {
        "plan of all resources": lambda: scaling.plans(timezone.now()),
        "repair loop": lambda: reconciling.reconcile(timezone.now()),
        "sessions loop": lambda: sessions.turn(timezone.now()),
        "market of a site": lambda: market._read((ground.RESOURCE, "alps")),
        **{f"GET {path}": partial(page, f"{_V2}/{path}") for path in _PAGES},
        "GET /metrics": lambda: page("/metrics"),
    }


def measure(size: Size) -> Millis:
    """The median of each call, in milliseconds."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection
    from django.utils import timezone

    from rrm.farm.models import Node

    call_command("migrate", verbosity=0)
    lay_out(size)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    found = {}
    for name, call in calls().items():
        took = []
        for _ in range(_TIMES):
            Node.objects.update(last_heartbeat=timezone.now())
            began = time.perf_counter()
            call()
            took.append(1e3 * (time.perf_counter() - began))
        found[name] = round(statistics.median(took), 1)
    return found


def on(database: str, size: Size) -> Millis:
    """Measured in a process that sees its settings."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rrm-large-"))
        (Path(folder) / "static").mkdir()
        is_file = database == "sqlite"
        url = f"sqlite:///{folder}/large.sqlite3" if is_file else stack.enter_context(services.postgresql(durable=True))
        settings = {
            "DJANGO_SETTINGS_MODULE": "rrm.settings",
            "RRM_DATA": folder,
            "DATABASE_URL": url,
            "REDIS_URL": stack.enter_context(services.redis()),
            _HERE: json.dumps(size),
        }
        command = (sys.executable, "-m", "benchmarks.large")
        done = subprocess.run(command, env={**os.environ, **settings}, stdout=subprocess.PIPE, text=True, check=True)
        return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    given = _command.parser(__doc__, quick="a tenth of the farm").parse_args()
    size = _QUICK if given.quick else _FULL
    print(", ".join(f"{count:,} {what}" for what, count in size.items()))
    found = {name: on(name, size) for name in ("postgresql", "sqlite")}
    print(f"{'milliseconds':<24}" + "".join(f"{name:>12}" for name in found))
    for name in found["postgresql"]:
        print(f"{name:<24}" + "".join(f"{millis[name]:>12.1f}" for millis in found.values()))
    _command.keep(found, given)


if __name__ == "__main__":
    if _HERE in os.environ:
        print(json.dumps(measure(json.loads(os.environ[_HERE]))))
    else:
        main()
