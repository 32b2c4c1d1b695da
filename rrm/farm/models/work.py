"""What is rendered: jobs, the ranges of tiles they are offered in, and the leases that nodes have of them."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from rrm.domain import capabilities
from rrm.domain.states import JobState, LeaseState
from rrm.domain.tiling import TileGrid
from rrm.farm.models.places import Node, RenderModel, Resource, Site
from rrm.farm.models.states import choices

_in_order = Q(start__lt=F("stop"), cursor__gte=F("start"), cursor__lte=F("stop"))


class Job(models.Model):
    """An asynchronous request, cut into tiles that no row stands for: `JobShare.cursor` and leases tell them apart."""

    class Kind(models.TextChoices):
        IMAGE = "image", "Image"
        RECOLOR = "recolor", "New colours for a finished job"

    class Priority(models.TextChoices):
        LOW = "low", "Low"
        NORMAL = "normal", "Normal"
        HIGH = "high", "High"
        URGENT = "urgent", "Urgent"

    class SitePolicy(models.TextChoices):
        ANY = "any", "Any site; the faster takes more"
        SPLIT = "split", "Equal parts for the sites named"
        ONLY = "only", "Only the sites named"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=200, blank=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="jobs")
    resource = models.ForeignKey(Resource, on_delete=models.PROTECT, related_name="jobs")
    model = models.ForeignKey(RenderModel, on_delete=models.PROTECT, related_name="jobs")
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.IMAGE)
    source = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="recolorings", help_text="Whose values."
    )
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    tile_size = models.PositiveIntegerField()
    tile_cols = models.PositiveIntegerField()
    tile_rows = models.PositiveIntegerField()
    tiles = models.PositiveIntegerField()
    outputs = models.JSONField(default=list)
    coloring = models.JSONField(default=dict)
    palette = models.JSONField(default=dict, help_text="The colouring as nodes get it.")
    view = models.JSONField(default=dict, help_text="x0, y0, dx, dy of the sample grid.")
    preview_scale = models.PositiveIntegerField(default=1)
    supersample = models.PositiveIntegerField(default=1)
    adaptive = models.BooleanField(default=False, help_text="More samples only where neighbours differ.")
    priority = models.CharField(max_length=10, choices=Priority, default=Priority.NORMAL)
    site_policy = models.CharField(max_length=10, choices=SitePolicy, default=SitePolicy.ANY)
    site_ids = models.JSONField(default=list, blank=True)
    site_index = models.TextField(blank=True, editable=False, help_text="site_ids as |a|b|, to be searched in SQL.")
    requires_index = models.TextField(
        blank=True, editable=False, help_text="requires as |a||b|, to be searched in SQL."
    )
    deadline = models.DateTimeField(null=True, blank=True)
    state = models.CharField(max_length=12, choices=choices(JobState), default=JobState.QUEUED)
    state_since = models.DateTimeField(default=timezone.now)
    reason = models.CharField(max_length=500, blank=True)
    tiles_done = models.PositiveIntegerField(default=0)
    event_seq = models.PositiveIntegerField(default=0)
    composed_at = models.DateTimeField(null=True, editable=False, help_text="When somebody last worked on composing.")
    warm_hits = models.PositiveIntegerField(default=0)
    loads = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "id"]
        indexes = [
            models.Index(fields=["state", "created_at"], name="job_state_age"),
            models.Index(fields=["owner", "created_at"], name="job_owner_age"),
            models.Index(fields=["created_at", "id"], name="job_age"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=list(JobState)), name="job_state_known"),
            models.CheckConstraint(condition=Q(tiles__gt=0, tiles_done__lte=F("tiles")), name="job_tiles_within"),
            models.CheckConstraint(
                condition=~Q(state__in=[JobState.COMPOSING, JobState.COMPLETED]) | Q(tiles_done=F("tiles")),
                name="job_complete_has_all_tiles",
            ),
        ]

    def __str__(self) -> str:
        return self.name or str(self.id)

    @property
    def requires(self) -> list[str]:
        """Capabilities of the sites that may render it."""
        return capabilities.tags_of(self.requires_index)

    @property
    def grid(self) -> TileGrid:
        """How it is cut into tiles."""
        return TileGrid(self.width, self.height, self.tile_size)

    @property
    def rendered(self) -> list[str]:
        """What nodes render: what was asked for, and what the manager paints from."""
        extra = ["smooth"] if self.is_equalized and "smooth" not in self.outputs else []
        return [*self.outputs, *extra]

    @property
    def is_equalized(self) -> bool:
        """Whether its colours follow a histogram of the whole picture."""
        return bool(self.palette.get("method") == "histogram")

    @property
    def is_painted_here(self) -> bool:
        """Whether the manager paints the picture, once all values are known, and not the nodes tile by tile."""
        return self.kind == self.Kind.RECOLOR or (self.is_equalized and self.has_picture)

    @property
    def has_picture(self) -> bool:
        """Whether there is a full-size picture: also unasked, unless reduced ones stand in for it."""
        return "png" in self.outputs or self.preview_scale == 1


class JobShare(models.Model):
    """A range of a job's tiles to be given out; those from `cursor` on have not been.

    A job begins with one share (or one per site); a lease that comes back makes a new one. So each tile of a job is
    in exactly one of: the rest of a share, an ACTIVE lease, a DONE lease.
    """

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="shares")
    site = models.ForeignKey(Site, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    start = models.PositiveIntegerField()
    stop = models.PositiveIntegerField()
    cursor = models.PositiveIntegerField()
    at_most = models.PositiveIntegerField(null=True, blank=True, help_text="Tiles per lease, to find one that fails.")
    failures = models.PositiveIntegerField(default=0, help_text="How often these tiles have failed.")
    failed_on = models.JSONField(default=list, blank=True, help_text="Names of the nodes they failed on.")

    class Meta:
        ordering = ["start", "id"]
        constraints = [models.CheckConstraint(condition=_in_order, name="share_in_order")]


class Lease(models.Model):
    """A range of a job's tiles given to one node until `deadline`; its id is the fencing token."""

    class Fault(models.TextChoices):
        NONE = "", "None"
        SUSPECT = "suspect", "Its node failed, perhaps by its own fault"
        BLAMED = "blamed", "Its node failed, and others completed all of it"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # Not indexed alone: the indexes below begin with them, and a lease is stored at each question of a node.
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="leases", db_index=False)
    share = models.ForeignKey(JobShare, on_delete=models.CASCADE, related_name="leases")
    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="leases", db_index=False)
    start = models.PositiveIntegerField()
    stop = models.PositiveIntegerField()
    state = models.CharField(max_length=10, choices=choices(LeaseState), default=LeaseState.ACTIVE)
    state_since = models.DateTimeField(default=timezone.now)
    reason = models.CharField(max_length=500, blank=True)
    decision = models.CharField(max_length=20, help_text="Why this node got this work.")
    warm = models.BooleanField(default=False)
    is_copy = models.BooleanField(
        default=False, help_text="Another lease of the same tiles stands for them; the first result of the two counts."
    )
    fault = models.CharField(max_length=10, choices=Fault, default=Fault.NONE, blank=True)
    deadline = models.DateTimeField()
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    render_ms = models.FloatField(default=0)
    size_bytes = models.BigIntegerField(default=0)

    class Meta:
        ordering = ["created_at", "id"]
        indexes = [
            models.Index(fields=["job", "state", "start"], name="lease_job_range"),
            models.Index(fields=["node", "state"], name="lease_node_state"),
            models.Index(fields=["state", "deadline"], name="lease_deadline"),
            models.Index(fields=["fault", "node"], name="lease_fault", condition=~Q(fault="")),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=list(LeaseState)), name="lease_state_known"),
            models.CheckConstraint(condition=Q(start__lt=F("stop")), name="lease_not_empty"),
            models.UniqueConstraint(
                fields=["job", "start"],
                condition=Q(state__in=[LeaseState.ACTIVE, LeaseState.DONE], is_copy=False),
                name="lease_one_holder",
            ),
            models.UniqueConstraint(
                fields=["job", "start"], condition=Q(state=LeaseState.ACTIVE, is_copy=True), name="lease_one_copy"
            ),
            models.UniqueConstraint(
                fields=["job", "start"], condition=Q(state=LeaseState.DONE), name="lease_one_result"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.job_id} [{self.start}, {self.stop})"
