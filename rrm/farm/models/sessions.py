"""Sessions: a person's booking of one renderer, and whether bookings are taken at all."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from rrm.domain.states import SessionState
from rrm.farm.models.places import Node, RenderModel, Resource
from rrm.farm.models.states import choices


class Session(models.Model):
    """An interactive booking of one node, with a lease of its own that its user's traffic renews."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="sessions")
    label = models.CharField(max_length=200, blank=True)
    resource = models.ForeignKey(Resource, on_delete=models.PROTECT, related_name="sessions")
    model = models.ForeignKey(RenderModel, on_delete=models.PROTECT, null=True, blank=True, related_name="sessions")
    node = models.ForeignKey(Node, on_delete=models.SET_NULL, null=True, blank=True, related_name="sessions")
    state = models.CharField(max_length=12, choices=choices(SessionState), default=SessionState.PENDING)
    state_since = models.DateTimeField(default=timezone.now)
    reason = models.CharField(max_length=500, blank=True)
    warm = models.BooleanField(default=False, help_text="Its node held the model already.")
    created_at = models.DateTimeField(default=timezone.now)
    opened_at = models.DateTimeField(
        null=True, blank=True, help_text="Since when a renderer is wanted; empty: not yet, as a v1 program made it."
    )
    wait_until = models.DateTimeField(null=True, blank=True, help_text="Until when its user waits for a renderer.")
    ready_at = models.DateTimeField(null=True, blank=True)
    idle_seconds = models.PositiveIntegerField(default=300)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="When it ends if nobody uses it.")
    hard_expires_at = models.DateTimeField(null=True, blank=True, help_text="When it ends in any case.")
    warned_seconds = models.PositiveIntegerField(null=True, editable=False, help_text="The last warning given.")
    finished_at = models.DateTimeField(null=True, blank=True)
    told_at = models.DateTimeField(
        null=True, editable=False, help_text="When a v1 program was told that it is over: it exists there until then."
    )
    overrides = models.JSONField(default=dict, blank=True, help_text="Of the resource, for a node of its own.")

    class Meta:
        ordering = ["-created_at", "id"]
        indexes = [models.Index(fields=["state", "resource", "opened_at"], name="session_queue")]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=list(SessionState)), name="session_state_known"),
            models.UniqueConstraint(fields=["node"], condition=Q(state=SessionState.READY), name="session_node_once"),
            models.CheckConstraint(
                condition=~Q(state=SessionState.READY)
                | Q(node__isnull=False, expires_at__isnull=False, hard_expires_at__isnull=False),
                name="session_ready_has_node",
            ),
        ]

    def __str__(self) -> str:
        return self.label or str(self.pk)


class FarmSwitches(models.Model):
    """What an operator has switched off for everybody; one row."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    sessions_suspended = models.BooleanField(default=False)
    reason = models.CharField(max_length=500, blank=True)

    class Meta:
        verbose_name_plural = "farm switches"

    def __str__(self) -> str:
        return "suspended" if self.sessions_suspended else "open"
