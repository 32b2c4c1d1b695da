"""What every kind of node has: how it introduces itself, and how its process ends."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class Exit(IntEnum):
    """How the process ends."""

    DONE = 0
    BROKEN = 1
    MANAGER_GONE = 3
    NOT_AUTHORIZED = 4
    ABANDONED = 130


@dataclass(frozen=True)
class Identity:
    """How the node introduces itself."""

    name: str
    hostname: str
    version: str
    cores: int
    pid: int
    address: str | None = None
    machine: str = ""  # what a scheduler calls it, where there is one
    lifetime: float | None = None  # seconds from now until whoever started it ends it

    def as_json(self) -> dict[str, Any]:
        return {
            "node": self.name,
            "hostname": self.hostname,
            "machine": self.machine,
            "address": self.address,
            "version": self.version,
            "cores": self.cores,
            "pid": self.pid,
            "lifetime_seconds": self.lifetime,
        }
