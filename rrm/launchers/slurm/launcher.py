"""Nodes as Slurm jobs: their scripts are written here, everything else is done at the login host (`site`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from rrm import errors
from rrm.launchers import base, far, logs
from rrm.launchers.base import Handle, Launcher, Liveness, NodeSpec, Observation, Stream, Survey, agent_command
from rrm.launchers.bootstrap import Renderers
from rrm.launchers.far import Line
from rrm.launchers.slurm import (
    answers,
    cancelling,
    commands,
    folder,
    reasons,
    site,
    states,
    submitting,
    surveying,
)
from rrm.launchers.slurm.script import batch_script
from rrm.launchers.slurm.sharing import SharedSurvey, job_name, shared_survey

POLL_INTERVAL = timedelta(seconds=10)
_ANSWER_SECONDS = 40.0
_START_SECONDS = 60.0
_DOUBT = timedelta(seconds=30)


class SlurmLauncher(Launcher):
    """Renderer nodes on one cluster, reached through its login host.

    `installed` is asked before each launch of the shipped agent. The scheduler is asked once for each `poll_interval`
    and process, whoever calls. A submission that may have got through is looked for during `doubt` before it is
    repeated: longer than a scheduler takes to forget a message that nobody waits for.
    """

    def __init__(
        self,
        connection: Line,
        installed: Callable[[Any], Renderers],
        *,
        poll_interval: timedelta = POLL_INTERVAL,
        doubt: timedelta = _DOUBT,
    ) -> None:
        self._connection = connection
        self._installed = installed
        self._interval = poll_interval.total_seconds()
        self._doubt = doubt.total_seconds()

    def launch(self, spec: NodeSpec) -> Handle:
        lib, python = "", ""
        if not spec.command:
            renderers = self._installed(self._connection)
            lib, python = renderers.lib, renderers.python
        job = self._ask(
            "submit",
            _START_SECONDS,
            name=spec.name,
            script=self._script(spec, lib, python),
            token=spec.token,
            mark=self._mark,
            doubt_seconds=self._doubt,
        )
        handle = _handle(spec.name, job, spec.batch.nodes)
        self._shared.launched(handle)
        return handle

    def script(self, spec: NodeSpec) -> str:
        target = self._connection.target
        return self._script(spec, f"{target.folder}/renderers/current/lib", target.python)

    def survey(self, handles: Sequence[Handle]) -> Survey:
        def ask() -> Mapping[str, Any]:
            answer: Mapping[str, Any] = self._ask("survey", handles=list(handles), mark=self._mark)
            return answer

        known = self._shared.refresh(self._interval, ask)
        if known.problem:
            unknown = Observation(Liveness.UNKNOWN)
            return Survey({handle["name"]: unknown for handle in handles}, problem=known.problem)
        asked = {job_name(handle) for handle in handles}
        strays = {name: _handle(name, job[0], job[1]) for name, job in known.jobs.items() if name not in asked}
        return Survey({handle["name"]: _observed(known, handle) for handle in handles}, strays)

    def stop(self, handle: Handle, grace: timedelta) -> bool:
        seconds = grace.total_seconds()
        proven = self._shared.proves(handle)
        asked = {"handle": handle, "grace": seconds, "mark": self._mark, "proven": proven}
        return bool(self._ask("cancel", _ANSWER_SECONDS + seconds, **asked))

    def logs(self, handle: Handle, stream: Stream, tail: int) -> str:
        return str(self._ask("logs", handle=handle, stream=stream, tail=tail))

    def account(self, handle: Handle) -> str:
        return str(self._ask("account", handle=handle))

    def _script(self, spec: NodeSpec, lib: str, python: str) -> str:
        return batch_script(spec, self._mark, spec.command or agent_command(spec, python), lib)

    @property
    def _mark(self) -> str:
        """The comment of every job of this installation of RRM."""
        return f"rrm:{self._connection.target.installation or 'rrm'}"

    @property
    def _shared(self) -> SharedSurvey:
        return shared_survey(self._connection.target)

    def _ask(self, deed: str, timeout: float = _ANSWER_SECONDS, **what: Any) -> Any:
        return far.ask(self._connection, _far_end(), deed, what, timeout)


def members(handle: Handle) -> list[Handle]:
    """The handles of a job's renderers, one on each of its machines; the first has the name of the job."""
    name = handle["name"]
    return [
        {**handle, "name": f"{name}.{number}" if number else name, "of": name, "member": number}
        for number in range(handle.get("machines", 1))
    ]


def _handle(name: str, job: str, machines: int) -> Handle:
    return {"name": name, "job": job} | ({"machines": machines} if machines > 1 else {})


def _observed(known: SharedSurvey, handle: Handle) -> Observation:
    told = known.nodes.get(handle["name"])
    if told is not None and handle.get("job", told[3]) == told[3]:
        return _observation(told)
    job = known.jobs.get(job_name(handle))
    if job is not None and handle.get("job", job[0]) == job[0]:
        return _observation(job[2:])
    if known.is_newer(handle):
        return Observation(Liveness.PENDING, "Was submitted a moment ago.")
    return Observation(Liveness.UNKNOWN, "The scheduler has not been asked about it yet.")


def _observation(told: Sequence[str]) -> Observation:
    seen = Observation(Liveness(told[0]), told[1])
    return replace(seen, ends_at=datetime.fromisoformat(told[2])) if told[2] else seen


@cache
def _far_end() -> str:
    ours = (answers, states, reasons, commands, folder, submitting, surveying, cancelling)
    return far.bundle(site, *ours, logs, base, errors)
