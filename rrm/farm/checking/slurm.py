"""What is looked at on a cluster: the scheduler, and whether it would take the jobs of the site's resources."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rrm.errors import LauncherError
from rrm.farm.checking.letter import Examination, Wrong
from rrm.farm.checking.remote import Visit
from rrm.farm.models import Resource, Site
from rrm.farm.specs import spec_for
from rrm.launchers.slurm.directives import directives

_ANSWER_SECONDS = 6.0
_MOST_TRIED = 4
_OF_NO_WEIGHT = (
    "--job-name", "--comment", "--output", "--error", "--open-mode", "--no-requeue", "--export", "--signal",
    "--nodes=1", "--ntasks-per-node",
)  # fmt: skip


@dataclass(frozen=True)
class _Order:
    """What a resource asks the scheduler for, and the resources that ask for the same."""

    options: tuple[str, ...]
    resources: tuple[str, ...]

    def __str__(self) -> str:
        return f"{', '.join(self.resources)} ({' '.join(self.options) or 'defaults of the cluster'})"


def examinations(visit: Visit) -> list[Examination]:
    """In the order of the letter."""
    return [
        Examination("scheduler", lambda seconds: _scheduler(visit, seconds), 9.0, needs=("login",)),
        Examination(
            "partition and account", lambda seconds: _submissions(visit, seconds), 12.0, needs=("login", "scheduler")
        ),
    ]


def _scheduler(visit: Visit, seconds: float) -> str:
    found = visit.ask("scheduler", seconds, limit=min(_ANSWER_SECONDS, seconds - 1))
    if "trouble" in found:
        raise Wrong(
            f"{found['trouble']}. Is slurmctld up, and are Slurm's commands set up for logins without a terminal"
            " (PATH, SLURM_CONF in ~/.bashrc or ~/.ssh/environment)?"
        )
    partitions = found["partitions"]
    wanted = {resource.queue for resource in _resources(visit) if resource.queue} - partitions.keys()
    have = "; ".join(
        f"{name}{' (default)' if name == found['default'] else ''} {state}, {idle} of {total} nodes idle"
        for name, (state, total, idle, _) in sorted(partitions.items())
    )
    if wanted:
        raise Wrong(f"There is no partition {', '.join(sorted(wanted))}. {found['version']} has: {have}.")
    for resource in _resources(visit):
        _compare_time(resource, resource.queue or found["default"], partitions)
    return f"{found['version']} answers; its partitions: {have}."


def _compare_time(resource: Resource, queue: str, partitions: Mapping[str, Sequence[Any]]) -> None:
    """Slurm takes jobs that are longer than any of their partition may be, and never starts them. Raises Wrong."""
    longest = partitions[queue][3] if queue in partitions else None
    if longest is not None and resource.time_limit > longest:
        raise Wrong(
            f"{resource.pk} asks for {resource.time_limit} s, and the partition {queue} allows {longest} s: its jobs"
            " would wait for ever. Lower its `time_limit`, or choose another `queue`."
        )


def _submissions(visit: Visit, seconds: float) -> str:
    """Asked of the scheduler itself, which knows limits that nobody else does; nothing is submitted."""
    orders = _orders(visit)
    said, refused = [], []
    for order in orders[:_MOST_TRIED]:
        limit = min(_ANSWER_SECONDS, seconds / min(len(orders), _MOST_TRIED) - 0.5)
        answer = visit.ask("submission", limit + 2, options=order.options, limit=limit)
        if "trouble" in answer:
            refused.append(f"{order} is refused: {answer['trouble']}")
        else:
            visit.submission = visit.submission or list(order.options)
            said.append(f"{order} would be accepted ({answer['said'].splitlines()[-1].removeprefix('sbatch: ')})")
    if refused:
        advice = "Mend `queue`, `project` and the other options of the resource; its administrators know yours."
        raise Wrong(". ".join([*refused, *said, advice]))
    return ". ".join(said) + "."


def _resources(visit: Visit) -> list[Resource]:
    return list(visit.site.resources.filter(enabled=True).order_by("pk"))


def _orders(visit: Visit) -> Sequence[_Order]:
    found: dict[tuple[str, ...], list[str]] = {}
    for resource in _resources(visit):
        found.setdefault(_options(resource, visit.site), []).append(resource.pk)
    return [_Order(options, tuple(names)) for options, names in found.items()] or [_Order((), ("No resource yet",))]


def _options(resource: Resource, site: Site) -> tuple[str, ...]:
    """Those of its jobs, the extra ones too, that decide whether and where one may run. Raises Wrong."""
    name = "rrm-check"
    try:
        lines = directives(name, name, spec_for(resource, site, name, token="").batch)
    except LauncherError as error:
        raise Wrong(f"{resource.pk}: {error.detail}") from None
    return tuple(word for line in lines if not line.startswith(_OF_NO_WEIGHT) for word in shlex.split(line))
