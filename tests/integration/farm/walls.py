"""A clock for everybody that tests set."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone

from rrm.farm import loops, reconciling, reports, scaling, sessions
from rrm.farm.models import Node


class Wall:
    """The clock of everybody."""

    def __init__(self) -> None:
        self.at = timezone.now()

    def __call__(self) -> datetime:
        self.at += timedelta(milliseconds=1)
        return self.at

    def set(self, by: timedelta) -> None:
        self.at += by

    def turns(self, *, seconds: float = 0, every: float = 10, heard: bool = False) -> None:
        """The loops turn for so long, as beat has them, while nodes are heard or not."""
        for _ in range(round(seconds / every) + 1):
            for node in Node.objects.all() if heard else ():
                reports.heartbeat(node, {"leases": []})
            loops.run("reconcile", reconciling.reconcile)
            loops.run("autoscale", scaling.autoscale)
            loops.run("sessions", sessions.turn)
            self.at += timedelta(seconds=every)
