"""Bells and wake-ups: prompt while the broker is there, harmless while it is not."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
import redis
from django.conf import settings
from django.db import transaction

from rrm.farm import wakeups


@pytest.fixture
def broker(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    """A real Redis that wake-ups of this process go to."""
    monkeypatch.setattr(settings, "RRM", replace(settings.RRM, redis_url=redis_url))
    monkeypatch.setattr(wakeups, "_couriers", {})
    client = redis.Redis.from_url(redis_url)
    client.flushall()
    yield client
    client.close()


def test_a_ring_is_heard_in_this_process_by_everyone_who_listens() -> None:
    async def scene() -> list[bool]:
        bell = wakeups.Bell()
        async with bell.listen() as one, bell.listen() as two:
            asyncio.get_running_loop().call_later(0.01, bell.ring)
            heard = await asyncio.gather(one.wait(20), two.wait(20))
            return [*heard, await one.wait(0.01)]

    assert asyncio.run(scene()) == [True, True, False]


def test_a_ring_from_another_thread_is_heard() -> None:
    async def scene() -> bool:
        bell = wakeups.Bell()
        async with bell.listen() as listener:
            await asyncio.to_thread(bell.ring)
            return await listener.wait(20)

    assert asyncio.run(scene())


def test_nobody_hears_a_bell_after_leaving() -> None:
    async def scene() -> None:
        bell = wakeups.Bell()
        async with bell.listen():
            pass
        bell.ring()

    asyncio.run(scene())


@pytest.mark.redis
def test_a_ring_reaches_the_other_processes(broker: redis.Redis, redis_url: str) -> None:
    ring = "import django; django.setup(); from rrm.farm import wakeups; wakeups.announce_events()"

    async def scene() -> bool:
        async with wakeups.EVENTS.listen() as listener:
            while not broker.pubsub_numsub("rrm:bell")[0][1]:
                await asyncio.sleep(0.02)
            await listener.wait(0.01)
            environment = {**os.environ, "REDIS_URL": redis_url, "DJANGO_SETTINGS_MODULE": "rrm.settings"}
            await asyncio.to_thread(subprocess.run, [sys.executable, "-c", ring], env=environment, check=True)
            return await listener.wait(20)

    assert asyncio.run(scene())


WAKE = """
import django
django.setup()
from django.db import transaction
from rrm.farm import wakeups
with transaction.atomic():
    wakeups.wake("rrm.autoscale")
    transaction.set_rollback(True)
with transaction.atomic():
    wakeups.wake("rrm.reconcile")
assert wakeups.flush(60)
"""


@pytest.mark.redis
def test_a_task_is_sent_after_commit_and_never_after_a_rollback(broker: redis.Redis, redis_url: str) -> None:
    environment = {**os.environ, "REDIS_URL": redis_url, "DJANGO_SETTINGS_MODULE": "rrm.settings"}

    subprocess.run([sys.executable, "-c", WAKE], env=environment, check=True, timeout=120)

    (message,) = broker.lrange("control", 0, -1)
    assert b"rrm.reconcile" in message


LATER = """
import django
django.setup()
import sys, time
from datetime import timedelta
from django.utils import timezone
from rrm.farm import wakeups
print(time.monotonic(), flush=True)
for name, seconds in (("punctual", 0.5), ("never", 3600)):
    wakeups.wake("rrm.end_wait", name, at=timezone.now() + timedelta(seconds=seconds))
wakeups.wake("rrm.autoscale")
sys.stdin.read()
"""


@pytest.mark.redis
def test_a_task_for_later_is_sent_then_and_keeps_no_other_waiting(broker: redis.Redis, redis_url: str) -> None:
    environment = {**os.environ, "REDIS_URL": redis_url, "DJANGO_SETTINGS_MODULE": "rrm.settings"}
    pipe, command = subprocess.PIPE, [sys.executable, "-c", LATER]
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe) as process:
        assert process.stdout
        begun = float(process.stdout.readline())
        while broker.llen("control") < 2 and time.monotonic() < begun + 60:
            time.sleep(0.01)
        assert time.monotonic() - begun > 0.5
        time.sleep(0.1)
        process.communicate()
    late, at_once = broker.lrange("control", 0, -1)
    assert b"rrm.autoscale" in at_once
    assert b"punctual" in b64decode(json.loads(late)["body"])


MUCH_LATER = """
import django
django.setup()
from datetime import timedelta
from django.utils import timezone
from rrm.farm import wakeups
wakeups._QUEUE_LIMIT = 3
for number in range(5):
    wakeups.wake("rrm.end_wait", str(number), at=timezone.now() + timedelta(hours=1))
wakeups.wake("rrm.autoscale")
wakeups.wake("rrm.end_wait", "0")
assert wakeups.flush(60)
"""


@pytest.mark.redis
def test_what_waits_for_its_time_keeps_nothing_from_being_sent(broker: redis.Redis, redis_url: str) -> None:
    environment = {**os.environ, "REDIS_URL": redis_url, "DJANGO_SETTINGS_MODULE": "rrm.settings"}
    command = [sys.executable, "-c", MUCH_LATER]

    done = subprocess.run(command, env=environment, check=True, timeout=120, capture_output=True, text=True)

    assert broker.llen("control") == 2
    assert done.stderr.count("are left to the loops") == 1


@pytest.mark.django_db(transaction=True)
def test_without_a_broker_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "RRM", replace(settings.RRM, redis_url="redis://127.0.0.1:1/0"))
    monkeypatch.setattr(wakeups, "_couriers", {})
    begun = time.monotonic()

    for _ in range(100):
        transaction.on_commit(partial(wakeups.wake, "rrm.autoscale"))
        wakeups.announce_work()
        wakeups.announce_events()

    assert time.monotonic() - begun < 10
