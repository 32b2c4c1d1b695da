"""Processes are killed at random moments of real jobs; every job still ends with the same bytes.

KILL_SEED repeats the choices of an earlier run (the seed is printed), KILLS changes how many there are.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pytest

from tests.acceptance.living import Process
from tests.acceptance.long_job import ORDER, PATIENCE, Outcome, crowd, flaws, outcome, progress, wait_for_order
from tests.acceptance.stack import FINAL, Client, Stack, running_rrm
from tests.thoroughness import tries

pytestmark = [pytest.mark.acceptance, pytest.mark.slow_kill, pytest.mark.timeout(1800)]
NODES = 2
# How often each is hit in a round of 20.
TARGETS = {
    "node": 5,
    "web": 3,
    "worker": 2,
    "worker's child": 2,
    "beat": 1,
    "broker": 2,
    "supervisor": 2,
    "everything": 3,
}
KILLS = tries("KILLS", 20, 60)
SEED = int(os.environ.get("KILL_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
KILLS_PER_JOB = 2
LAST_TILE = 0.15  # the part of the kills that waits for the last tile, to hit composing


@dataclass(frozen=True)
class Kill:
    """Whom to kill when so much of the job is done; `pick` chooses among several, as a part of 1."""

    target: str
    moment: float
    pick: float


def plan(seed: int, kills: int) -> list[list[Kill]]:
    """The kills of each job, in order; the same for the same seed."""
    choices = random.Random(seed)
    targets = [target for target, times in TARGETS.items() for _ in range(times)]
    wanted = (targets * (kills // len(targets) + 1))[:kills] if kills > len(targets) else choices.sample(targets, kills)
    choices.shuffle(wanted)
    made = [Kill(target, _moment(choices), choices.random()) for target in wanted]
    jobs = [made[start : start + KILLS_PER_JOB] for start in range(0, len(made), KILLS_PER_JOB)]
    return [sorted(job, key=lambda kill: kill.moment) for job in jobs]


def _moment(choices: random.Random) -> float:
    return 1.0 if choices.random() < LAST_TILE else choices.uniform(0.0, 0.95)


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A copy as it ships, which keeps two nodes."""
    with running_rrm(tmp_path_factory.mktemp("arena")) as own:
        with own.client() as client:
            client.call("PATCH", "resource/mandelbrot/", json={"min_nodes": NODES, "max_nodes": NODES})
            wait_for_order(own, client, NODES)
        yield own


@pytest.fixture(scope="module")
def undisturbed(arena: Stack) -> Outcome:
    with arena.client() as client:
        job = client.submit(**ORDER)
        client.finished(job, PATIENCE)
        return outcome(client, job)


def strike(stack: Stack, kill: Kill) -> str:
    """Kill, and start again what nobody else starts again. Returns what was hit."""
    if kill.target == "everything":
        hit = stack.kill_everything()
        stack.start()
        return f"{len(hit)} processes"
    if kill.target == "supervisor":
        os.kill(stack.supervisor, signal.SIGKILL)
        stack.wait_for_supervisor()
        stack.start()
        return "the supervisor"
    while True:
        victims = _wait_for_victims(stack, kill.target)
        victim = victims[int(kill.pick * len(victims))]
        with contextlib.suppress(ProcessLookupError):  # it ended by itself since it was seen
            os.kill(victim.pid, signal.SIGKILL)
            return f"{victim.role} {victim.pid}"


def _wait_for_victims(stack: Stack, target: str) -> list[Process]:
    """What may be hit; after an earlier kill it may take a while to be there again."""
    end = time.monotonic() + 120.0
    while not (found := _victims(stack, target)):
        assert time.monotonic() < end, f"there is no {target} to kill"
        time.sleep(0.02)
    return found


def _victims(stack: Stack, target: str) -> list[Process]:
    if target == "worker's child":
        found = [process for process in stack.processes("worker") if not process.leads]
    else:
        found = [process for process in stack.processes(target) if process.leads]
    return sorted(found, key=lambda process: process.pid)


def disturbed(stack: Stack, client: Client, kills: list[Kill]) -> tuple[str, int]:
    """Submit the job and carry out the kills at their moments: its id, and how many met it unfinished."""
    job = client.submit(**ORDER)
    met = 0
    for kill in kills:
        client.until(partial(progress, client, job), kill.moment.__le__, PATIENCE, most=0.05)
        state = client.job(job)["state"]
        met += state not in FINAL
        hit = strike(stack, kill)
        print(f"  {kill.target} at {kill.moment:.2f}: {hit} killed while the job was {state}", flush=True)
    return job, met


def test_jobs_end_with_the_same_bytes_whatever_is_killed(arena: Stack, undisturbed: Outcome) -> None:
    jobs = plan(SEED, KILLS)
    print(f"KILL_SEED={SEED}, {KILLS} kills", flush=True)
    met = 0
    with arena.client() as client:
        for number, kills in enumerate(jobs, 1):
            began = time.monotonic()
            job, count = disturbed(arena, client, kills)
            met += count
            assert flaws(arena, client, job, undisturbed) == [], f"KILL_SEED={SEED}, job {number}: {kills}"
            wait_for_order(arena, client, NODES)
            print(f"job {number} of {len(jobs)} is whole after {time.monotonic() - began:.1f} s", flush=True)
        assert crowd(arena, client)["node"] == NODES
    assert met >= 0.75 * KILLS, f"only {met} kills met an unfinished job"


def test_the_same_seed_makes_the_same_choices() -> None:
    assert plan(7, 20) == plan(7, 20) != plan(8, 20)
    hit = {kill.target for kills in plan(SEED, 20) for kill in kills}
    assert hit == set(TARGETS)
