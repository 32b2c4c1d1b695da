"""What else is remembered: events, credentials, orders that may be repeated, and the loops' clocks."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone

from rrm.farm.models.work import Job


class Event(models.Model):
    """What happened, in order; feeds the live pages, the audit trail and the replay of a broken stream."""

    created_at = models.DateTimeField(default=timezone.now, db_index=True)
    kind = models.CharField(max_length=20)
    subject_type = models.CharField(max_length=20)
    subject_id = models.CharField(max_length=50)
    # Not indexed alone: the constraint below has an index that begins with it.
    job = models.ForeignKey(Job, on_delete=models.CASCADE, null=True, blank=True, related_name="events", db_index=False)
    seq = models.PositiveIntegerField(null=True, blank=True, help_text="Position in the job's own stream, gapless.")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        help_text="Who may see it beside operators, where it is of no job.",
    )
    actor = models.CharField(max_length=150, blank=True)
    data = models.JSONField(default=dict)

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["subject_type", "subject_id", "id"], name="event_subject")]
        constraints = [models.UniqueConstraint(fields=["job", "seq"], name="event_seq_once")]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject_type} {self.subject_id}"


class Token(models.Model):
    """A bearer token of a person or program. The secret itself is never stored."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=12, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.JSONField(default=list)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at", "id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class IdempotencyKey(models.Model):
    """The job that a client's `Idempotency-Key` made, so that the same request made twice makes one job."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="idempotency_key_once")]


class Loop(models.Model):
    """When each periodic loop last ran, and who runs it now."""

    name = models.CharField(max_length=50, primary_key=True)
    running_until = models.DateTimeField(null=True, blank=True)
    again = models.BooleanField(default=False)
    """Whether somebody asked for a turn while one was under way, which may not have seen what it was asked for."""
    last_finished = models.DateTimeField(null=True, blank=True)
    """When it last came through."""
    last_turned = models.DateTimeField(null=True, blank=True)
    """When a turn last began, passed a fence or ended, well or not."""
    steady_since = models.DateTimeField(null=True, blank=True)
    last_error = models.CharField(max_length=500, blank=True)
