"""Removing resources."""

from __future__ import annotations

from django.db import transaction
from django.db.models import ProtectedError

from rrm.domain.states import NODE_GONE, SESSION_OPEN, SessionState
from rrm.errors import StateConflict
from rrm.farm.models import Node, Resource, Session
from rrm.farm.transitions import record


def remove(resource: Resource, actor: str) -> None:
    """Remove a resource that nothing belongs to. Raises StateConflict otherwise."""
    try:
        with transaction.atomic():
            record(resource, "resource", {"id": resource.pk, "deleted": True}, actor=actor)
            resource.delete()
    except ProtectedError as error:
        raise StateConflict(
            f"{len(error.protected_objects)} nodes, sessions or jobs belong to the resource {resource.pk}; "
            "disable it instead."
        ) from None


def remove_with_past(resource: Resource, actor: str) -> None:
    """The same with its sessions that are over and its nodes that are gone; their events stay.

    Raises StateConflict while one is open or lives, and for a resource that has had jobs.
    """
    with transaction.atomic():
        over = set(SessionState) - SESSION_OPEN
        Session.objects.filter(resource=resource, state__in=over).delete()
        Node.objects.filter(resource=resource, state__in=NODE_GONE, leases=None).delete()
        remove(resource, actor)
