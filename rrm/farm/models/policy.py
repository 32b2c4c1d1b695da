"""What scheduling goes by beside the work itself: shares of the farm, what was measured, who is trusted."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from rrm.farm.models.places import RenderModel, Resource, Site


class Quota(models.Model):
    """A person's share of the farm. Who has no row has weight 1 and the limits of the settings."""

    owner = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="quota")
    weight = models.FloatField(
        default=1.0, validators=[MinValueValidator(0.01)], help_text="Node-seconds beside an owner of weight 1."
    )
    max_nodes = models.PositiveIntegerField(null=True, blank=True, help_text="Nodes that render for them at once.")
    max_queued_pixels = models.BigIntegerField(
        null=True, blank=True, validators=[MinValueValidator(0)], help_text="Of all their unfinished jobs."
    )
    max_sessions = models.PositiveIntegerField(null=True, blank=True, help_text="Open at once.")
    charged_seconds = models.FloatField(default=0.0, editable=False, help_text="Node-seconds had, by which turns go.")

    class Meta:
        ordering = ["owner"]
        constraints = [models.CheckConstraint(condition=Q(weight__gt=0), name="quota_weight_positive")]

    def __str__(self) -> str:
        return f"{self.owner}: weight {self.weight:g}"


class Estimate(models.Model):
    """What a render model costs on a class of nodes (`Node.hardware`): moving averages of what was measured."""

    model = models.ForeignKey(RenderModel, on_delete=models.CASCADE, related_name="estimates")
    hardware = models.CharField(max_length=100)
    pixel_seconds = models.FloatField(null=True, blank=True, help_text="Seconds per sample with all cores at work.")
    load_seconds = models.FloatField(null=True, blank=True)
    measured_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["model", "hardware"]
        constraints = [models.UniqueConstraint(fields=["model", "hardware"], name="estimate_once")]

    def __str__(self) -> str:
        return f"{self.model} on {self.hardware}"


class Block(models.Model):
    """A machine, or one node of it, that is given no work of a renderer until it is forgiven."""

    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="blocks")
    hostname = models.CharField(max_length=255)
    node = models.CharField(max_length=100, blank=True, help_text="Name of the node; empty: every node of the machine.")
    renderer = models.CharField(max_length=20)
    reason = models.CharField(max_length=500)
    created_at = models.DateTimeField(default=timezone.now)
    until = models.DateTimeField(help_text="When it is forgiven.")
    lifted_by = models.CharField(max_length=150, blank=True, help_text="Who forgave it before that.")

    class Meta:
        ordering = ["-created_at", "id"]
        indexes = [models.Index(fields=["until", "site", "hostname"], name="block_in_force")]

    def __str__(self) -> str:
        return f"Block of {self.node or self.hostname} at {self.site_id} for {self.renderer}"


class Preload(models.Model):
    """A wish that so many nodes of a resource hold a model before anybody needs it."""

    model = models.ForeignKey(RenderModel, on_delete=models.CASCADE, related_name="preloads")
    resource = models.ForeignKey(Resource, on_delete=models.CASCADE, related_name="preloads")
    nodes = models.PositiveIntegerField(default=1, validators=[MinValueValidator(1)])
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    until = models.DateTimeField(help_text="When nobody wants it any more.")

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [models.UniqueConstraint(fields=["model", "resource"], name="preload_once")]

    def __str__(self) -> str:
        return f"{self.model} on {self.nodes} of {self.resource_id}"
