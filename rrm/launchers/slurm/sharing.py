"""One question to a scheduler answers everybody in the process: its administrators count our questions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rrm.errors import LauncherError
from rrm.launchers.base import Handle

_WORTH_WAITING_SECONDS = 1.0
_PROOF_SECONDS = 60.0


@dataclass
class SharedSurvey:
    """The last answer of a site, in the words of the far end; a question is not repeated within `interval` seconds."""

    nodes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    jobs: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    problem: str = "It was not asked yet."
    _asked: float = float("-inf")
    _launched: dict[str, tuple[str, float]] = field(default_factory=dict)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def refresh(self, interval: float, ask: Callable[[], Mapping[str, Any]]) -> SharedSurvey:
        """Ask unless that was done a moment ago, and give what is known then; others wait for the same answer."""
        with self._turn:
            early = self._asked + interval - time.monotonic()
            if 0 < early <= _WORTH_WAITING_SECONDS:  # who comes regularly must not miss every second turn
                time.sleep(early)
            if early <= _WORTH_WAITING_SECONDS:
                self._ask(ask)
            return SharedSurvey(self.nodes, self.jobs, self.problem, self._asked, self._launched)

    def _ask(self, ask: Callable[[], Mapping[str, Any]]) -> None:
        self._asked = time.monotonic()
        self._launched = {
            name: known for name, known in self._launched.items() if self._asked - known[1] < _PROOF_SECONDS
        }
        try:
            answer = ask()
        except LauncherError as trouble:
            self.nodes, self.jobs, self.problem = {}, {}, trouble.detail
        else:
            self.nodes, self.jobs, self.problem = answer["nodes"], answer["jobs"], ""

    def launched(self, handle: Handle) -> None:
        """The scheduler took this job after whatever it was asked before."""
        self._launched = {**self._launched, handle["name"]: (handle["job"], time.monotonic())}

    def is_newer(self, handle: Handle) -> bool:
        """Whether the job was submitted after the last question."""
        job, when = self._launched.get(job_name(handle), ("", float("-inf")))
        return job == handle.get("job", job) and when > self._asked

    def proves(self, handle: Handle) -> bool:
        """Whether the scheduler said of late that the job is the node's."""
        told = self.jobs.get(job_name(handle))
        return told is not None and told[0] == handle.get("job") and time.monotonic() - self._asked < _PROOF_SECONDS


def job_name(handle: Handle) -> str:
    """The name of the node's job: several members share one."""
    return str(handle.get("of") or handle["name"])


_shared: dict[object, SharedSurvey] = {}
_registry = threading.Lock()


def shared_survey(site: object) -> SharedSurvey:
    """This process's, for whatever tells sites apart."""
    with _registry:
        return _shared.setdefault(site, SharedSurvey())
