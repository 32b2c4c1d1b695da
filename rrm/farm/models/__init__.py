"""What the manager remembers. Constraints keep impossible rows out; `transitions.advance` alone writes a `state`."""

from __future__ import annotations

from rrm.farm.models.places import HeldModel, Node, RenderModel, Resource, ResourceSite, Site
from rrm.farm.models.policy import Block, Estimate, Preload, Quota
from rrm.farm.models.records import Event, IdempotencyKey, Loop, Token
from rrm.farm.models.sessions import FarmSwitches, Session
from rrm.farm.models.work import Job, JobShare, Lease

__all__ = [
    "Block",
    "Estimate",
    "Event",
    "FarmSwitches",
    "HeldModel",
    "IdempotencyKey",
    "Job",
    "JobShare",
    "Lease",
    "Loop",
    "Node",
    "Preload",
    "Quota",
    "RenderModel",
    "Resource",
    "ResourceSite",
    "Session",
    "Site",
    "Token",
]
